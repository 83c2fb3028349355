"""How long a training will take here, from a few real batches."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Iterator
from typing import Any

import torch

from dverge.data import ImageSet
from dverge.devices import resolve_device
from dverge.training.config import DvergeConfig, LayerChoice, TrainingConfig
from dverge.training.trainer import Training

WARM_UP, MEASURED = 5, 20  # batches
ENOUGH = 2.0  # seconds after which no further batch is begun, of either


def measure_batch_seconds(config: TrainingConfig, images: ImageSet) -> float:
    """Seconds one batch of all members takes on the config's device, over all layers drawn.

    Args:
        config: what it starts from does not matter, nor do number of epochs and seed.
        images: any images; they are repeated to fill the batches.

    Raises:
        ConfigError: the device is not on this machine.
    """
    device = resolve_device(config.device)
    count = min(config.batch_size * (WARM_UP + MEASURED), config.training_images)
    repeated = images.subset(torch.arange(count) % len(images))
    # The smallest rate, so that nothing diverges while it is timed.
    changes: dict[str, Any] = {"training_images": count, "epochs": 1000, "learning_rate": 1e-8}
    if isinstance(config, DvergeConfig) and config.layer is LayerChoice.EPOCH:
        changes["layer"] = LayerChoice.BATCH
    short = dataclasses.replace(config, **changes)
    steps = Training(short, repeated, images.subset(slice(1)), device).run()
    _seconds_each(steps, WARM_UP, device)
    return _seconds_each(steps, MEASURED, device)


def total_batches(config: TrainingConfig) -> int:
    """Batches of the whole training."""
    return config.epochs * -(-config.training_images // config.batch_size)


def _seconds_each(steps: Iterator[object], batches: int, device: torch.device) -> float:
    """Mean seconds of the next batches: of at most so many, and at least one."""
    began, done = time.perf_counter(), 0
    for _ in itertools.islice(steps, batches):
        done += 1
        if time.perf_counter() - began > ENOUGH:
            break
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return (time.perf_counter() - began) / done
