"""A training that was stopped anywhere and goes on is, bit for bit, the one never stopped."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from dverge.data import Augmentation, ImageSet
from dverge.errors import TrainingError
from dverge.training import EpochMetrics, Schedule, StepMetrics, VanillaConfig, VanillaTraining
from dverge.training.engines import Engine, Sequential, Stacked

MakeTraining = Callable[..., VanillaTraining]
Yielded = StepMetrics | EpochMetrics | None

RECIPE: dict[str, Any] = {
    "weight_decay": 1e-3,
    "schedule": Schedule.COSINE,
    "augmentation": Augmentation.CROP_FLIP,
}
PER_EPOCH, ALL = 5, 15
FIRST, LAST_BUT_ONE, BOUNDARY, PAST_IT, LAST_EPOCH = 1, PER_EPOCH - 1, PER_EPOCH, PER_EPOCH + 1, 12


def through_a_file(state: dict[str, Any]) -> dict[str, Any]:
    """The state as it comes back from a file that may hold no code."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    loaded = torch.load(file, map_location="cpu", weights_only=True)
    assert isinstance(loaded, dict)
    return loaded


def final_weights(training: VanillaTraining) -> list[Tensor]:
    members = training.ensemble().members
    return [value.clone() for member in members for value in member.state_dict().values()]


def untimed(yielded: list[Yielded]) -> list[EpochMetrics]:
    """The epochs' figures, without those that depend on the clock."""
    epochs = [metrics for metrics in yielded if isinstance(metrics, EpochMetrics)]
    return [replace(metrics, seconds=0, images_per_second=0) for metrics in epochs]


def assert_same(found: list[Tensor], due: list[Tensor]) -> None:
    assert all(torch.equal(a, b) for a, b in zip(found, due, strict=True))


STOPS: list[tuple[type[Engine], int]] = [
    *((Sequential, stop) for stop in (FIRST, LAST_BUT_ONE, BOUNDARY, PAST_IT, LAST_EPOCH, ALL)),
    *((Stacked, stop) for stop in (FIRST, BOUNDARY, LAST_EPOCH)),
]


@pytest.mark.parametrize(("engine", "stop"), STOPS)
def test_resume_after_any_batch(
    engine: type[Engine], stop: int, training: MakeTraining, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dverge.training.vanilla.engine_for", lambda device: engine)
    whole = training(**RECIPE)
    due = list(whole.run())
    assert len(due) == ALL

    stopped = training(**RECIPE)
    before = list(itertools.islice(stopped.run(), stop))
    state = through_a_file(stopped.state_dict())
    resumed = training(**RECIPE)
    resumed.load_state_dict(state)
    assert resumed.progress() == stopped.progress() == stop / ALL
    after = list(resumed.run())

    assert len(before) + len(after) == ALL
    assert untimed(before + after) == untimed(due)
    assert_same(final_weights(resumed), final_weights(whole))
    assert resumed.progress() == 1


def test_many_stops(training: MakeTraining) -> None:
    """Stopped after every single batch."""
    whole = training(**RECIPE)
    due = untimed(list(whole.run()))
    state: dict[str, Any] | None = None
    found: list[Yielded] = []
    for _ in range(ALL):
        stopped = training(**RECIPE)
        if state is not None:
            stopped.load_state_dict(state)
        found.append(next(stopped.run()))
        state = through_a_file(stopped.state_dict())
    assert untimed(found) == due
    assert_same(final_weights(stopped), final_weights(whole))


def test_a_state_is_not_shared_with_the_training_that_goes_on_from_it(
    training: MakeTraining,
) -> None:
    """The same state in memory can be gone on from twice."""
    stopped = training(**RECIPE)
    list(itertools.islice(stopped.run(), 7))
    state = through_a_file(stopped.state_dict())
    ends = []
    for _ in range(2):
        resumed = training(**RECIPE)
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


def test_a_state_of_another_kind_of_device_is_refused(
    training: MakeTraining, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dverge.training.vanilla.engine_for", lambda device: Stacked)
    stacked = training().state_dict()
    monkeypatch.undo()
    with pytest.raises(TrainingError, match="does not fit a training on CPU"):
        training().load_state_dict(stacked)


@pytest.mark.parametrize("spoil", ["members", "missing", "foreign"])
def test_a_state_that_does_not_fit_is_refused(spoil: str, training: MakeTraining) -> None:
    state = training().state_dict()
    if spoil == "members":
        state = training(members=3).state_dict()
    elif spoil == "missing":
        del state["loss_sum"]
    else:
        state = {"engine": None}
    with pytest.raises(TrainingError, match="does not fit"):
        training().load_state_dict(state)


def test_only_the_seed_makes_a_training(
    tiny: Callable[..., VanillaConfig], train_images: ImageSet, few: ImageSet
) -> None:
    def end(**fields: Any) -> list[Tensor]:
        torch.rand(3)  # moves the global generator on
        config = tiny(epochs=1, augmentation=Augmentation.CROP_FLIP, **fields)
        training = VanillaTraining(config, train_images, few, torch.device("cpu"))
        list(training.run())
        return final_weights(training)

    first = end(seed=3)
    assert_same(end(seed=3), first)
    other = end(seed=4)
    assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))
    half = len(first) // 2
    assert not any(torch.equal(a, b) for a, b in zip(first[:half], first[half:], strict=True))
    assert_same(end(seed=3, members=1), first[:half])  # a member does not depend on the others
