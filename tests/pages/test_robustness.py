"""The robustness page in process, on a small evaluation made by the library."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from dverge import checkpoints
from dverge.attacks import Norm, fgsm, pgd
from dverge.charts.tables import result_frame
from dverge.data import ImageSet, Split, load
from dverge.evaluation.comparison import Standing, claims
from dverge.evaluation.diversity import diversity, draw_pairs
from dverge.evaluation.evaluation import Evaluation
from dverge.evaluation.measurements import Clean, Measurement, Noise, ProjectedGradient
from dverge.evaluation.protocols import PLANS, EvaluationConfig, Protocol
from dverge.evaluation.transfer import Transfer, transfer
from dverge.models import Ensemble
from dverge.results import Result
from dverge.runs import RunState
from pages.widgets.robustness import measuring, pair_tabs
from pages.widgets.shared.resources import load_ensemble, load_fast, run_manager
from tests.pages.conftest import ROOT
from tests.pages.screen import VANILLA, charts, errors, open_page, press, text
from tests.runs.measured import gated_evaluation
from tests.runs.small import LONG, Gate

OTHER = "driven"
EPS = 8 / 255
TABS = ("All figures", "Against eps", "Transfer", "Diversity", "Sanity")
PGD = "PGD L∞ 8/255, 2 steps"


def linf(eps: float, steps: int, seed: int, thorough: bool = False) -> ProjectedGradient:
    restarts = 2 if thorough else 1
    config = pgd(Norm.LINF, eps, steps=steps, restarts=restarts, seed=seed)
    return ProjectedGradient("pgd-linf", config, thorough=thorough)


SHORT: dict[Protocol, Callable[[int], list[Measurement]]] = {
    Protocol.STANDARD: lambda seed: [
        Clean(),
        ProjectedGradient("fgsm", fgsm(0.03), thorough=True),
        linf(EPS, 2, seed, thorough=True),
    ],
    Protocol.CURVE: lambda seed: [Clean(), *(linf(eps, 2, seed) for eps in (0.005, 0.02))],
    Protocol.SANITY: lambda seed: [
        Clean(),
        Noise(EPS, seed),
        *(linf(EPS, steps, seed) for steps in (1, 5, 10, 50)),
    ],
}


@pytest.fixture(autouse=True, scope="module")
def short_protocols() -> Iterator[None]:
    """Each protocol with a few quick measurements."""
    with pytest.MonkeyPatch.context() as patch:
        for protocol, measurements in SHORT.items():
            patch.setitem(PLANS, protocol, replace(PLANS[protocol], measurements=measurements))
        yield


@pytest.fixture(scope="module")
def shelf(short_protocols: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two checkpoints, nothing measured: the shipped vanilla one and one called DVERGE."""
    root = tmp_path_factory.mktemp("shelf") / "checkpoints"
    unwanted = shutil.ignore_patterns("evaluations")
    shutil.copytree(ROOT / "checkpoints" / VANILLA, root / VANILLA, ignore=unwanted)
    two = Ensemble(list(checkpoints.load(root / VANILLA).members)[1:])
    checkpoints.save(OTHER, two, method="dverge", root=root, seed=0, config={"epochs": 200})
    return root


