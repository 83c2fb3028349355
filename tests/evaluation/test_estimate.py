"""How long an evaluation will take, held against the work it then does."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from torch import Tensor

from dverge import checkpoints
from dverge.attacks import Attack, Norm, fgsm, pgd
from dverge.data import ImageSet, Split, load
from dverge.evaluation import estimate as module
from dverge.evaluation.estimate import estimate_seconds
from dverge.evaluation.evaluation import Evaluation
from dverge.evaluation.measurements import Clean, Gradient, Measurement, Report
from dverge.evaluation.protocols import PLANS, EvaluationConfig, Protocol
from dverge.models import CompiledConv, Conv, Ensemble

SHIPPED = Path(__file__).parents[2] / "checkpoints" / "vanilla-3xconv-s0"
Speeds = Callable[[float, float], None]


def small(seed: int) -> list[Measurement]:
    return [
        Clean(),
        Gradient("fgsm", fgsm(0.03), thorough=True),
        Gradient("pgd-linf", pgd(Norm.LINF, 0.03, steps=5, restarts=3, seed=seed), thorough=True),
        Report(Attack.PGD_L2),
    ]


@pytest.fixture(autouse=True)
def plan(monkeypatch: pytest.MonkeyPatch) -> None:
    """The curve is another and shorter one."""
    monkeypatch.setitem(PLANS, Protocol.CURVE, replace(PLANS[Protocol.CURVE], measurements=small))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "checkpoints"
    shutil.copytree(SHIPPED, root / "three", ignore=shutil.ignore_patterns("evaluations"))
    two = Ensemble(list(checkpoints.load(SHIPPED).members)[1:])
    checkpoints.save("two", two, method="vanilla", root=root)
    return root


@pytest.fixture
def speeds(monkeypatch: pytest.MonkeyPatch) -> Speeds:
    """Says what a gradient takes, as PyTorch computes it and as fast as it can be had."""

    def set_to(exact: float, fast: float) -> None:
        def seconds(images: ImageSet, ensemble: Ensemble) -> float:
            return exact if isinstance(ensemble.members[0], Conv) else fast

        monkeypatch.setattr(module, "_gradient_seconds", seconds)

    return set_to


def evaluation_of(root: Path, *names: str, images: int = 20) -> Evaluation:
    given: dict[str, Any] = {"split": Split.SAMPLE, "images": images, "device": "cpu"}
    return Evaluation(
        EvaluationConfig(names or ("three", "two"), Protocol.CURVE, **given), root=root
    )


def measure(evaluation: Evaluation, count: int | None = None) -> None:
    """So many measurements, or all."""
    for _ in islice((rows for rows in evaluation.run() if rows), count):
        pass


def test_nothing_is_left_to_do_and_nothing_is_timed_where_all_is_kept(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure(evaluation_of(root, images=4))
    monkeypatch.setattr(module, "_gradient_seconds", lambda *_: pytest.fail("timed"))
    assert estimate_seconds(evaluation_of(root, images=4)) == 0
    with pytest.raises(pytest.fail.Exception):
        estimate_seconds(evaluation_of(root, images=5))


def test_it_grows_with_images_and_ensembles_and_shrinks_with_what_is_kept(
    root: Path, speeds: Speeds
) -> None:
    speeds(1e-3, 1e-3)
    whole = estimate_seconds(evaluation_of(root))
    three, two = (estimate_seconds(evaluation_of(root, name)) for name in ("three", "two"))
    assert 0 < two < three
    assert whole == pytest.approx(three + two)
    assert estimate_seconds(evaluation_of(root, images=40)) == pytest.approx(2 * whole)
    left = []
    for count in range(1, 4):
        measure(evaluation_of(root, "two"), count)
        left.append(estimate_seconds(evaluation_of(root, "two")))
    assert two > left[0] > left[1] > left[2] > 0
    measure(evaluation_of(root, "two"))
    assert estimate_seconds(evaluation_of(root)) == pytest.approx(three)


def test_what_is_computed_as_a_plain_script_would_is_timed_so(root: Path, speeds: Speeds) -> None:
    speeds(1.0, 0.0)
    exact = estimate_seconds(evaluation_of(root))
    speeds(0.0, 1.0)
    fast = estimate_seconds(evaluation_of(root))
    assert 0 < exact < fast
    speeds(3.0, 0.5)
    assert estimate_seconds(evaluation_of(root)) == pytest.approx(3 * exact + fast / 2)


def test_it_foresees_the_gradients_that_are_then_computed(
    root: Path, speeds: Speeds, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a second for each gradient, so that no clock decides."""
    done = 0
    features = CompiledConv.features

    def counted(self: CompiledConv, images: Tensor, layer: int) -> Tensor:
        nonlocal done
        done += len(images) * images.requires_grad
        return features(self, images, layer)

    evaluation = evaluation_of(root, images=60)
    speeds(0.0, 1.0)
    foreseen = estimate_seconds(evaluation)
    monkeypatch.setattr(CompiledConv, "features", counted)
    measure(evaluation)
    assert 0.5 < foreseen / done < 2


def test_a_gradient_takes_what_the_clock_says_of_the_best_of_three(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A first one, which may have to compile, does not count."""
    times = iter([0.0, 500.0, 500.0, 509.0, 509.0, 511.0, 511.0, 516.0])
    clock = SimpleNamespace(perf_counter=lambda: next(times))
    monkeypatch.setattr(module, "time", clock)
    ensemble = checkpoints.load(root / "three")
    images = load(Split.SAMPLE)
    assert module._gradient_seconds(images, ensemble) == 2 / module.TIMED
    assert next(times, None) is None


def test_with_the_real_clock_it_is_a_time(root: Path) -> None:
    assert 0 < estimate_seconds(evaluation_of(root, "two", images=4)) < 600
