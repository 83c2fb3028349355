"""A long training takes no more memory than a short one."""

from __future__ import annotations

import gc
import itertools
import os
from pathlib import Path

import pytest
import torch

from dverge.data import ImageSet
from dverge.training import DvergeConfig, Training

STATM = Path("/proc/self/statm")
SHORT, LONG = 500, 3000  # iterations
MEGABYTES = 5


def resident_megabytes() -> float:
    gc.collect()
    pages = int(STATM.read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.skipif(not STATM.exists(), reason="needs Linux")
def test_memory_does_not_grow(train_images: ImageSet, few: ImageSet) -> None:
    """Over epochs too: one has 50 iterations here."""
    config = DvergeConfig(
        members=2,
        epochs=1000,
        batch_size=16,
        training_images=800,
        distill_steps=1,
        learning_rate=1e-4,
    )
    steps = Training(config, train_images, few, torch.device("cpu")).run()
    for _ in itertools.islice(steps, SHORT):
        pass
    before = resident_megabytes()
    for _ in itertools.islice(steps, LONG - SHORT):
        pass
    grown = resident_megabytes() - before
    print(f"{grown:+.2f} MB after {LONG:,} iterations, of {before:.0f} MB after {SHORT}")
    assert grown < MEGABYTES, f"{grown:.2f} MB more after {LONG:,} iterations than after {SHORT}"