@pytest.fixture(scope="module")
def measured_shelf(shelf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, measured on 20 images, and the baseline on 30, too."""
    root = tmp_path_factory.mktemp("measured") / "checkpoints"
    shutil.copytree(shelf, root)
    for protocol in SHORT:
        made(root, protocol)
    made(root, Protocol.STANDARD, VANILLA, images=30)
    return root


def made(
    root: Path,
    protocol: Protocol,
    *names: str,
    images: int = 20,
    seed: int = 0,
    count: int | None = None,
) -> list[Result]:
    """The results of so many measurements, or of all; stored ones are not measured again."""
    config = EvaluationConfig(names or (VANILLA, OTHER), protocol, Split.TEST, images, seed)
    evaluation = Evaluation(config, load_images=sample, root=root)
    evaluation.measurements = evaluation.measurements[:count]
    rows = [row for rows in evaluation.run() for row in rows or []]
    assert evaluation.failures == []
    return rows


def sample(split: Split) -> ImageSet:
    """The test images without the full data, even where it is available."""
    images = load(Split.SAMPLE)
    return ImageSet(split, images.images, images.labels, images.indices)


@pytest.fixture
def fresh(shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Nothing is measured, and every evaluation is estimated to take a minute and a half."""
    monkeypatch.setattr(measuring, "estimate_seconds", lambda evaluation: 90.0)
    measuring._seconds.clear()
    for name in ("runs", "checkpoints", "data"):
        monkeypatch.setenv(f"DVERGE_{name.upper()}", str(tmp_path / name))
    shutil.copytree(shelf, tmp_path / "checkpoints")
    run_manager.clear()
    yield tmp_path / "checkpoints"
    run_manager().close()
    measuring._seconds.clear()


@pytest.fixture
def gate(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """Holds the next evaluation after its first piece of work."""
    gate = Gate()
    monkeypatch.setattr("dverge.runs.evaluating.Evaluation", gated_evaluation(gate, []))
    gate.close_at(1)
    yield gate
    gate.open()


@pytest.fixture
def measured(fresh: Path, measured_shelf: Path) -> Path:
    """The two checkpoints with their results."""
    shutil.rmtree(fresh)
    shutil.copytree(measured_shelf, fresh)
    return fresh


def opened(**query: str) -> AppTest:
    return open_page("robustness", **query)


def show(app: AppTest, tab: str) -> AppTest:
    app.session_state["robust-tabs"] = tab
    return app.run()


def sentences(app: AppTest) -> list[str]:
    """What is claimed."""
    return [each.value[2:] for each in app.markdown if each.value.startswith("- ")]


def tamper(root: Path) -> None:
    """Change a byte of the baseline's weights."""
    file = root / VANILLA / "member-2.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"x")


def measure_section(app: AppTest) -> AppTest:
    app.session_state["measure-section"] = True
    return app.run()


def headline(row: Result) -> bool:
    """The attack is on the model itself, or the worst of all on the mixture, or there is none."""
    victim = row.parameters.get("victim", "worst")
    return victim == "worst" or row.model.startswith("member-")


def mixtures(rows: list[Result]) -> list[Result]:
    return [row for row in rows if not row.model.startswith("member-")]


def standing(rows: list[Result], name: str, attack: str) -> Standing:
    """From the results of one protocol in which no attack has two settings."""
    mine = [row for row in rows if row.checkpoint == name]
    own = [row for row in rows if row.checkpoint == name and headline(row)]
    clean, robust = (
        {figure.model: figure for figure in own if figure.attack == which}
        for which in ("clean", attack)
    )
    single = {
        figure.parameters["victim"]: figure
        for figure in mine
        if figure.attack == attack and figure.model == "mixture"
    }
    return Standing(name, clean, robust, single)


def claimed(root: Path, title: str, attack: str, *others: str) -> list[str]:
    rows = made(root, Protocol.STANDARD)
    first, *rest = (standing(rows, name, attack) for name in (VANILLA, *others))
    return claims(first, rest, title)


# --- nothing measured yet ---


def test_on_arrival_it_says_what_is_missing_how_long_it_takes_and_offers_to_measure(
    fresh: Path,
) -> None:
    app = opened()
    assert errors(app) == [] and not charts(app)
    assert (
        f"Robustness under the standard protocol: not measured yet on 1,000 test images for "
        f"**{VANILLA}**, **{OTHER}**. About **1 min 30 s** here."
    ) in text(app)
    assert app.button(key="measure-standard").label == "Measure"
    for tab, message in (
        ("All figures", "Nothing has been measured on these images yet."),
        ("Against eps", "Accuracy against eps: not measured yet on 1,000 test images"),
        ("Sanity", "Sanity checks: not measured yet on 1,000 test images"),
    ):
        show(app, tab)
        assert errors(app) == [] and message in text(app)


def test_measure_starts_what_is_missing_and_says_so(gate: Gate) -> None:
    app = opened()
    app.button(key="measure-standard").click().run()
    (view,) = run_manager().views()
    assert errors(app) == []
    assert EvaluationConfig.from_dict(view.spec.config) == EvaluationConfig(
        (VANILLA, OTHER), Protocol.STANDARD, Split.TEST, 1000
    )
    assert [each.label for each in app.button] == ["Stop", "Pause"]
    assert "being measured; see above" in text(app)
    assert "0 measurements done · 2 ensembles" in app.progress[0].text


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("measure-images-standard-test", 20, (Protocol.STANDARD, 20, 0)),
        ("measure-seed", 5, (Protocol.STANDARD, 1000, 5)),
        ("measure-protocol", Protocol.SANITY, (Protocol.SANITY, 500, 0)),
    ],
)
def test_what_was_set_just_before_the_button_counts(
    gate: Gate, key: str, value: Any, expected: tuple[Protocol, int, int]
) -> None:
    """Both arrive at once, before the page has drawn the new setting."""
    app = measure_section(opened())
    field = app.selectbox if key == "measure-protocol" else app.number_input
    field(key=key).set_value(value)
    app.button(key="measure-any").click().run()
    (view,) = run_manager().views()
    assert errors(app) == []
    protocol, images, seed = expected
    assert EvaluationConfig.from_dict(view.spec.config) == EvaluationConfig(
        (VANILLA, OTHER), protocol, Split.TEST, images, seed
    )


