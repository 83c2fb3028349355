"""The page of the report in process, on the shipped checkpoints and on hand-made ones."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from dverge import checkpoints
from dverge.charts.report_document import OUTCOME_TITLES, count_reproduced, headline, outcome_counts
from dverge.evaluation.protocols import Protocol
from dverge.reproduction.claims import judge_all
from dverge.reproduction.matching import reproduce
from dverge.reproduction.printed import PAPER, REPORT
from dverge.runs import RunSpec, RunState, RunView, Status
from dverge.training import PRESETS, Method
from pages.widgets.report import retrain
from pages.widgets.robustness import measuring
from pages.widgets.shared import messages
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


def errors(app: AppTest) -> list[str]:
    assert not app.exception
    return [element.value for element in app.error]


def text_of(app: AppTest) -> str:
    return "\n".join(element.value for element in [*app.markdown, *app.caption, *app.subheader])


def html_with(app: AppTest, part: str) -> str:
    (html,) = [each.value for each in app.html if part in each.value]
    return str(html)


def plain(html: str) -> str:
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", html))).strip()


def rows_of(app: AppTest) -> dict[str, dict[str, list[str]]]:
    """The tables' cells as plain text, by the title of the group and of the line."""
    groups: dict[str, dict[str, list[str]]] = {}
    for line in re.findall(r"<tr class=.*?</tr>", html_with(app, "dv-report")):
        title, *cells = [plain(each) for each in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", line)]
        if cells:
            groups[[*groups][-1]][title] = cells
        else:  # a group's head
            groups[plain(re.findall(r"<b>(.*?)</b>", line)[0])] = {}
    return groups


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
    for seed, correct in ((0, 340), (1, 360)):
        info = trained(empty, f"dverge-3xconv-s{seed}", "dverge", 200, seed, history=history)
        for protocol in (Protocol.REPORT, Protocol.STANDARD):
            measure(info, protocol, dict.fromkeys(COLUMNS, (100, 200, 300, correct)))
    return empty


# --- what it shows ---


def test_the_shipped_report_from_the_answer_to_the_claims(folders: Path) -> None:
    reproduction = reproduce(checkpoints.list_all(folders / "checkpoints")[0])
    verdicts = judge_all(reproduction)
    app = open_page()
    assert errors(app) == []
    heads = [each.value for each in app.subheader]
    assert heads[0] == headline(reproduction) and heads[-1] == "What holds, and what does not"
    for text in (outcome_counts(verdicts), REPORT, PAPER, "(Wilson) of ours", "(#tables)"):
        assert text in text_of(app)
    assert charts(app) == 1 + 3 * 2
    groups = rows_of(app)
    *tables, lacking = groups.values()
    for table, rows in zip(reproduction.tables, tables, strict=True):
        lines = [line for line in reproduction.lines(table) if line.printed]
        assert list(rows) == [line.title for line in lines]
        for line in lines:
            for i, column in enumerate(COLUMNS):
                ours, standard = (
                    line.cell(Protocol.REPORT, column),
                    line.cell(Protocol.STANDARD, column),
                )
                assert ours is not None and standard is not None
                sign = "✓" if ours.low <= (line.value(column) or 0) <= ours.high else "≠"
                assert rows[line.title][3 * i : 3 * i + 3] == [
                    f"{line.as_printed(column)} {sign}",
                    f"{ours.mean:.1f} {ours.low:.1f}–{ours.high:.1f}",
                    f"{standard.mean:.1f} {standard.low:.1f}–{standard.high:.1f}",
                ]
    assert list(lacking) == ["vanilla mixture", "AdvT mixture", "tuned mixture"]
    html = html_with(app, "dv-report")
    found, measured, _ = count_reproduced(reproduction)
    assert (html.count("✓"), html.count("≠")) == (found, measured - found)
    body = html_with(app, "dv-claims").partition("<tbody>")[2]
    claims = [plain(row) for row in re.findall(r"<tr>.*?</tr>", body)]
    for verdict, row in zip(verdicts, claims, strict=True):
        assert OUTCOME_TITLES[verdict.outcome] in row and verdict.claim.text in row
        for finding in verdict.findings:
            assert all(
                f"{part.title} {part.text}" in row.replace("\xa0", " ") for part in finding.parts
            )


def test_what_is_there_and_what_is_missing(two: Path) -> None:
    app = open_page()
    assert errors(app) == []
    rows = rows_of(app)["Table 2: DVERGE, 200 epochs"]
    assert rows["mixture"][4] == "35.0 31.1–39.0"
    assert "dverge-3xconv-s1: 36.0 %" in html_with(app, "dv-report")  # in the tooltip
    tables = plain(html_with(app, "dv-report"))
    assert tables.count("There is no checkpoint here that was trained this way.") == 2
    assert "28 of the report's 60 figures that were measured here" in app.subheader[0].value
    assert "There is no training of 100 epochs here yet; this one has 30." in text_of(app)
    assert "There is no training of this kind here yet." in text_of(app)  # of Figure 4
    names = [plain(each.value) for each in app.html if "dv-legend" in each.value]
    assert names == [VANILLA, "dverge-3xconv-s0 dverge-3xconv-s1"]


def test_new_results_and_trainings_appear_without_a_restart(two: Path) -> None:
    app = open_page()
    measure(checkpoints.read(two / VANILLA), Protocol.AUTOATTACK, {"aa-l2": (1, 2, 3, 44)})
    tuned = trained(two, "dverge-3xconv-s0-tuned", "dverge", 200, alpha=2.0)
    measure(tuned, Protocol.STANDARD, dict.fromkeys(COLUMNS, (1, 2, 3, 777)))
    advt = trained(two, "advt-3xconv-s0", "advt", 50)
    measure(advt, Protocol.REPORT, dict.fromkeys(COLUMNS, (1, 2, 3, 555)))
    losses = [2 - 0.01 * i for i in range(100)]
    rows = epochs_of([losses] * 3, losses)
    trained(two, "vanilla-3xconv-s0-100", "vanilla", 100, history=rows)
    app.run()
    assert errors(app) == []
    lacking = rows_of(app)["Mixtures that the report does not show"]
    assert lacking["dverge-3xconv-s0-tuned"][2].startswith("77.7")
    assert lacking["AdvT mixture"][1].startswith("55.5")
    assert lacking["vanilla mixture"][-1].startswith("4.4")
    assert "100 epochs here yet" not in text_of(app)


def test_checkpoints_of_other_kinds_alone_and_none_at_all(empty: Path) -> None:
    app = open_page()
    assert "There is no checkpoint yet." in app.info[0].value
    trained(empty, "quick", "vanilla", 5)
    app = open_page()
    assert errors(app) == [] and charts(app) == 0
    assert "has been measured here yet" in app.subheader[0].value


def test_a_damaged_checkpoint_or_history_costs_only_itself(two: Path) -> None:
    """Names and texts from cards are shown as text."""
    (two / "foreign").mkdir()
    (two / VANILLA / "history.jsonl").write_text("{")
    card = two / "dverge-3xconv-s0" / "card.json"
    value = json.loads(card.read_text())
    value["device"] = "<img src=x onerror=alert(1)>"
    card.write_text(json.dumps(value))
    app = open_page(anything="%00<script>", retrain="yes")
    assert errors(app) == []
    warnings = [each.value for each in app.warning]
    assert any("history.jsonl, line 1, cannot be used" in each for each in warnings)
    assert any("foreign" in each for each in warnings)
    assert len(rows_of(app)["Table 1: vanilla, 30 epochs"]) == 3
    assert charts(app) == 1 + 2  # Figure 3 alone
    assert not any("<img" in each.value for each in app.html)


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
    assert app.button(key="measure-standard").label == "Measure" and len(timed) >= 1
    assert "The standard protocol: not measured yet on 1,000 test images" in text_of(app)
    assert any("come with the full data set" in each.value for each in app.info)  # the report's


# --- training again ---


@pytest.fixture
def full_data(two: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As if all of CIFAR-10 were there; no batch is timed."""
    monkeypatch.setattr(messages, "full_data_available", lambda: True)
    monkeypatch.setattr(run_form, "measure_batch_seconds", lambda config, images: 0.01)
    return two


def opened(what: str | None = None) -> AppTest:
    """The page with the offer to train opened, and a training chosen."""
    app = open_page()
    app.session_state["retrain"] = True
    app.run()
    if what:
        app.selectbox(key="retrain-what").set_value(what).run()
    return app


def queued(app: AppTest) -> RunView:
    app.button(key="retrain-start").click().run()
    (view,) = run_manager().views()
    assert errors(app) == [] and f"**{view.spec.name}** is queued." in text_of(app)
    return view


def test_without_the_full_data_it_says_how_to_get_it(two: Path) -> None:
    app = opened()
    assert errors(app) == []
    assert any("Training needs all of CIFAR-10." in each.value for each in app.info)
    assert not [b for b in app.button if b.label == "Queue this training"]


def test_settings_and_time_are_shown_before_a_training_is_queued(full_data: Path) -> None:
    app = opened("table-2")
    assert f"DVERGE, 200 epochs, 3 submodels, from **{VANILLA}**" in text_of(app)
    assert "About **51 min**" in text_of(app)  # 200 · 1,531 batches of 10 ms
    assert run_manager().views() == []
    app.selectbox(key="retrain-what").set_value("table-1").run()
    spec = queued(app).spec
    card = checkpoints.read(full_data / VANILLA).card
    assert (spec.kind, spec.config) == (Method.VANILLA, card.config)
    assert spec.name == f"{VANILLA}-2"


def test_another_seed_and_another_length_have_names_of_their_own(full_data: Path) -> None:
    app = opened("figure-2")
    assert "Vanilla, 100 epochs, 3 submodels, from fresh weights" in text_of(app)
    app.number_input(key="retrain-seed-figure-2").set_value(3).run()
    spec = queued(app).spec
    assert (spec.name, spec.config["seed"], spec.config["epochs"]) == (
        "vanilla-3xconv-s3-100",
        3,
        100,
    )


def test_without_what_it_starts_from_it_is_one_message(full_data: Path) -> None:
    for folder in full_data.iterdir():
        shutil.rmtree(folder)
    trained(full_data, "other", "vanilla", 5)
    app = opened("table-3")
    assert len(errors(app)) == 1 and "no vanilla submodels of 30 epochs" in errors(app)[0].lower()


def test_trainings_of_the_reports_kinds_that_go_on_are_shown(
    two: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def view(kind: str, epochs: int, state: RunState) -> RunView:
        config = replace(PRESETS[Method(kind)]["report"], epochs=epochs).to_dict()
        spec = RunSpec(f"{kind}-{epochs}-{state}", kind, config, 0.0)
        return RunView(spec.name, spec, Status(state, epoch=12.4))

    views = [
        view("dverge", 200, RunState.RUNNING),
        view("dverge", 5, RunState.RUNNING),
        view("vanilla", 30, RunState.PAUSED),
    ]
    monkeypatch.setattr(retrain, "trainings", lambda: views)
    app = open_page()
    assert errors(app) == []
    assert "dverge-200-running is running: epoch 12 of 200." in text_of(app)
    assert "paused" not in text_of(app) and " of 5." not in text_of(app)
