"""The page of the report in process, on the shipped checkpoints and on hand-made ones."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from dverge import checkpoints
from dverge.charts.report_document import all_statements, outcome_counts
from dverge.evaluation.protocols import Protocol
from dverge.reproduction.figures import reproduce_figures
from dverge.reproduction.reproduction import Reproduction, reproduce
from dverge.reproduction.statements import Outcome, Statement
from dverge.runs import RunSpec, RunState, RunView, Status
from dverge.training import Method
from pages.widgets.report import retrain
from pages.widgets.robustness import measuring
from pages.widgets.shared.resources import run_manager
from pages.widgets.train import run_form
from tests.reproduction.report_shelf import COLUMNS, epochs_of, measure, trained

ROOT = Path(__file__).parents[2]
VANILLA = "vanilla-3xconv-s0"


def open_page(**query: str) -> AppTest:
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120).run()
    for name, value in query.items():
        app.query_params[name] = value
    return app.switch_page("pages/report.py").run()


def again(root: Path) -> tuple[Reproduction, list[Statement]]:
    infos = checkpoints.list_all(root)[0]
    found = reproduce(infos)
    return found, all_statements(found, reproduce_figures(infos))


def errors(app: AppTest) -> list[str]:
    assert not app.exception
    return [element.value for element in app.error]


def text_of(app: AppTest) -> str:
    return "\n".join(element.value for element in [*app.markdown, *app.caption, *app.subheader])


def tables(app: AppTest) -> list[str]:
    return [each.value for each in app.html if "dv-report" in each.value]


def said(app: AppTest) -> list[str]:
    return [each.value for each in app.html if "dv-say" in each.value]


def rows_of(table: str) -> dict[str, list[str]]:
    """A table's cells as plain text, by the line's title."""
    found = {}
    for line in re.findall(r"<tr class=.*?</tr>", table):
        title, *cells = re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", line)
        found[_plain(title)] = [_plain(cell) for cell in cells]
    return found


def _plain(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", html)).strip()


def charts(app: AppTest) -> int:
    return len(app.get("vega_lite_chart") or app.get("arrow_vega_lite_chart"))


@pytest.fixture(autouse=True)
def no_runs_left() -> Iterator[None]:
    yield
    run_manager().close()


@pytest.fixture
def empty(sample_only: Path) -> Path:
    """No checkpoints, no full data, and nothing is timed."""
    shutil.rmtree(sample_only / "checkpoints")
    (sample_only / "checkpoints").mkdir()
    return sample_only / "checkpoints"


@pytest.fixture
def two(empty: Path) -> Path:
    """The trainings of Tables 1 and 2, measured by hand; DVERGE of two seeds."""
    losses = [2 - 0.01 * i for i in range(30)]
    history = epochs_of([losses] * 3, losses)
    info = trained(empty, VANILLA, "vanilla", 30, history=history)
    for protocol in (Protocol.REPORT, Protocol.STANDARD):
        measure(info, protocol, dict.fromkeys(COLUMNS, (600, 605, 610, 650)))
    for seed, right in ((0, 340), (1, 360)):
        info = trained(empty, f"dverge-3xconv-s{seed}", "dverge", 200, seed, history=history)
        for protocol in (Protocol.REPORT, Protocol.STANDARD):
            measure(info, protocol, dict.fromkeys(COLUMNS, (100, 200, 300, right)))
    return empty


# --- the shipped checkpoints ---


def test_the_answer_comes_first_and_is_the_librarys(folders: Path) -> None:
    app = open_page()
    found, statements = again(folders / "checkpoints")
    assert errors(app) == []
    assert app.title[0].value == "The report"
    assert app.subheader[0].value == found.headline
    assert outcome_counts(statements) in text_of(app)
    assert "lies within the 95 % interval (Wilson) of ours" in text_of(app)


def test_every_table_with_the_vanilla_mixture_and_the_standard_protocol(folders: Path) -> None:
    app = open_page()
    found, _ = again(folders / "checkpoints")
    shown = tables(app)
    assert len(shown) >= 4
    for table, html in zip(found.tables, shown, strict=False):
        rows = rows_of(html)
        for line in found.lines(table):
            cells = rows[line.title]
            for i, column in enumerate(COLUMNS):
                ours, standard = (
                    line.cell(p, column) for p in (Protocol.REPORT, Protocol.STANDARD)
                )
                assert ours is not None and standard is not None
                assert cells[3 * i].split()[0] == line.as_printed(column)
                assert cells[3 * i + 1] == f"{ours.mean:.1f} {ours.range}"
                assert cells[3 * i + 2] == f"{standard.mean:.1f} {standard.range}"
        names = {line.title for line in found.lines(table)}
        assert table.printed.method == "vanilla" or "vanilla mixture" in names


def test_a_printed_cell_is_marked_by_whether_it_comes_back(folders: Path) -> None:
    found, _ = again(folders / "checkpoints")
    *shown, beyond = tables(open_page())
    back, measured, _ = found.returned()
    assert sum(html.count("✓") for html in shown) == back
    assert sum(html.count("≠") for html in shown) == measured - back
    assert beyond.count("✓") + beyond.count("≠") == 8  # two of the mixtures are printed ones


def test_every_statement_stands_under_its_outcome_with_its_figures(folders: Path) -> None:
    app = open_page()
    _, statements = again(folders / "checkpoints")
    groups = [html for html in said(app) if "<h4" in html]
    outcomes = [o for o in Outcome if any(s.outcome is o for s in statements)]
    assert len(groups) == len(outcomes)
    for html, outcome in zip(groups, outcomes, strict=True):
        listed = re.findall(r'<div class="said"><b>(.*?)</b>', html)
        due = [s.text for s in statements if s.outcome is outcome]
        assert [each.replace("&#x27;", "'") for each in listed] == due
    rows = sum(len(finding.rows) for s in statements for finding in s.findings)
    assert sum(html.count("<li>") for html in groups) == rows


def test_the_page_ends_with_what_holds(folders: Path) -> None:
    app = open_page()
    assert app.subheader[-1].value == "What holds, and what does not"


def test_figures_are_drawn_and_say_what_is_missing(folders: Path) -> None:
    app = open_page()
    assert charts(app) >= 1 + 3 * 2
    figures = reproduce_figures(checkpoints.list_all(folders / "checkpoints")[0])
    told = [each.value for each in app.info if "epochs here yet" in each.value]
    assert len(told) == sum(not figure.whole for figure in figures)


# --- hand-made ones ---


def test_several_seeds_are_told_by_mean_and_spread(two: Path) -> None:
    app = open_page()
    assert errors(app) == []
    rows = rows_of(tables(app)[1])
    assert rows["mixture"][4] == "35.0 34.0–36.0"
    assert rows["vanilla mixture"][4].startswith("65.0 62.0–")
    assert "Figures are means over these." in text_of(app)
    assert "dverge-3xconv-s1" in tables(app)[1]  # in the tooltip
    assert "2 trainings over each other" in text_of(app)


def test_where_there_is_nothing_it_says_so(two: Path) -> None:
    app = open_page()
    assert text_of(app).count("There is no checkpoint here that was trained this way.") == 3
    assert "28 of the report's 60 figures that were measured here" in app.subheader[0].value
    assert any("There is no training of this kind here yet." in html for html in said(app))


def test_checkpoints_of_other_kinds_alone(empty: Path) -> None:
    trained(empty, "quick", "vanilla", 5)
    app = open_page()
    assert errors(app) == []
    assert "has been measured here yet" in app.subheader[0].value
    assert charts(app) == 0


def test_without_a_checkpoint_it_says_how_to_get_one(empty: Path) -> None:
    app = open_page()
    assert errors(app) == []
    assert "There is no checkpoint yet." in app.info[0].value


def test_tuned_and_adversarial_training_appear_once_they_are_there(two: Path) -> None:
    app = open_page()
    tuned = trained(two, "dverge-3xconv-s0-tuned", "dverge", 200, alpha=2.0)
    measure(tuned, Protocol.STANDARD, dict.fromkeys(COLUMNS, (1, 2, 3, 777)))
    advt = trained(two, "advt-3xconv-s0", "advt", 50)
    measure(advt, Protocol.REPORT, dict.fromkeys(COLUMNS, (1, 2, 3, 555)))
    app.run()
    assert errors(app) == [] and "Beyond the report" in text_of(app)
    beside = rows_of(tables(app)[-1])
    assert beside["dverge-3xconv-s0-tuned"][2].startswith("77.7")
    assert beside["AdvT mixture"][1].startswith("55.5")
    assert rows_of(tables(app)[3])["AdvT mixture"][1].startswith("55.5")


def test_a_hundred_epochs_take_the_place_of_thirty(two: Path) -> None:
    app = open_page()
    assert any("no training of 100 epochs here yet" in each.value for each in app.info)
    losses = [2 - 0.01 * i for i in range(100)]
    history = epochs_of([losses] * 3, losses)
    trained(two, "vanilla-3xconv-s0-100", "vanilla", 100, history=history)
    app.run()
    assert not [each for each in app.info if "100 epochs" in each.value]
    assert "vanilla-3xconv-s0-100, seed 0." in text_of(app)


def test_new_figures_appear_without_a_restart(two: Path) -> None:
    app = open_page()
    measure(checkpoints.read(two / VANILLA), Protocol.AUTOATTACK, {"aa-l2": (1, 2, 3, 44)})
    app.run()
    assert "AutoAttack" in tables(app)[0]
    assert rows_of(tables(app)[0])["mixture"][-1].startswith("4.4")


def test_names_from_cards_are_shown_as_text(two: Path) -> None:
    card = two / "dverge-3xconv-s0" / "card.json"
    value = json.loads(card.read_text())
    value["device"] = "<img src=x onerror=alert(1)>"
    card.write_text(json.dumps(value))
    app = open_page()
    assert errors(app) == []
    assert not any("<img" in each.value for each in app.html)


def test_a_broken_history_is_a_message(two: Path) -> None:
    (two / VANILLA / "history.jsonl").write_text("{")
    app = open_page()
    assert len(errors(app)) == 1 and "history.jsonl cannot be read" in errors(app)[0]


def test_a_broken_checkpoint_is_named_and_the_others_are_shown(two: Path) -> None:
    (two / "foreign").mkdir()
    app = open_page()
    assert errors(app) == [] and len(tables(app)) == 5
    assert "foreign is left out." in app.warning[-1].value


# --- measuring what is missing ---


def test_what_is_missing_is_offered_and_timed_only_when_it_is_looked_at(
    two: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed: list[Any] = []

    def estimate(evaluation: Any) -> float:
        timed.append(evaluation)
        return 90.0

    monkeypatch.setattr(measuring, "estimate_seconds", estimate)
    trained(two, "dverge-advt-3xconv-s0", "dverge-advt", 50)
    app = open_page()
    assert timed == [] and not [b for b in app.button if b.label == "Measure"]
    app.session_state["report-missing"] = True
    app.run()
    assert errors(app) == []
    standard = app.button(key="measure-standard")
    assert standard.label == "Measure" and len(timed) >= 1
    assert "The standard protocol: not measured yet on 1,000 test images" in text_of(app)
    assert any("come with the full data set" in each.value for each in app.info)  # the report's


# --- training again ---


@pytest.fixture
def full_data(two: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As if all of CIFAR-10 were there; no batch is timed."""
    monkeypatch.setattr(retrain, "full_data_available", lambda: True)
    monkeypatch.setattr(run_form, "measure_batch_seconds", lambda config, images: 0.01)
    return two


