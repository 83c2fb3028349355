"""The estimate of a training's duration: cheap, and near what a training then takes."""

from __future__ import annotations

import itertools
import time
from typing import Any

import pytest
import torch

from dverge.data import ImageSet
from dverge.errors import ConfigError
from dverge.training import (
    PRESETS,
    Method,
    Training,
    VanillaConfig,
    measure_batch_seconds,
    total_batches,
)
from dverge.training.cpu_engine import CpuEngine
from tests.training.small import ADVT, BOTH, DVERGE, Fields, small_config


def test_it_is_near_the_truth(train_images: ImageSet, held_out: ImageSet) -> None:
    """Within a factor of twenty, on a machine that does other things too."""
    config = VanillaConfig(members=2, batch_size=32, training_images=600)
    steps = Training(config, train_images, held_out, torch.device("cpu")).run()
    list(itertools.islice(steps, 5))
    began = time.perf_counter()
    list(itertools.islice(steps, 20))
    truth = (time.perf_counter() - began) / 20
    assert truth / 20 < measure_batch_seconds(config, train_images) < truth * 20


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"batch_size": 1, "members": 1},
        {"augmentation": "crop-flip"},
        {"batch_size": 100, "training_images": 100, "epochs": 1},  # one batch in all
        # This one would diverge at once.
        {"learning_rate": 9, "weight_decay": 1, "batch_size": 16, "training_images": 16},
        {"training_images": 1, "batch_size": 1},
        {"batch_size": 5, "training_images": 7, "schedule": "steps"},
        {**DVERGE, "start": "nowhere"},  # the checkpoint to start from is not needed
        BOTH,
        ADVT,
    ],
)
def test_any_config_can_be_measured(fields: Fields, train_images: ImageSet) -> None:
    before = torch.get_rng_state()
    assert 1e-5 < measure_batch_seconds(small_config(**fields), train_images) < 5
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("layer", "count"), [("epoch", 5), ("batch", 5), ("2", 1)])
def test_layers_are_mixed_as_in_a_long_training(
    layer: str, count: int, train_images: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A training that draws a layer an epoch draws all of them in the end; they differ in cost."""
    layers: list[int] = []
    distill = CpuEngine.distill

    def watched(engine: CpuEngine, *arguments: Any) -> torch.Tensor:
        layers.append(arguments[3])
        return distill(engine, *arguments)

    monkeypatch.setattr(CpuEngine, "distill", watched)
    measure_batch_seconds(small_config(**DVERGE, layer=layer), train_images)
    assert len(set(layers)) == count


def test_large_batches_take_neither_long_nor_much_memory(
    train_images: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There are few batches once they have taken long enough, and no image too many is copied.

    Here a batch has more images than there are.
    """
    monkeypatch.setattr("dverge.training.estimate.MAX_SECONDS", 0.0)
    sizes: list[int] = []
    subset = ImageSet.subset

    def watched(images: ImageSet, selection: Any) -> ImageSet:
        chosen = subset(images, selection)
        sizes.append(len(chosen))
        return chosen

    monkeypatch.setattr(ImageSet, "subset", watched)
    config = VanillaConfig(batch_size=900, training_images=1000, members=1)
    assert 1e-4 < measure_batch_seconds(config, train_images) < 20
    assert max(sizes) == 1000


def test_a_device_that_is_not_here(train_images: ImageSet) -> None:
    with pytest.raises(ConfigError, match="cuda:9"):
        measure_batch_seconds(VanillaConfig(device="cuda:9"), train_images)


def test_total_batches() -> None:
    assert total_batches(small_config()) == 15
    assert total_batches(PRESETS[Method.VANILLA]["report"]) == 30 * 1531
    assert total_batches(PRESETS[Method.DVERGE]["report"]) == 200 * 1531
