"""A training small enough for a test, made of the bundled sample."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from dverge.data import ImageSet, Split, load
from dverge.training import VanillaConfig, VanillaTraining

TINY: dict[str, Any] = {
    "members": 2,
    "epochs": 3,
    "batch_size": 30,
    "learning_rate": 0.02,
    "training_images": 130,  # 5 batches, the last one not full
    "seed": 7,
}

MakeTraining = Callable[..., VanillaTraining]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Two threads on a machine that does other things too can be a hundred times slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def shuffled() -> ImageSet:
    """The sample; as bundled, some classes are rarer at its end."""
    order = torch.randperm(1000, generator=torch.Generator().manual_seed(0))
    return load(Split.SAMPLE).subset(order)


@pytest.fixture(scope="session")
def train_images(shuffled: ImageSet) -> ImageSet:
    return shuffled.subset(slice(0, 800))


@pytest.fixture(scope="session")
def held_out(shuffled: ImageSet) -> ImageSet:
    return shuffled.subset(slice(800, 1000))


@pytest.fixture(scope="session")
def few(held_out: ImageSet) -> ImageSet:
    return held_out.subset(slice(0, 60))


@pytest.fixture
def tiny() -> Callable[..., VanillaConfig]:
    """Makes the small config, with some fields changed."""
    return lambda **fields: VanillaConfig(**{**TINY, **fields})


@pytest.fixture
def training(train_images: ImageSet, few: ImageSet) -> MakeTraining:
    """Makes a small training on the CPU, with some fields of its config changed."""

    def make(**fields: Any) -> VanillaTraining:
        config = VanillaConfig(**{**TINY, **fields})
        return VanillaTraining(config, train_images, few, torch.device("cpu"))

    return make
