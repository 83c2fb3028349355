"""A training small enough for a test, made of the bundled sample."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from dverge.data import ImageSet, Split, load
from dverge.training import VanillaConfig, VanillaTraining

TINY: dict[str, Any] = {
    "members": 2,
    "epochs": 3,
    "batch_size": 64,
    "learning_rate": 0.02,
    "training_images": 300,  # 5 batches, the last one not full
    "seed": 7,
}

MakeTraining = Callable[..., VanillaTraining]


@pytest.fixture(scope="session")
def train_images() -> ImageSet:
    return load(Split.SAMPLE).subset(slice(0, 600))


@pytest.fixture(scope="session")
def held_out() -> ImageSet:
    return load(Split.SAMPLE).subset(slice(800, 1000))


@pytest.fixture
def tiny() -> Callable[..., VanillaConfig]:
    """Makes the small config, with some fields changed."""
    return lambda **fields: VanillaConfig(**{**TINY, **fields})


@pytest.fixture
def training(train_images: ImageSet, held_out: ImageSet) -> MakeTraining:
    """Makes a small training on the CPU, with some fields of its config changed."""

    def make(**fields: Any) -> VanillaTraining:
        config = VanillaConfig(**{**TINY, **fields})
        return VanillaTraining(config, train_images, held_out, torch.device("cpu"))

    return make
