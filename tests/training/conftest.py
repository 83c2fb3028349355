"""Small trainings on the bundled sample."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dverge.data import ImageSet, Split, load
from dverge.models import Ensemble
from dverge.training import Method, Training, TrainingConfig
from tests.training.small import Finish, Finished, MakeTraining, finish, small_config


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
    return shuffled.subset(slice(800, 860))


@pytest.fixture(scope="session")
def training(train_images: ImageSet, held_out: ImageSet) -> MakeTraining:
    """Makes a small training on the CPU, with some fields of its config changed."""

    def make(
        method: Method = Method.VANILLA, start: Ensemble | None = None, **fields: Any
    ) -> Training:
        config = small_config(method, **fields)
        return Training(config, train_images, held_out, torch.device("cpu"), start)

    return make


@pytest.fixture(scope="session")
def finished(training: MakeTraining) -> Finish:
    """Trains with these fields to the end, once a session."""
    known: dict[TrainingConfig, Finished] = {}

    def get(method: Method = Method.VANILLA, **fields: Any) -> Finished:
        config = small_config(method, **fields)
        if config not in known:
            known[config] = finish(training(method, **fields))
        return known[config]

    return get
