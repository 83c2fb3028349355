"""Trainings small enough for a test, made of the bundled sample."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dverge.data import ImageSet, Split, load
from dverge.models import Ensemble
from dverge.training import Method, Training
from tests.training.small import MakeTraining, tiny_config


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


@pytest.fixture(scope="session")
def training(train_images: ImageSet, few: ImageSet) -> MakeTraining:
    """Makes a small training on the CPU, with some fields of its config changed."""

    def make(
        method: Method = Method.VANILLA, start: Ensemble | None = None, **fields: Any
    ) -> Training:
        config = tiny_config(method, **fields)
        return Training(config, train_images, few, torch.device("cpu"), start)

    return make
