"""How long an evaluation will take, held against the work it then does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import pytest
from torch import Tensor

from dverge import checkpoints
from dverge.attacks import Attack, Norm, fgsm, pgd
from dverge.data import ImageSet, Split, load
from dverge.evaluation import estimate as module
from dverge.evaluation.estimate import estimate_seconds
from dverge.evaluation.evaluation import Evaluation
from dverge.evaluation.measurements import Clean, Measurement, ProjectedGradient, ReportAttack
from dverge.evaluation.protocols import PLANS, EvaluationConfig, Protocol
from dverge.models import CompiledConv, Conv, Ensemble

SetSpeeds = Callable[[float, float], None]


def small(seed: int) -> list[Measurement]:
    config = pgd(Norm.LINF, 0.03, steps=5, restarts=3, seed=seed)
    return [
        Clean(),
        ProjectedGradient("fgsm", fgsm(0.03), thorough=True),
        ProjectedGradient("pgd-linf", config, thorough=True),
        ReportAttack(Attack.PGD_L2),
    ]


@pytest.fixture(autouse=True)
def plan(monkeypatch: pytest.MonkeyPatch) -> None:
    """A short protocol in place of the curve."""
    monkeypatch.setitem(PLANS, Protocol.CURVE, replace(PLANS[Protocol.CURVE], measurements=small))


@pytest.fixture
def set_speeds(monkeypatch: pytest.MonkeyPatch) -> SetSpeeds:
    """Sets the seconds of a gradient by PyTorch and by the compiled kernels."""

    def set_to(plain: float, fast: float) -> None:
        def seconds(images: ImageSet, ensemble: Ensemble) -> float:
            return plain if isinstance(ensemble.members[0], Conv) else fast

        monkeypatch.setattr(module, "_gradient_seconds", seconds)

    return set_to


def evaluation_of(root: Path, *names: str, images: int = 20) -> Evaluation:
    checkpoints = names or ("three", "two")
    config = EvaluationConfig(checkpoints, Protocol.CURVE, Split.SAMPLE, images, device="cpu")
    return Evaluation(config, root=root)


def measure(evaluation: Evaluation, count: int | None = None) -> None:
    """So many measurements, or all."""
    for _ in islice((results for results in evaluation.run() if results), count):
        pass


def test_it_grows_with_the_work_that_is_left(
    root: Path, set_speeds: SetSpeeds, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_speeds(1e-3, 1e-3)
    whole = estimate_seconds(evaluation_of(root))
    three, two = (estimate_seconds(evaluation_of(root, name)) for name in ("three", "two"))
    assert 0 < two < three
    assert whole == pytest.approx(three + two)
    assert estimate_seconds(evaluation_of(root, images=40)) == pytest.approx(2 * whole)
    left = [two]
    for count in range(1, 4):
        measure(evaluation_of(root, "two"), count)
        left.append(estimate_seconds(evaluation_of(root, "two")))
    assert left[0] > left[1] > left[2] > left[3] > 0
    measure(evaluation_of(root, "two"))
    assert estimate_seconds(evaluation_of(root)) == pytest.approx(three)
    monkeypatch.setattr(module, "_gradient_seconds", lambda *_: pytest.fail("timed"))
    assert estimate_seconds(evaluation_of(root, "two")) == 0
    with pytest.raises(pytest.fail.Exception):
        estimate_seconds(evaluation_of(root, "two", images=5))


def test_each_measurement_is_timed_by_what_computes_it(root: Path, set_speeds: SetSpeeds) -> None:
    set_speeds(1.0, 0.0)
    plain = estimate_seconds(evaluation_of(root))
    set_speeds(0.0, 1.0)
    fast = estimate_seconds(evaluation_of(root))
    assert 0 < plain < fast
    set_speeds(3.0, 0.5)
    assert estimate_seconds(evaluation_of(root)) == pytest.approx(3 * plain + fast / 2)


def test_it_foresees_the_gradients_that_are_then_computed(
    root: Path, set_speeds: SetSpeeds, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a second for each gradient, so that no clock decides."""
    done = 0
    features = CompiledConv.features

    def counted(self: CompiledConv, images: Tensor, layer: int) -> Tensor:
        nonlocal done
        done += len(images) * images.requires_grad
        return features(self, images, layer)

    evaluation = evaluation_of(root, images=60)
    set_speeds(0.0, 1.0)
    foreseen = estimate_seconds(evaluation)
    monkeypatch.setattr(CompiledConv, "features", counted)
    measure(evaluation)
    assert 0.5 < foreseen / done < 2


def test_a_gradient_takes_the_best_of_three_times(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A first one, which may have to compile, does not count."""
    assert 0 < estimate_seconds(evaluation_of(root, "two", images=4)) < 600  # by the real clock
    times = iter([0.0, 500.0, 500.0, 509.0, 509.0, 511.0, 511.0, 516.0])
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: next(times)))
    ensemble = checkpoints.load(root / "three")
    assert module._gradient_seconds(load(Split.SAMPLE), ensemble) == 2 / module.TIMED
    assert next(times, None) is None