def test_measuring_on_other_images_leaves_the_offer(gate: Gate) -> None:
    app = measure_section(opened())
    app.number_input(key="measure-images-standard-test").set_value(20).run()
    app.button(key="measure-any").click().run()
    assert len(app.progress) == 1
    assert "being measured; see above" in text(app)
    app.selectbox(key="robust-images").select("1,000 test images").run()
    assert app.button(key="measure-standard").label == "Measure"


def test_an_evaluation_that_fails_says_why(fresh: Path) -> None:
    tamper(fresh)
    app = opened()
    app.multiselect(key="robust-ensembles").set_value([]).run()
    app.button(key="measure-standard").click().run()
    (view,) = run_manager().views()
    assert run_manager().wait(view.id, LONG).state is RunState.FAILED
    app.run()
    assert len(errors(app)) == 1 and "member-2.safetensors does not match" in errors(app)[0]
    assert "failed]" in text(app)
    press(app, "Discard")
    assert errors(app) == [] and run_manager().views() == []


# --- measured ---


def test_the_summary_claims_what_the_library_does(measured: Path) -> None:
    app = opened()
    assert errors(app) == [] and len(charts(app)) == 1
    assert sentences(app) == claimed(measured, "FGSM 0.03", "fgsm", OTHER)
    assert len(sentences(app)) >= 3
    assert "On 20 test images, the same for all" in text(app)
    assert not [each for each in app.button if each.label == "Measure"]
    box = app.selectbox(key="robust-attack")
    assert box.options == ["FGSM 0.03", PGD]
    box.select(PGD).run()
    assert errors(app) == []
    assert sentences(app) == claimed(measured, PGD, "pgd-linf", OTHER)
    app.selectbox(key="robust-attack").select("FGSM 0.03").run()
    app.multiselect(key="robust-ensembles").set_value([]).run()  # the baseline is always there
    assert errors(app) == []
    assert sentences(app) == claimed(measured, "FGSM 0.03", "fgsm")

    app = opened()
    images = app.selectbox(key="robust-images")
    assert images.options == ["20 test images", "30 test images", "1,000 test images"]
    images.select("30 test images").run()
    assert errors(app) == []
    assert [sentence.split(":")[0] for sentence in sentences(app)] == ["Mixing alone"]
    assert f"not measured yet on 30 test images for **{OTHER}**." in text(app)
    rows = [row for row in made(measured, Protocol.STANDARD, VANILLA, images=30) if headline(row)]
    assert app.dataframe[0].value.equals(result_frame(mixtures(rows)))


