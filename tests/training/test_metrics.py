"""The metrics of a training against slow computations, and trainings that diverge."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from dverge.data import ImageSet
from dverge.errors import ConfigError, TrainingError
from dverge.models import Ensemble
from dverge.training import EpochMetrics, Method, StepMetrics, Training, VanillaConfig
from tests.training.small import Finish, MakeTraining, finish, small_config


def image_by_image(ensemble: Ensemble, images: ImageSet) -> tuple[list[float], list[float]]:
    """Losses and accuracies of the members and, last, the mixture, in float64."""
    rows = len(ensemble) + 1
    losses, correct = [0.0] * rows, [0] * rows
    members = [copy.deepcopy(member).double() for member in ensemble.members]
    for i in range(len(images)):
        x, y = images.images[i : i + 1].double() / 255, int(images.labels[i])
        each = [torch.exp(member(x))[0] / torch.exp(member(x)).sum() for member in members]
        for row, p in enumerate([*each, torch.stack(each).mean(0)]):
            losses[row] -= math.log(p[y].item()) / len(images)
            correct[row] += int(p.argmax()) == y
    return losses, [count / len(images) for count in correct]


def test_the_metrics_of_an_epoch(training: MakeTraining, held_out: ImageSet) -> None:
    trained = training(members=3, epochs=2)
    last = finish(trained).yielded[-1]
    losses, accuracies = image_by_image(trained.ensemble(), held_out)
    assert isinstance(last, EpochMetrics)
    assert last.epoch == 2
    assert [*last.val_loss, last.mixture_val_loss] == pytest.approx(losses, abs=1e-5)
    assert [*last.val_accuracy, last.mixture_val_accuracy] == pytest.approx(accuracies, abs=1e-9)
    assert last.learning_rate == 0.02
    assert last.images_per_second == pytest.approx(3 * 130 / last.seconds)


def after_each_iteration(
    training: Training, act: Callable[[int, Tensor], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Call act with the iteration's number, from 1, and the terms' values."""
    iterate, done = training.engine.iterate, 0

    def watched(*arguments: Any) -> Tensor:
        nonlocal done
        values, done = iterate(*arguments), done + 1
        act(done, values)
        return values

    monkeypatch.setattr(training.engine, "iterate", watched)


def test_the_running_loss(training: MakeTraining, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read after every batch; its mean over the epoch is the epoch's training loss."""
    monkeypatch.setattr("dverge.training.trainer.SECONDS_BETWEEN_READINGS", -1.0)
    trained = training(epochs=1)
    losses: list[list[float]] = []
    after_each_iteration(trained, lambda _, values: losses.append(values[0].tolist()), monkeypatch)
    *steps, epoch = finish(trained).yielded
    readings = [metrics for metrics in steps if isinstance(metrics, StepMetrics)]
    assert [metrics.epoch for metrics in readings] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert [metrics.loss for metrics in readings] == losses[:-1]
    assert isinstance(epoch, EpochMetrics)
    assert epoch.train_loss == pytest.approx([sum(each) / 5 for each in zip(*losses, strict=True)])


def test_the_callers_time_is_not_training_time(
    training: MakeTraining, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 0.01
        return now

    monkeypatch.setattr("dverge.training.trainer.time", SimpleNamespace(perf_counter=clock))
    for metrics in training(epochs=2).run():
        now += 1000
        if isinstance(metrics, EpochMetrics):
            assert 0.05 <= metrics.seconds < 1


def test_only_the_first_training_images_are_used(
    finished: Finish, train_images: ImageSet, held_out: ImageSet
) -> None:
    """And the validation images are not trained on."""
    first, one = train_images.subset(slice(0, 130)), held_out.subset(slice(0, 1))
    trained = Training(small_config(), first, one, torch.device("cpu"))
    last, other = finish(trained).epochs[-1], finished().epochs[-1]
    assert trained.engine.weights.equal(finished().weights)
    assert last.train_loss == other.train_loss
    assert last.val_loss != other.val_loss
    assert last.val_loss == pytest.approx(image_by_image(trained.ensemble(), one)[0][:-1], abs=1e-5)


def test_more_images_than_there_are(training: MakeTraining) -> None:
    with pytest.raises(ConfigError, match="training_images is 801; there are 800 images"):
        training(training_images=801)


# The penalty makes the weights eight times as large at every step.
EXPLODES: dict[str, Any] = {"learning_rate": 9, "weight_decay": 1, "epochs": 50}
LOWER_THE_RATE = r"(nan|inf) in epoch \d+.*diverged\. Lower the learning rate \(9\)\.$"
# Eq. 3's loss has no lower bound.
EQ3: dict[str, Any] = {
    "method": Method.DVERGE,
    "diversity": "eq3",
    "clean_weight": 1,
    "alpha": 10,
    "learning_rate": 0.05,
    "epochs": 20,
}
SET_A_CAP = (
    r"(nan|-inf) in epoch \d+: the training diverged\. The report warns of it: the loss of Eq\. 3 "
    r"has no lower bound\. Set a cap \(now 0\), lower alpha \(10\), or take Eq\. 4\.$"
)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({**EXPLODES, "members": 1}, LOWER_THE_RATE),
        ({**EXPLODES, "members": 3}, LOWER_THE_RATE),
        ({**EXPLODES, "method": Method.DVERGE}, LOWER_THE_RATE),
        (EQ3, SET_A_CAP),
    ],
)
def test_a_training_that_diverges_says_what_to_change(
    fields: dict[str, Any], message: str, training: MakeTraining
) -> None:
    with pytest.raises(TrainingError, match=r"^the loss of submodel \d became " + message):
        finish(training(**fields))


