"""The robustness page in process: what is not measured yet, and evaluations to start."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from dverge.attacks import Norm, fgsm, pgd
from dverge.data import ImageSet, Split, load
from dverge.evaluation.evaluation import Evaluation
from dverge.evaluation.measurements import Clean, ProjectedGradient
from dverge.evaluation.protocols import PLANS, EvaluationConfig, Protocol
from dverge.runs import RunState
from pages.widgets.robustness import measuring
from pages.widgets.shared.resources import run_manager
from tests.pages.conftest import ROOT
from tests.pages.screen import DVERGE, VANILLA, charts, errors, press, text
from tests.pages.test_robustness import WEIGHTS, opened, opened_on_two, sentences, show, tamper
from tests.runs.measured import gated_evaluation
from tests.runs.small import LONG, Gate


def measure_section(app: AppTest) -> AppTest:
    app.session_state["measure-section"] = True
    return app.run()


# --- what is missing or broken ---


@pytest.fixture
def unmeasured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The two checkpoints without results; every evaluation is estimated to take 90 seconds."""
    monkeypatch.setattr(measuring, "estimate_seconds", lambda evaluation: 90.0)
    measuring._seconds.clear()
    for name in ("runs", "checkpoints", "data"):
        monkeypatch.setenv(f"DVERGE_{name.upper()}", str(tmp_path / name))
    ignored = shutil.ignore_patterns("evaluations")
    for name in (VANILLA, DVERGE):
        folder = tmp_path / "checkpoints" / name
        shutil.copytree(ROOT / "checkpoints" / name, folder, ignore=ignored)
    run_manager.clear()
    yield tmp_path / "checkpoints"
    run_manager().close()
    measuring._seconds.clear()


def make(root: Path, name: str, images: int, seed: int = 0, count: int | None = None) -> None:
    """So many measurements of a checkpoint under the standard protocol, or all."""

    def sample(split: Split) -> ImageSet:
        images = load(Split.SAMPLE)
        return ImageSet(split, images.images, images.labels, images.indices)

    config = EvaluationConfig((name,), Protocol.STANDARD, Split.TEST, images, seed)
    evaluation = Evaluation(config, load_images=sample, root=root)
    evaluation.measurements = evaluation.measurements[:count]
    assert [*evaluation.run()] and evaluation.failures == []


def test_on_arrival_it_says_what_is_missing_how_long_it_takes_and_offers_to_measure(
    unmeasured: Path,
) -> None:
    app = opened()
    assert errors(app) == [] and not charts(app)
    assert (
        f"Robustness under the standard protocol: not measured yet on 1,000 test images for "
        f"**{VANILLA}**, **{DVERGE}**. About **1 min 30 s** here."
    ) in text(app)
    assert app.button(key="measure-standard").label == "Measure"
    for tab, message in (
        ("All figures", "Nothing has been measured on these images yet."),
        ("Against eps", "Accuracy against eps: not measured yet on 1,000 test images"),
        ("Sanity", "Sanity checks: not measured yet on 1,000 test images"),
    ):
        show(app, tab)
        assert errors(app) == [] and message in text(app)


