"""A training that was stopped anywhere and goes on is, bit for bit, the one never stopped."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from dverge.data import Augmentation, ImageSet
from dverge.errors import TrainingError
from dverge.models import Ensemble, seeded_conv
from dverge.training import EpochMetrics, Method, Schedule, Training
from dverge.training.cpu_engine import CpuEngine
from dverge.training.engine import Engine
from dverge.training.gpu_engine import GpuEngine
from tests.training.small import (
    ALL,
    PER_EPOCH,
    MakeTraining,
    Yielded,
    assert_same,
    final_weights,
    through_a_file,
    tiny_config,
    untimed,
)

FIRST, LAST_BUT_ONE, BOUNDARY, PAST_IT = 1, PER_EPOCH - 1, PER_EPOCH, PER_EPOCH + 1
RECIPES: dict[str, dict[str, Any]] = {
    "vanilla": {
        "weight_decay": 1e-3,
        "schedule": Schedule.COSINE,
        "augmentation": Augmentation.CROP_FLIP,
    },
    "layer an epoch": {"method": Method.DVERGE},
    "layer a batch": {"method": Method.DVERGE, "layer": "batch"},
    "random starts": {"method": Method.DVERGE, "distill_random_start": True, "clean_weight": 1},
    "momentum": {"method": Method.DVERGE, "distill_momentum": 1, "layer": "4"},
    "eq3": {"method": Method.DVERGE, "diversity": "eq3", "cap": 3, "members": 3},
    "dverge-advt": {"method": Method.DVERGE_ADVT, "augmentation": Augmentation.CROP_FLIP},
    "advt on members": {"method": Method.ADVT, "clean_weight": 0.5},
    "advt on the mixture": {"method": Method.ADVT, "attacked": "mixture"},
    "advt as one": {"method": Method.ADVT, "attacked": "mixture", "joint": True},
    "averaged": {"average_last": 2},
}
STOPS = [
    *itertools.product([CpuEngine], RECIPES, (LAST_BUT_ONE, BOUNDARY)),
    *itertools.product([CpuEngine], ["vanilla", "dverge-advt"], (FIRST, PAST_IT, ALL)),
    *itertools.product(
        [CpuEngine, GpuEngine], ["averaged"], (2 * PER_EPOCH, 2 * PER_EPOCH + 1, ALL)
    ),
    *itertools.product([GpuEngine], ("vanilla", "random starts", "dverge-advt"), (PAST_IT,)),
]


@pytest.mark.parametrize(("engine", "recipe", "stop"), STOPS)
def test_resume_after_a_batch(
    engine: type[Engine],
    recipe: str,
    stop: int,
    training: MakeTraining,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dverge.training.trainer.engine_for", lambda device: engine)
    whole = training(**RECIPES[recipe])
    due = list(whole.run())
    assert len(due) == ALL

    stopped = training(**RECIPES[recipe])
    before = list(itertools.islice(stopped.run(), stop))
    state = through_a_file(stopped.state_dict())
    resumed = training(**RECIPES[recipe])
    resumed.load_state_dict(state)
    assert resumed.progress() == stopped.progress() == stop / ALL
    after = list(resumed.run())

    assert len(before) + len(after) == ALL
    assert untimed(before + after) == untimed(due)
    assert_same(final_weights(resumed), final_weights(whole))
    assert resumed.progress() == 1


@pytest.mark.parametrize("recipe", RECIPES)
def test_stopped_after_every_single_batch(recipe: str, training: MakeTraining) -> None:
    whole = training(**RECIPES[recipe])
    due = untimed(list(whole.run()))
    state: dict[str, Any] | None = None
    found: list[Yielded] = []
    for _ in range(ALL):
        stopped = training(**RECIPES[recipe])
        if state is not None:
            stopped.load_state_dict(state)
        found.append(next(stopped.run()))
        state = through_a_file(stopped.state_dict())
    assert untimed(found) == due
    assert_same(final_weights(stopped), final_weights(whole))


def test_the_start_is_not_needed_to_go_on(training: MakeTraining) -> None:
    start = Ensemble([seeded_conv(seed) for seed in (40, 41)])
    whole = training(Method.DVERGE, start)
    list(whole.run())
    stopped = training(Method.DVERGE, start)
    list(itertools.islice(stopped.run(), 7))
    resumed = training(Method.DVERGE)
    resumed.load_state_dict(through_a_file(stopped.state_dict()))
    list(resumed.run())
    assert_same(final_weights(resumed), final_weights(whole))


def test_a_state_is_not_shared_with_the_training_that_goes_on_from_it(
    training: MakeTraining,
) -> None:
    """The same state in memory can be gone on from twice."""
    stopped = training(Method.DVERGE)
    list(itertools.islice(stopped.run(), 7))
    state = through_a_file(stopped.state_dict())
    ends = []
    for _ in range(2):
        resumed = training(Method.DVERGE)
        resumed.load_state_dict(state)
        list(resumed.run())
        ends.append(final_weights(resumed))
    assert_same(*ends)


def test_time_of_a_resumed_epoch_is_that_of_both_parts(training: MakeTraining) -> None:
    stopped = training()
    list(itertools.islice(stopped.run(), 3))
    state = stopped.state_dict()
    state["seconds"] = 100.0
    resumed = training()
    resumed.load_state_dict(state)
    metrics = [each for each in resumed.run() if isinstance(each, EpochMetrics)]
    assert 100 < metrics[0].seconds < 110
    assert metrics[0].images_per_second == pytest.approx(2 * 130 / metrics[0].seconds)
    assert metrics[1].seconds < 10


@pytest.mark.parametrize(("first", "second"), [(CpuEngine, GpuEngine), (GpuEngine, CpuEngine)])
def test_a_state_of_another_kind_of_device(
    first: type[Engine],
    second: type[Engine],
    training: MakeTraining,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Begun on a GPU and gone on with on a CPU, or the other way, it is the same up to rounding."""
    whole = training(Method.DVERGE)
    due = untimed(list(whole.run()))
    monkeypatch.setattr("dverge.training.trainer.engine_for", lambda device: first)
    stopped = training(Method.DVERGE)
    list(itertools.islice(stopped.run(), 7))
    state = through_a_file(stopped.state_dict())
    monkeypatch.setattr("dverge.training.trainer.engine_for", lambda device: second)
    resumed = training(Method.DVERGE)
    resumed.load_state_dict(state)
    assert_same(final_weights(resumed), final_weights(stopped))
    found = untimed(list(resumed.run()))
    for one, other in zip(found, due[1:], strict=True):
        assert one.train_loss == pytest.approx(other.train_loss, abs=1e-3)
        assert one.val_loss == pytest.approx(other.val_loss, abs=1e-3)


