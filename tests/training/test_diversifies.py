"""What DVERGE is for, on real images: what fools one member does not fool the others any more."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from dverge import checkpoints
from dverge.attacks import distill
from dverge.data import ImageSet, Split, full_data_available, load
from dverge.models import LAYERS, Conv, Ensemble
from dverge.training import DvergeConfig, EpochMetrics, LayerChoice, Schedule, Training

START = Path(__file__).parents[2] / "checkpoints" / "vanilla-3xconv-s0"
PAIRS = 512
SHORT = DvergeConfig(
    epochs=4,
    training_images=20_000,
    learning_rate=3e-3,
    schedule=Schedule.COSINE,
    layer=LayerChoice.LAYER_5,
)


@dataclass(frozen=True)
class Overlap:
    """How members answer to features distilled from one of them, with the report's settings.

    Attributes:
        own_target, others_target: share that is taken for the target by the member that it was
            distilled from, and by the others.
        own_fooled, others_fooled: share that is no longer taken for the source, of those sources
            that are without it.
    """

    own_target: float
    others_target: float
    own_fooled: float
    others_fooled: float

    @property
    def selectivity(self) -> float:
        """How many times as often the own member sees the target as the others do."""
        return self.own_target / self.others_target


def overlap(ensemble: Ensemble, images: ImageSet) -> Overlap:
    sources, targets = images.pixels(slice(PAIRS)), images.pixels(slice(PAIRS, 2 * PAIRS))
    source_labels, target_labels = images.labels[:PAIRS], images.labels[PAIRS : 2 * PAIRS]
    differ = source_labels != target_labels
    members = [member for member in ensemble.members if isinstance(member, Conv)]
    count = len(members)
    taken, fooled = torch.zeros(count, count), torch.zeros(count, count)
    for i, member in enumerate(members):
        distilled = distill(member, sources[differ], targets[differ], LAYERS)
        for j, other in enumerate(members):
            with torch.no_grad():
                logits = other(distilled)
                right = other(sources[differ]).argmax(1) == source_labels[differ]
            taken[i, j] = (logits.argmax(1) == target_labels[differ]).double().mean()
            fooled[i, j] = (logits.argmax(1) != source_labels[differ])[right].double().mean()
    return Overlap(*own_and_others(taken), *own_and_others(fooled))


def own_and_others(values: Tensor) -> tuple[float, float]:
    """Means of M×M values on the diagonal, and beside it."""
    others = ~torch.eye(len(values), dtype=torch.bool)
    return values.diagonal().mean().item(), values[others].mean().item()


@pytest.fixture
def all_cores(one_thread: None) -> Iterator[None]:
    """This training is long; the result is the same for any number of threads."""
    torch.set_num_threads(os.cpu_count() or 1)
    yield
    torch.set_num_threads(1)


@pytest.mark.full_data
@pytest.mark.skipif(not full_data_available(), reason="needs all of CIFAR-10")
def test_vulnerabilities_overlap_less_after_a_short_training(all_cores: None) -> None:
    """Of distilled features that fool a member, fewer fool the others (27 %, then 14 %), and a
    target is taken for the target by its own member 6.7 times as often as by the others before,
    8.5 times after. As many clean epochs alone leave that at 28 % and 6.5 times. Of Eq. 2 nothing
    is said: it rises in clean epochs too, as members grow surer.
    """
    train, validation = load(Split.TRAIN), load(Split.VALIDATION)
    start = checkpoints.load(START)
    training = Training(SHORT, train, validation, torch.device("cpu"), start)
    last = [metrics for metrics in training.run() if isinstance(metrics, EpochMetrics)][-1]
    before, after = overlap(start, validation), overlap(training.ensemble(), validation)
    figures = f"before {before}, after {after}, accuracy {last.mixture_val_accuracy:.3f}"
    print(figures)

    for each in (before, after):  # distilled features are what Eq. 1 says
        assert each.own_target > 4 * each.others_target, figures
    assert after.selectivity > 1.1 * before.selectivity, figures
    assert after.own_fooled > 0.75, figures  # members on their own stay vulnerable
    assert after.others_fooled < 0.7 * before.others_fooled, figures
    assert after.others_target < 0.9 * before.others_target, figures
    assert last.mixture_val_accuracy > 0.55, figures
