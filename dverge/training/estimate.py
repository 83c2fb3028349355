"""How long a training will take here, from a few real batches."""

from __future__ import annotations

import dataclasses
import time

import torch

from dverge.data import ImageSet
from dverge.training.config import VanillaConfig, resolve_device
from dverge.training.vanilla import VanillaTraining

WARM_UP, MEASURED = 5, 20


def measure_batch_seconds(config: VanillaConfig, images: ImageSet) -> float:
    """Seconds one batch of all members takes on the config's device.

    Args:
        config: only members, batch size, augmentation and device matter.
        images: any images; they are repeated to fill the batches.
    """
    device = resolve_device(config.device)
    batches = WARM_UP + MEASURED
    needed = config.batch_size * batches
    repeated = images.subset(torch.arange(needed) % len(images))
    short = dataclasses.replace(
        config, training_images=min(needed, config.training_images), epochs=1000
    )
    steps = VanillaTraining(short, repeated, images.subset(slice(1)), device).run()
    for _ in range(WARM_UP):
        next(steps)
    _wait(device)
    began = time.perf_counter()
    for _ in range(MEASURED):
        next(steps)
    _wait(device)
    return (time.perf_counter() - began) / MEASURED


def total_batches(config: VanillaConfig) -> int:
    """Batches of the whole training."""
    return config.epochs * -(-config.training_images // config.batch_size)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