def test_an_unfinished_seed_does_not_hide_a_finished_one(measured: Path) -> None:
    shutil.rmtree(measured / OTHER / "evaluations")
    made(measured, Protocol.STANDARD, OTHER, seed=1)
    made(measured, Protocol.STANDARD, OTHER, seed=0, count=1)
    app = opened()
    app.selectbox(key="robust-images").select("20 test images").run()
    assert errors(app) == []
    assert any(f"the mixture of **{OTHER}**" in text for text in sentences(app))
    assert not [each for each in app.button if each.label == "Measure"]


def test_the_table_is_the_librarys(measured: Path) -> None:
    app = opened()

    def shown() -> pd.DataFrame:
        return app.dataframe[0].value

    rows = made(measured, Protocol.STANDARD)
    own = [row for row in rows if headline(row)]
    assert shown().equals(result_frame(mixtures(own)))
    assert f"{len(mixtures(own))} figures on 20 test images." in text(app)
    app.pills(key="table-models").set_value(["mixtures", "submodels"]).run()
    assert shown().equals(result_frame(own))
    app.toggle(key="table-single").set_value(True).run()
    assert shown().equals(result_frame(rows))
    app.pills(key="table-models").set_value(["submodels"]).run()
    assert set(shown()["Model"]) == {"submodel 1", "submodel 2", "submodel 3"}
    app.pills(key="table-models").set_value([]).run()
    assert errors(app) == [] and shown().empty

    app = opened()
    app.pills(key="table-protocols").set_value([Protocol.CURVE, Protocol.SANITY]).run()
    rows = [row for p in (Protocol.SANITY, Protocol.CURVE) for row in made(measured, p)]
    expected = result_frame(mixtures([row for row in rows if headline(row)]))
    by: Any = {"by": [*expected.columns], "ignore_index": True}
    assert shown().sort_values(**by).equals(expected.sort_values(**by))


@pytest.fixture
def computing(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Mock, Mock]]:
    """Records the computing of transfer and diversity, on few images."""
    mocks = Mock(wraps=transfer), Mock(wraps=diversity)
    for name, value in zip(
        ("transfer", "diversity", "IMAGES", "PAIRS"), (*mocks, 40, 8), strict=True
    ):
        monkeypatch.setattr(pair_tabs, name, value)
    caches = (pair_tabs._transfer, pair_tabs._diversity, load_ensemble, load_fast)
    for cached in caches:
        cached.clear()
    yield mocks
    for cached in caches:
        cached.clear()


def test_each_tab_opens_and_only_the_open_one_computes(
    measured: Path, computing: tuple[Mock, Mock]
) -> None:
    app = opened()
    counts = dict.fromkeys(TABS, (0, 0)) | {"Transfer": (2, 0), "Diversity": (0, 2)}
    for tab in TABS:
        for mock in computing:
            mock.reset_mock()
        show(app, tab)
        assert errors(app) == []
        assert tuple(mock.call_count for mock in computing) == counts[tab]
        assert len(app.dataframe) == (tab == "All figures")
        assert ("PGD L∞ with 20 steps" in text(app)) == (tab == "Against eps")
        assert ("masked, makes a model look robust" in text(app)) == (tab == "Sanity")
    for mock in computing:
        mock.reset_mock()
    for tab in TABS:
        show(app, tab)
    assert not any(mock.called for mock in computing)  # everything is cached


