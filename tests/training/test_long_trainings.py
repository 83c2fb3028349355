"""What only a longer training shows: DVERGE diversifies, and memory does not grow."""

from __future__ import annotations

import gc
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from dverge import checkpoints
from dverge.attacks import distill
from dverge.data import ImageSet, Split, full_data_available, load
from dverge.models import LAYERS, Conv, Ensemble
from dverge.training import DvergeConfig, LayerChoice, Schedule, Training
from tests.training.small import finish

pytestmark = pytest.mark.slow

VANILLA = Path(__file__).parents[2] / "checkpoints" / "vanilla-3xconv-s0"
PAIRS = 512
STATM = Path("/proc/self/statm")


class Overlap(NamedTuple):
    """How members answer to features distilled from one of them, with the report's settings.

    own_target, others_target: shares that are classified as the target, by the member that they
    are distilled from and by the others. own_fooled, others_fooled: shares that are no longer
    classified as the source, where the source is correct.
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
    pixels, labels = images.pixels(), images.labels
    differ = labels[:PAIRS] != labels[PAIRS : 2 * PAIRS]
    sources, source_labels = pixels[:PAIRS][differ], labels[:PAIRS][differ]
    targets, target_labels = (each[PAIRS : 2 * PAIRS][differ] for each in (pixels, labels))
    members = [member for member in ensemble.members if isinstance(member, Conv)]
    seen, fooled = torch.zeros(2, len(members), len(members))
    for i, member in enumerate(members):
        distilled = distill(member, sources, targets, LAYERS)
        for j, other in enumerate(members):
            with torch.no_grad():
                answers = other(distilled).argmax(1)
                correct = other(sources).argmax(1) == source_labels
            seen[i, j] = (answers == target_labels).double().mean()
            fooled[i, j] = (answers != source_labels)[correct].double().mean()
    return Overlap(*own_and_others(seen), *own_and_others(fooled))


def own_and_others(values: Tensor) -> tuple[float, float]:
    """Means of M×M values on the diagonal, and beside it."""
    others = ~torch.eye(len(values), dtype=torch.bool)
    return values.diagonal().mean().item(), values[others].mean().item()


@pytest.fixture
def all_cores(one_thread: None) -> Iterator[None]:
    """The result is the same for any number of threads."""
    torch.set_num_threads(os.cpu_count() or 1)
    yield
    torch.set_num_threads(1)


@pytest.mark.full_data
@pytest.mark.skipif(not full_data_available(), reason="needs all of CIFAR-10")
def test_vulnerabilities_overlap_less_after_a_short_training(all_cores: None) -> None:
    """Of distilled features that fool a member, fewer fool the others (27 %, then 14 %), and a
    target is classified as such by its own member 6.7 times as often as by the others before, 8.5
    times after. As many clean epochs alone leave that at 28 % and 6.5 times. Eq. 2 is not checked:
    it rises in clean epochs too, as members become more confident.
    """
    train, validation = load(Split.TRAIN), load(Split.VALIDATION)
    start = checkpoints.load(VANILLA)
    config = DvergeConfig(
        epochs=4,
        training_images=20_000,
        learning_rate=3e-3,
        schedule=Schedule.COSINE,
        layer=LayerChoice.LAYER_5,
    )
    trained = finish(Training(config, train, validation, torch.device("cpu"), start))
    before = overlap(start, validation)
    after = overlap(trained.training.ensemble(), validation)
    accuracy = trained.epochs[-1].mixture_val_accuracy
    figures = f"before {before}, after {after}, accuracy {accuracy:.3f}"
    print(figures)

    for each in (before, after):  # distilled features are what Eq. 1 says
        assert each.own_target > 4 * each.others_target, figures
    assert after.selectivity > 1.1 * before.selectivity, figures
    assert after.own_fooled > 0.75, figures  # each member stays vulnerable by itself
    assert after.others_fooled < 0.7 * before.others_fooled, figures
    assert after.others_target < 0.9 * before.others_target, figures
    assert accuracy > 0.55, figures


def resident_megabytes() -> float:
    gc.collect()
    pages = int(STATM.read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.skipif(not STATM.exists(), reason="needs Linux")
def test_memory_does_not_grow(train_images: ImageSet, held_out: ImageSet) -> None:
    """In 2,500 iterations, over the ends of epochs too: one has 50 iterations here."""
    config = DvergeConfig(
        members=2,
        epochs=1000,
        batch_size=16,
        training_images=800,
        distill_steps=1,
        learning_rate=1e-4,
    )
    steps = Training(config, train_images, held_out, torch.device("cpu")).run()
    for _ in itertools.islice(steps, 500):
        pass
    before = resident_megabytes()
    for _ in itertools.islice(steps, 2500):
        pass
    grown = resident_megabytes() - before
    assert grown < 5, f"{grown:.2f} MB more than the {before:.0f} MB before"