def opened(app: AppTest, key: str) -> AppTest:
    app.session_state[key] = True
    return app.run()


def test_without_the_full_data_it_says_how_to_get_it(two: Path) -> None:
    app = opened(open_page(), "retrain-table-2")
    assert errors(app) == []
    assert any("Training needs all of CIFAR-10." in each.value for each in app.info)
    assert not [b for b in app.button if b.label == "Queue this training"]


def test_the_settings_and_the_time_are_told_before_it_is_queued(full_data: Path) -> None:
    app = opened(open_page(), "retrain-table-2")
    assert errors(app) == []
    assert f"DVERGE, 200 epochs, 3 submodels, from **{VANILLA}**" in text_of(app)
    assert "About **51 min**" in text_of(app)  # 200 · 1,531 batches of 10 ms
    assert run_manager().views() == []


def test_a_press_queues_the_cards_settings_under_a_new_name(full_data: Path) -> None:
    app = opened(open_page(), "retrain-table-1")
    app.button(key="retrain-table-1-start").click().run()
    (view,) = run_manager().views()
    card = checkpoints.read(full_data / VANILLA).card
    assert (view.spec.kind, view.spec.config) == (Method.VANILLA, card.config)
    assert view.spec.name == f"{VANILLA}-2"
    assert errors(app) == []
    assert f"**{VANILLA}-2** is queued." in text_of(app)