def test_transfer_within_and_across(measured: Path, computing: tuple[Mock, Mock]) -> None:
    app = show(opened(), "Transfer")
    images = load(Split.SAMPLE).balanced(40)
    infos = [checkpoints.read(measured / name) for name in (VANILLA, OTHER)]
    first, other = (load_fast(info) for info in infos)

    def is_the_librarys(source: int, target: int, eps: float = 0.02) -> Transfer:
        """What the page shows, which is cached, is what the library computes."""
        ensembles = (first, other)[source], (first, other)[target]
        expected = transfer(*ensembles, images, pgd(Norm.LINF, eps, steps=10))
        shown = pair_tabs._transfer(infos[source], infos[target], eps)
        assert shown.fooled.equal(expected.fooled) and shown.n == expected.n
        return expected

    assert [each.value for each in app.caption if each.value.startswith("Between")] == [
        f"Between its submodels, {own.between_members():.0f} % of the attacks carry over. "
        f"n = {own.n} images."
        for own in (is_the_librarys(0, 0), is_the_librarys(1, 1))
    ]
    app.selectbox(key="transfer-source").select(OTHER).run()
    assert errors(app) == [] and len(charts(app)) == 3
    across = is_the_librarys(1, 0)
    assert f"Crafted on {OTHER}. n = {across.n} images." in text(app)
    app.select_slider(key="transfer-eps").set_value(EPS).run()
    assert errors(app) == []
    is_the_librarys(1, 0, EPS)
    assert computing[0].call_count == 5


def test_diversity_of_all_layers_and_of_one(measured: Path, computing: tuple[Mock, Mock]) -> None:
    app = show(opened(), "Diversity")
    pairs = draw_pairs(load(Split.SAMPLE), 8, seed=0)
    two = diversity(load_fast(checkpoints.read(measured / OTHER)), pairs)

    def mean() -> str:
        captions = [each.value for each in app.caption if each.value.startswith("Mean between")]
        return captions[1].removeprefix("Mean between different submodels: ")

    assert mean() == f"{two.matrix()[0, 1]:.2f} nats."
    app.selectbox(key="diversity-layer").select("layer 2").run()
    assert mean() == f"{two.matrix(2)[0, 1]:.2f} nats."
    app.segmented_control(key="diversity-what").set_value(pair_tabs.OVERLAP).run()
    shared = two.overlap(2)
    assert mean() == f"{(shared[0, 1] + shared[1, 0]) / 2:.2f} %."
    assert errors(app) == [] and computing[1].call_count == 2


# --- the address ---


def test_a_link_opens_the_whole_view(measured: Path) -> None:
    app = opened(
        robust_ensembles=OTHER,
        robust_images="20 test images",
        robust_attack=PGD,
        robust_tabs="Sanity",
    )
    assert errors(app) == []
    assert app.multiselect(key="robust-ensembles").value == [OTHER]
    assert sentences(app) == claimed(measured, PGD, "pgd-linf", OTHER)
    assert "masked, makes a model look robust" in text(app)
    assert app.query_params["robust-tabs"] == "Sanity"


# --- which ensembles ---


def test_without_a_vanilla_ensemble_nothing_is_compared(measured: Path) -> None:
    shutil.rmtree(measured / VANILLA)
    app = opened()
    assert errors(app) == [] and len(charts(app)) == 1
    assert "no vanilla ensemble to compare with" in text(app)
    assert sentences(app) == []
    app.multiselect(key="robust-ensembles").set_value([]).run()
    assert errors(app) == []
    assert "Choose at least one ensemble" in text(app)


