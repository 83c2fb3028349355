"""What a training says of itself is what a slow computation finds."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from dverge.data import ImageSet
from dverge.errors import ConfigError, TrainingError
from dverge.models import Ensemble
from dverge.training import EpochMetrics, StepMetrics, Training, VanillaConfig
from tests.training.small import MakeTraining, epochs, tiny_config


def slowly(ensemble: Ensemble, images: ImageSet) -> tuple[list[float], list[float]]:
    """Losses and accuracies of the members and last the mixture, image by image in float64."""
    rows = len(ensemble) + 1
    losses, right = [0.0] * rows, [0] * rows
    members = [member.double() for member in ensemble.members]
    for i in range(len(images)):
        x, y = images.images[i : i + 1].double() / 255, int(images.labels[i])
        each = [torch.exp(m(x))[0] / torch.exp(m(x)).sum() for m in members]
        for row, p in enumerate([*each, sum(each) / len(each)]):
            assert isinstance(p, torch.Tensor)
            losses[row] -= math.log(p[y].item()) / len(images)
            right[row] += int(p.argmax()) == y
    return losses, [count / len(images) for count in right]


def test_figures_of_an_epoch(training: MakeTraining, few: ImageSet) -> None:
    trained = training(members=3, epochs=4)
    last = epochs(trained)[-1]
    losses, accuracies = slowly(trained.ensemble(), few)
    assert last.epoch == 4
    assert last.val_loss == pytest.approx(losses[:-1], abs=1e-5)
    assert last.mixture_val_loss == pytest.approx(losses[-1], abs=1e-5)
    assert last.val_accuracy == pytest.approx(accuracies[:-1], abs=1e-9)
    assert last.mixture_val_accuracy == pytest.approx(accuracies[-1], abs=1e-9)
    assert last.learning_rate == 0.02
    assert last.images_per_second == pytest.approx(3 * 130 / last.seconds)


def test_running_losses(training: MakeTraining, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looked at after every batch, their mean over the epoch is the epoch's training loss."""
    monkeypatch.setattr("dverge.training.trainer.SECONDS_BETWEEN_READINGS", -1.0)
    trained = training(epochs=1)
    seen: list[list[float]] = []
    iterate = trained.engine.iterate

    def watched(*arguments: Any) -> torch.Tensor:
        values = iterate(*arguments)
        seen.append(values[0].tolist())
        return values

    monkeypatch.setattr(trained.engine, "iterate", watched)
    yielded = list(trained.run())
    looks = [metrics for metrics in yielded if isinstance(metrics, StepMetrics)]
    assert [look.epoch for look in looks] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert [look.loss for look in looks] == seen[:-1]
    assert isinstance(yielded[-1], EpochMetrics)
    means = [sum(losses) / 5 for losses in zip(*seen, strict=True)]
    assert yielded[-1].train_loss == pytest.approx(means)


def test_time_that_the_caller_takes_is_not_training_time(
    training: MakeTraining, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]

    def clock() -> float:
        now[0] += 0.01
        return now[0]

    monkeypatch.setattr("dverge.training.trainer.time", SimpleNamespace(perf_counter=clock))
    seconds = []
    for metrics in training(epochs=2).run():
        now[0] += 1000
        if isinstance(metrics, EpochMetrics):
            seconds.append(metrics.seconds)
    assert all(0.05 <= each < 1 for each in seconds)


def test_validation_is_of_the_given_images_and_they_are_not_trained_on(
    train_images: ImageSet, few: ImageSet
) -> None:
    one = few.subset(slice(0, 1))
    first = Training(tiny_config(), train_images, one, torch.device("cpu"))
    second = Training(tiny_config(), train_images, few, torch.device("cpu"))
    found, other = epochs(first)[-1], epochs(second)[-1]
    assert found.train_loss == other.train_loss
    assert found.val_loss != other.val_loss
    assert found.val_loss == pytest.approx(slowly(first.ensemble(), one)[0][:-1], abs=1e-5)


def test_only_the_first_training_images_are_used(train_images: ImageSet, few: ImageSet) -> None:
    cut = train_images.subset(slice(0, 130))
    both = [
        Training(tiny_config(), images, few, torch.device("cpu")) for images in (train_images, cut)
    ]
    assert epochs(both[0])[-1].val_loss == epochs(both[1])[-1].val_loss


def test_more_images_than_there_are(training: MakeTraining) -> None:
    with pytest.raises(ConfigError, match="training_images is 801; there are 800 images"):
        training(training_images=801)


@pytest.mark.parametrize("members", [1, 3])
def test_a_training_that_diverges_says_so(members: int, training: MakeTraining) -> None:
    message = r"loss of submodel \d became (nan|inf) in epoch \d+.*Lower the learning rate \(9\)"
    with pytest.raises(TrainingError, match=message):
        # Such a penalty makes the weights eight times as large at every step.
        list(training(learning_rate=9, weight_decay=1, members=members, epochs=50).run())


def spoil(training: Training, after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make submodel 2's weights not a number at the end of the batch of that number."""
    iterate, calls = training.engine.iterate, iter(range(1, 1000))

    def spoiling(*arguments: Any) -> torch.Tensor:
        values = iterate(*arguments)
        if next(calls) == after:
            training.members[1].fc3.bias.detach().fill_(math.nan)
        return values

    monkeypatch.setattr(training.engine, "iterate", spoiling)


def test_the_submodel_and_epoch_are_named(
    training: MakeTraining, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = training(members=3)
    spoil(trained, 6, monkeypatch)  # the first of the second epoch, which has more
    with pytest.raises(TrainingError, match="submodel 2 became nan in epoch 2"):
        list(trained.run())


def test_the_last_step_of_all_can_diverge_too(
    training: MakeTraining, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its training loss was still finite; what it left behind is not."""
    trained = training(epochs=2)
    spoil(trained, 10, monkeypatch)
    with pytest.raises(TrainingError, match="submodel 2 became nan in epoch 2"):
        list(trained.run())
    assert trained.epoch == 1


def test_a_small_training_learns(train_images: ImageSet, held_out: ImageSet) -> None:
    config = VanillaConfig(
        members=2, epochs=10, learning_rate=0.01, batch_size=16, training_images=800
    )
    found = epochs(Training(config, train_images, held_out, torch.device("cpu")))
    for i in range(2):
        assert found[-1].train_loss[i] < found[0].train_loss[i] - 0.1
        assert found[-1].val_loss[i] < found[0].val_loss[i] - 0.05
        assert found[-1].val_accuracy[i] > 0.17  # chance is 0.1, give or take 0.02
    assert found[-1].mixture_val_accuracy > 0.2


def test_the_global_generator_is_left_alone(training: MakeTraining) -> None:
    before = torch.get_rng_state()
    trained = training(epochs=1, augmentation="crop-flip")
    list(trained.run())
    trained.load_state_dict(trained.state_dict())
    assert torch.equal(torch.get_rng_state(), before)