@pytest.mark.parametrize(
    ("batch", "epochs_done"),
    [(6, 1), (10, 1)],  # the first of the second epoch, which is reported at its end; the last
)
def test_the_submodel_and_the_epoch_are_named(
    batch: int, epochs_done: int, training: MakeTraining, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the last batch the training loss is still finite; the weights are not."""
    trained = training(members=3, epochs=2)

    def spoil(number: int, _: Tensor) -> None:
        if number == batch:
            trained.members[1].fc3.bias.detach().fill_(math.nan)

    after_each_iteration(trained, spoil, monkeypatch)
    with pytest.raises(TrainingError, match="submodel 2 became nan in epoch 2"):
        finish(trained)
    assert trained.epoch == epochs_done


def test_eq3_unlearns_the_targets_epoch_by_epoch(finished: Finish) -> None:
    epochs = finished(**{**EQ3, "learning_rate": 0.01, "epochs": 5}).epochs
    for diversity in zip(*(metrics.terms["diversity"] for metrics in epochs), strict=True):
        assert list(diversity) == sorted(diversity)
        assert diversity[-1] > diversity[0] + 0.05
    assert max(epochs[-1].train_loss) < max(epochs[0].train_loss) < 0


@pytest.mark.parametrize("cap", [3.0, 20.0])
def test_eq3_with_a_cap_stays_finite(cap: float, training: MakeTraining) -> None:
    epochs = finish(training(**EQ3, cap=cap)).epochs
    for metrics in epochs:
        assert max(metrics.terms["diversity"]) <= cap + 1e-6
    assert max(epochs[-1].terms["diversity"]) > 0.7 * cap  # the cap does bind


def test_a_small_training_learns(shuffled: ImageSet) -> None:
    train, validation = shuffled.subset(slice(800)), shuffled.subset(slice(800, 1000))
    config = VanillaConfig(
        members=2, epochs=10, learning_rate=0.01, batch_size=16, training_images=800
    )
    first, *_, last = finish(Training(config, train, validation, torch.device("cpu"))).epochs
    for i in range(2):
        assert last.train_loss[i] < first.train_loss[i] - 0.1
        assert last.val_loss[i] < first.val_loss[i] - 0.05
        assert last.val_accuracy[i] > 0.17  # chance is 0.1, give or take 0.02
    assert last.mixture_val_accuracy > 0.2


def test_the_global_generator_is_left_alone(training: MakeTraining) -> None:
    before = torch.get_rng_state()
    trained = training(Method.DVERGE_ADVT, epochs=1, augmentation="crop-flip")
    finish(trained)
    trained.load_state_dict(trained.state_dict())
    assert torch.equal(torch.get_rng_state(), before)
