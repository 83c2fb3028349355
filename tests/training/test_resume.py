"""A training that stops anywhere and resumes is, bit for bit, the one that never stopped."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch

from dverge.errors import TrainingError
from dverge.models import Ensemble, seeded_conv
from dverge.training import EpochMetrics, Method, Training
from dverge.training.cpu_engine import CpuEngine
from dverge.training.engine import Engine
from dverge.training.gpu_engine import GpuEngine
from tests.training.small import (
    PER_EPOCH,
    RECIPES,
    Finish,
    MakeTraining,
    Yielded,
    finish,
    through_a_file,
    untimed,
)

PARTS_OF_OTHERS = ("no momentum", "decay", "cosine", "crop-flip")
ALL_RECIPES = {name: RECIPES[name][0] for name in RECIPES if name not in PARTS_OF_OTHERS}
ALL_RECIPES["averaged"] = {"average_last": 2}


def stopped_after(batches: int, training: Training) -> tuple[list[Yielded], dict[str, Any]]:
    """What a training yields until it is stopped, and its state as it comes back from a file."""
    yielded = list(itertools.islice(training.run(), batches))
    return yielded, through_a_file(training.state_dict())


@pytest.mark.parametrize("recipe", ALL_RECIPES)
def test_stopped_after_every_batch(recipe: str, training: MakeTraining, finished: Finish) -> None:
    whole = finished(**ALL_RECIPES[recipe])
    batches = len(whole.yielded)
    state: dict[str, Any] | None = None
    yielded: list[Yielded] = []
    for batch in range(batches):
        resumed = training(**ALL_RECIPES[recipe])
        if state is not None:
            resumed.load_state_dict(state)
        assert resumed.progress() == batch / batches
        metrics, state = stopped_after(1, resumed)
        yielded += metrics
    assert untimed(yielded) == whole.epochs
    assert resumed.engine.weights.equal(whole.weights)
    assert not list(resumed.run()) and resumed.progress() == 1


@pytest.mark.parametrize(
    "recipe", ["vanilla", "random starts", "dverge-advt and clean", "averaged"]
)
def test_stopped_with_the_other_engine(
    recipe: str, training: MakeTraining, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dverge.training.trainer.engine_for", lambda device: GpuEngine)
    fields = {**ALL_RECIPES[recipe], "epochs": 2}
    whole = finish(training(**fields))
    before, state = stopped_after(PER_EPOCH + 1, training(**fields))
    resumed = training(**fields)
    resumed.load_state_dict(state)
    after = list(resumed.run())
    assert len(before) + len(after) == 2 * PER_EPOCH
    assert untimed(before + after) == whole.epochs
    assert resumed.engine.weights.equal(whole.weights)


@pytest.mark.parametrize("engines", [(CpuEngine, GpuEngine), (GpuEngine, CpuEngine)])
def test_resumed_on_another_kind_of_device(
    engines: tuple[type[Engine], type[Engine]],
    training: MakeTraining,
    finished: Finish,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The training is the same up to rounding."""
    whole, remaining = finished(Method.DVERGE), iter(engines)
    monkeypatch.setattr("dverge.training.trainer.engine_for", lambda device: next(remaining))
    _, state = stopped_after(7, training(Method.DVERGE))
    resumed = training(Method.DVERGE)
    resumed.load_state_dict(state)
    assert resumed.engine.weights.equal(state["engine"]["weights"])
    for metrics, expected in zip(finish(resumed).epochs, whole.epochs[1:], strict=True):
        assert metrics.train_loss == pytest.approx(expected.train_loss, abs=1e-3)
        assert metrics.val_loss == pytest.approx(expected.val_loss, abs=1e-3)


def test_a_state_can_be_used_twice_and_needs_no_start(training: MakeTraining) -> None:
    start = Ensemble([seeded_conv(seed) for seed in (40, 41)])
    whole = finish(training(Method.DVERGE, start))
    _, state = stopped_after(7, training(Method.DVERGE, start))
    for _ in range(2):
        resumed = training(Method.DVERGE)
        resumed.load_state_dict(state)
        assert finish(resumed).weights.equal(whole.weights)


def test_the_time_of_a_resumed_epoch_is_that_of_both_parts(training: MakeTraining) -> None:
    _, state = stopped_after(3, training())
    state["seconds"] = 100.0
    resumed = training()
    resumed.load_state_dict(state)
    first, second, _ = [each for each in resumed.run() if isinstance(each, EpochMetrics)]
    assert 100 < first.seconds < 110
    assert first.images_per_second == pytest.approx(2 * 130 / first.seconds)
    assert second.seconds < 10


DAMAGE: dict[str, Callable[[dict[str, Any]], object]] = {
    "more members": lambda state: state["engine"].update(weights=torch.zeros(3, 62_006)),
    "other momenta": lambda state: state["engine"].update(velocity=torch.zeros(2, 7)),
    "no engine": lambda state: state.pop("engine"),
    "an empty engine": lambda state: state.update(engine=None),
    "no sums": lambda state: state.pop("sums"),
    "sums of other terms": lambda state: state.update(sums=torch.zeros(3, 2)),
    "sums of one term": lambda state: state.update(sums=torch.zeros(1, 2)),
    "sums of more members": lambda state: state.update(sums=torch.zeros(2, 3)),
    "no batch": lambda state: state.pop("batch"),
    "no sum of weights": lambda state: state.pop("averaged"),
    "a sum of more members": lambda state: state.update(averaged=torch.zeros(3, 62_006)),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_state_that_does_not_fit_is_refused(case: str, training: MakeTraining) -> None:
    state = training(Method.DVERGE_ADVT, average_last=2).state_dict()
    DAMAGE[case](state)
    with pytest.raises(TrainingError, match="does not fit a training with these settings"):
        training(Method.DVERGE_ADVT, average_last=2).load_state_dict(state)


@pytest.mark.parametrize("method", Method)
def test_only_the_seed_decides(method: Method, training: MakeTraining) -> None:
    weights = []
    for seed in (3, 4, 3):
        torch.rand(3)  # changes the state of the global generator
        fields = {"epochs": 1, "augmentation": "crop-flip", "seed": seed}
        weights.append(finish(training(method, **fields)).weights)
    first, other, again = weights
    assert again.equal(first)
    assert (first != other).double().mean() > 0.99
    assert (first[0] != first[1]).double().mean() > 0.99


@pytest.mark.parametrize("method", [Method.VANILLA, Method.ADVT])
def test_independent_members_do_not_depend_on_the_others(method: Method, finished: Finish) -> None:
    alone = finished(method, members=1)
    assert alone.weights[0].equal(finished(method).weights[0])
