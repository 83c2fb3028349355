"""The mean of the last epochs' weights, against one made by hand from the same training."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dverge.data import ImageSet
from dverge.models import flat_parameters
from dverge.training import EpochMetrics, Method, Training
from dverge.training.cpu_engine import CpuEngine
from dverge.training.engine import Engine
from dverge.training.gpu_engine import GpuEngine
from tests.training.small import MakeTraining, assert_same, final_weights, untimed


def end_of_each_epoch(training: Training) -> list[Tensor]:
    """The members' weights M×62,006 as each epoch leaves them."""
    return [
        flat_parameters(training.members).clone()
        for metrics in training.run()
        if isinstance(metrics, EpochMetrics)
    ]


@pytest.mark.parametrize("engine", [CpuEngine, GpuEngine])
@pytest.mark.parametrize("method", [Method.VANILLA, Method.DVERGE])
def test_the_mean_of_the_last_epochs(
    engine: type[Engine],
    method: Method,
    training: MakeTraining,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dverge.training.trainer.engine_for", lambda device: engine)
    plain = end_of_each_epoch(training(method, epochs=4))
    averaged = end_of_each_epoch(training(method, epochs=4, average_last=3))
    assert_same(averaged[:3], plain[:3])  # it changes nothing before the end
    due = (plain[1].double() + plain[2].double() + plain[3].double()) / 3
    assert torch.allclose(averaged[3].double(), due, rtol=1e-6, atol=1e-9)
    assert (averaged[3] - plain[3]).abs().max() > 1e-4


def test_the_last_figures_are_the_means_own(training: MakeTraining, few: ImageSet) -> None:
    trained = training(average_last=2)
    figures = untimed(list(trained.run()))
    plain = untimed(list(training().run()))
    assert figures[:2] == plain[:2]
    assert figures[2].train_loss == plain[2].train_loss
    x, y = few.pixels(), few.labels
    with torch.no_grad():
        due = [F.cross_entropy(member(x), y).item() for member in trained.members]
    assert figures[2].val_loss == pytest.approx(due, abs=1e-5)
    assert figures[2].val_loss != pytest.approx(plain[2].val_loss, abs=1e-5)


@pytest.mark.parametrize("last", [0, 1])
def test_a_mean_of_one_epoch_or_none_is_the_training_itself(
    last: int, training: MakeTraining
) -> None:
    trained, plain = training(average_last=last), training()
    assert untimed(list(trained.run())) == untimed(list(plain.run()))
    assert_same(final_weights(trained), final_weights(plain))


def test_the_state_holds_the_sum_only_where_there_is_one(training: MakeTraining) -> None:
    assert "averaged" not in training().state_dict()
    assert training(average_last=2).state_dict()["averaged"].dtype == torch.float64