def test_snapshots_other_seeds_and_unmeasured_ensembles_are_left_out_until_chosen(
    measured: Path,
) -> None:
    unmeasured = shutil.ignore_patterns("evaluations")
    shutil.copytree(measured / OTHER, measured / "new", ignore=unmeasured)
    shutil.copytree(measured / OTHER, measured / f"{OTHER}-e25")
    for name, seed in (("driven-s2", 2), ("unknown", None)):
        shutil.copytree(measured / OTHER, measured / name)
        card = measured / name / "card.json"
        card.write_text(json.dumps(json.loads(card.read_text()) | {"seed": seed}))
    (measured / "foreign").mkdir()
    app = opened()
    box = app.multiselect(key="robust-ensembles")
    assert box.value == [VANILLA, OTHER, "unknown"]
    assert errors(app) == [] and "foreign" in text(app)
    assert sentences(app)[:2] == claimed(measured, "FGSM 0.03", "fgsm", OTHER)[:2]
    assert {"new", f"{OTHER}-e25", "driven-s2"} < set(box.options)
    for name in (VANILLA, OTHER, "unknown"):
        shutil.rmtree(measured / name / "evaluations")
    shutil.rmtree(measured / "driven-s2")
    shutil.rmtree(measured / f"{OTHER}-e25")
    box = opened().multiselect(key="robust-ensembles")
    assert set(box.value) == {VANILLA, OTHER, "unknown", "new"}


# --- what is broken ---


def test_a_tampered_checkpoint_is_an_error_in_its_card(
    measured: Path, computing: tuple[Mock, Mock]
) -> None:
    tamper(measured)
    app = opened()
    for tab in ("Transfer", "Diversity"):
        (error,) = errors(show(app, tab))
        assert "member-2.safetensors does not match" in error
        assert len(charts(app)) == 2  # the summary's, which is kept, and the other ensemble's


def test_an_unreadable_file_of_results_counts_as_none(measured: Path) -> None:
    for file in (measured / OTHER / "evaluations").iterdir():
        file.write_text("{")
    app = opened(robust_ensembles=OTHER)
    app.selectbox(key="robust-images").select("20 test images").run()
    assert errors(app) == []
    assert f"not measured yet on 20 test images for **{OTHER}**." in text(app)


def test_what_an_attack_warns_of_is_shown_once(measured: Path) -> None:
    for file in (measured / OTHER / "evaluations").glob("standard-*.json"):
        value = json.loads(file.read_text())
        for row in value["finished"][1]["rows"]:
            row["warnings"] = ["points with zero gradient!"]
        file.write_text(json.dumps(value))
    app = opened()
    assert [each.value for each in app.warning] == [
        f"**{OTHER}, FGSM 0.03**: points with zero gradient!"
    ]


def test_a_checkpoint_of_other_classes_is_one_clear_message(fresh: Path) -> None:
    card = json.loads((fresh / OTHER / "card.json").read_text())
    card["classes"] = [f"animal {i}" for i in range(10)]
    (fresh / OTHER / "card.json").write_text(json.dumps(card))
    app = measure_section(opened())
    assert errors(app)
    assert all("'driven' tells other classes apart" in text for text in errors(app))
    assert "not measured" not in text(app)
    app.multiselect(key="robust-ensembles").set_value([VANILLA]).run()
    assert errors(app) == []


def test_a_checkpoint_that_is_gone_when_measure_is_pressed(fresh: Path) -> None:
    app = opened()
    shutil.rmtree(fresh / OTHER)
    app.button(key="measure-standard").click().run()
    assert not app.exception
    assert any("there is no checkpoint 'driven'" in text.lower() for text in errors(app))
    assert run_manager().views() == []


def test_the_form_offers_what_can_be_measured(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = measure_section(opened())
    field = app.number_input(key="measure-images-standard-test")
    assert (field.min, field.max, field.value) == (1, 1000, 1000)
    app.selectbox(key="measure-protocol").select(Protocol.SANITY).run()
    field = app.number_input(key="measure-images-sanity-test")
    assert (field.max, field.value) == (1000, 500)
    assert errors(app) == []
    for available in (True, False):
        monkeypatch.setattr(measuring, "autoattack_available", lambda here=available: here)
        app = measure_section(opened())
        assert errors(app) == []
        options = app.selectbox(key="measure-protocol").options
        assert ("AutoAttack" in options) is available
        assert ("pip install pyautoattack" in text(app)) is not available