def test_another_seed_has_a_name_of_its_own(full_data: Path) -> None:
    app = opened(open_page(), "retrain-table-1")
    app.number_input(key="retrain-table-1-seed").set_value(3).run()
    app.button(key="retrain-table-1-start").click().run()
    (view,) = run_manager().views()
    assert (view.spec.name, view.spec.config["seed"]) == ("vanilla-3xconv-s3", 3)


def test_figure_2_is_offered_in_its_own_length(full_data: Path) -> None:
    app = opened(open_page(), "retrain-2")
    assert "Vanilla, 100 epochs, 3 submodels, from fresh weights" in text_of(app)
    app.button(key="retrain-2-start").click().run()
    (view,) = run_manager().views()
    assert view.spec.name == "vanilla-3xconv-s0-100" and view.spec.config["epochs"] == 100


def test_without_what_it_starts_from_it_is_one_message(full_data: Path) -> None:
    shutil.rmtree(full_data / VANILLA)
    shutil.rmtree(full_data / "dverge-3xconv-s0")
    shutil.rmtree(full_data / "dverge-3xconv-s1")
    trained(full_data, "other", "vanilla", 5)
    app = opened(open_page(), "retrain-table-3")
    assert len(errors(app)) == 1 and "no vanilla submodels of 30 epochs" in errors(app)[0].lower()


def test_a_training_of_the_same_kind_that_goes_on_is_told(
    two: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def view(kind: str, epochs: int, state: RunState) -> RunView:
        spec = RunSpec(f"{kind}-{epochs}-{state}", kind, {"epochs": epochs}, 0.0)
        return RunView(spec.name, spec, Status(state, epoch=12.4))

    views = [
        view("dverge", 200, RunState.RUNNING),
        view("dverge", 5, RunState.RUNNING),
        view("vanilla", 30, RunState.PAUSED),
    ]
    monkeypatch.setattr(retrain, "trainings", lambda: views)
    app = open_page()
    assert errors(app) == []
    told = [each.value for each in app.caption if " of 200." in each.value]
    assert set(told) == {"dverge-200-running is running: epoch 12 of 200."}
    assert "paused" not in text_of(app) and " of 5." not in text_of(app)


@pytest.mark.parametrize("name", ["report-missing", "retrain-table-1", "anything"])
def test_nonsense_in_the_address_never_breaks_the_page(two: Path, name: str) -> None:
    app = open_page(**{name: "%00<script>"})
    assert errors(app) == [] and len(tables(app)) == 5