def test_other_images_and_an_unfinished_seed(
    unmeasured: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def short(seed: int) -> list[Any]:
        config = pgd(Norm.LINF, 8 / 255, steps=2, seed=seed)
        return [
            Clean(),
            ProjectedGradient("fgsm", fgsm(0.03)),
            ProjectedGradient("pgd-linf", config),
        ]

    plan = replace(PLANS[Protocol.STANDARD], measurements=short)
    monkeypatch.setitem(PLANS, Protocol.STANDARD, plan)
    make(unmeasured, VANILLA, images=20)
    make(unmeasured, VANILLA, images=30)
    make(unmeasured, DVERGE, images=20, seed=1)
    make(unmeasured, DVERGE, images=20, seed=0, count=1)  # which does not hide the finished one
    app = opened()
    box = app.selectbox(key="robust-images")
    assert box.options == ["20 test images", "30 test images", "1,000 test images"]
    box.select("20 test images").run()
    assert errors(app) == []
    assert any(f"the mixture of **{DVERGE}**" in sentence for sentence in sentences(app))
    assert not [each for each in app.button if each.label == "Measure"]
    app.selectbox(key="robust-images").select("30 test images").run()
    assert errors(app) == []
    assert [sentence.split(":")[0] for sentence in sentences(app)] == ["Mixing alone"]
    assert f"not measured yet on 30 test images for **{DVERGE}**." in text(app)
    assert set(app.dataframe[0].value["Images"]) == {30}


def test_an_unreadable_file_of_results_counts_as_none_and_warnings_are_shown_once(
    folders: Path,
) -> None:
    root = folders / "checkpoints"
    (file,) = (root / VANILLA / "evaluations").glob("standard-*.json")
    value = json.loads(file.read_text())
    for row in value["finished"][1]["rows"]:
        row["warnings"] = ["points with zero gradient!"]
    file.write_text(json.dumps(value))
    for file in (root / DVERGE / "evaluations").iterdir():
        file.write_text("{")
    app = opened_on_two()
    assert errors(app) == []
    assert f"not measured yet on 1,000 test images for **{DVERGE}**." in text(app)
    warnings = [each.value for each in app.warning]
    (shown,) = [each for each in warnings if "points with zero gradient!" in each]
    assert shown.startswith(f"**{VANILLA}, FGSM 0.03") and DVERGE not in shown


def test_a_checkpoint_of_other_classes_is_one_clear_message(unmeasured: Path) -> None:
    card = json.loads((unmeasured / DVERGE / "card.json").read_text())
    card["classes"] = [f"animal {i}" for i in range(10)]
    (unmeasured / DVERGE / "card.json").write_text(json.dumps(card))
    app = measure_section(opened())
    assert errors(app)
    assert all(f"{DVERGE!r} classifies into other classes" in error for error in errors(app))
    assert "not measured" not in text(app)
    app.multiselect(key="robust-ensembles").set_value([VANILLA]).run()
    assert errors(app) == []


# --- starting evaluations ---


@pytest.fixture
def gate(unmeasured: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """Holds the next evaluation after its first piece of work."""
    gate = Gate()
    monkeypatch.setattr("dverge.runs.evaluating.Evaluation", gated_evaluation(gate, []))
    gate.close_at(1)
    yield gate
    (view,) = run_manager().views()
    run_manager().stop(view.id)
    gate.open()


def is_submitted(protocol: Protocol, images: int, seed: int = 0) -> bool:
    (view,) = run_manager().views()
    config = EvaluationConfig((VANILLA, DVERGE), protocol, Split.TEST, images, seed)
    return EvaluationConfig.from_dict(view.spec.config) == config


def test_measure_starts_what_is_missing_and_says_so(gate: Gate) -> None:
    app = opened()
    app.button(key="measure-standard").click().run()
    assert errors(app) == [] and is_submitted(Protocol.STANDARD, 1000)
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
    assert errors(app) == [] and is_submitted(*expected)


def test_measuring_on_other_images_leaves_the_offer(gate: Gate) -> None:
    app = measure_section(opened())
    app.number_input(key="measure-images-standard-test").set_value(20).run()
    app.button(key="measure-any").click().run()
    assert len(app.progress) == 1
    assert "being measured; see above" in text(app)
    app.selectbox(key="robust-images").select("1,000 test images").run()
    assert app.button(key="measure-standard").label == "Measure"


def test_an_evaluation_that_fails_says_why(unmeasured: Path) -> None:
    tamper(unmeasured)
    app = opened()
    app.multiselect(key="robust-ensembles").set_value([]).run()
    app.button(key="measure-standard").click().run()
    (view,) = run_manager().views()
    assert run_manager().wait(view.id, LONG).state is RunState.FAILED
    (error,) = errors(app.run())
    assert f"{WEIGHTS} does not match" in error and "failed]" in text(app)
    press(app, "Discard")
    assert errors(app) == [] and run_manager().views() == []

    app = opened()
    shutil.rmtree(unmeasured / DVERGE)  # gone when Measure is pressed
    app.button(key="measure-standard").click().run()
    assert any(f"there is no checkpoint '{DVERGE}'" in each.lower() for each in errors(app))
    assert run_manager().views() == []


def test_the_form_offers_what_can_be_measured(
    unmeasured: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = measure_section(opened())
    field = app.number_input(key="measure-images-standard-test")
    assert (field.min, field.max, field.value) == (1, 1000, 1000)
    app.selectbox(key="measure-protocol").select(Protocol.SANITY).run()
    field = app.number_input(key="measure-images-sanity-test")
    assert (field.max, field.value) == (1000, 500)
    for available in (True, False):
        monkeypatch.setattr(measuring, "autoattack_available", lambda here=available: here)
        app = measure_section(opened())
        assert errors(app) == []
        assert ("AutoAttack" in app.selectbox(key="measure-protocol").options) is available
        assert ("pip install pyautoattack" in text(app)) is not available
