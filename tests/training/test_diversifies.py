"""What DVERGE is for, on real images: what fools one member does not fool the others any more."""

from __future__ import annotations

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
    training_images=10_000,
    learning_rate=1e-2,
    schedule=Schedule.COSINE,
    layer=LayerChoice.BATCH,
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


@pytest.mark.full_data
@pytest.mark.skipif(not full_data_available(), reason="needs all of CIFAR-10")
def test_vulnerabilities_overlap_less_after_a_short_training() -> None:
    """The others' share fooled falls from 27% to 15%; as many clean epochs alone leave it at 26%.

    Of Eq. 2 nothing is said: it rises by as much in clean epochs, as members grow surer.
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
    assert after.own_fooled > 0.75, figures  # members on their own stay vulnerable
    assert after.others_fooled < 0.7 * before.others_fooled, figures
    assert after.others_target < 0.9 * before.others_target, figures
    assert last.mixture_val_accuracy > 0.55, figures