SPOILT: dict[str, Callable[[dict[str, Any]], object]] = {
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


@pytest.mark.parametrize("case", SPOILT)
def test_a_state_that_does_not_fit_is_refused(case: str, training: MakeTraining) -> None:
    state = training(Method.DVERGE_ADVT, average_last=2).state_dict()
    SPOILT[case](state)
    with pytest.raises(TrainingError, match="does not fit a training with these settings"):
        training(Method.DVERGE_ADVT, average_last=2).load_state_dict(state)


@pytest.mark.parametrize("method", Method)
def test_only_the_seed_makes_a_training(
    method: Method, train_images: ImageSet, few: ImageSet
) -> None:
    def end(seed: int) -> list[Tensor]:
        torch.rand(3)  # moves the global generator on
        config = tiny_config(method, epochs=1, augmentation=Augmentation.CROP_FLIP, seed=seed)
        training = Training(config, train_images, few, torch.device("cpu"))
        list(training.run())
        return final_weights(training)

    first, other = end(seed=3), end(seed=4)
    assert_same(end(seed=3), first)
    assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))
    half = len(first) // 2
    assert not any(torch.equal(a, b) for a, b in zip(first[:half], first[half:], strict=True))


@pytest.mark.parametrize("method", [Method.VANILLA, Method.ADVT])
def test_independent_members_do_not_depend_on_the_others(
    method: Method, training: MakeTraining
) -> None:
    both, alone = training(method, epochs=1), training(method, epochs=1, members=1)
    list(both.run())
    list(alone.run())
    found = final_weights(alone)
    assert_same(found, final_weights(both)[: len(found)])
