"""How long a training will take on this machine, from a few real batches."""

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

WARM_UP_BATCHES, MEASURED_BATCHES = 5, 20
MAX_SECONDS = 2.0  # after this long, neither warm-up nor measurement begins another batch


def measure_batch_seconds(config: TrainingConfig, images: ImageSet) -> float:
    """Measure the seconds that a batch of all members takes on the config's device.

    Where the layer is drawn, the batches measured draw it too: layers differ in cost.

    Args:
        config: its start, number of epochs and seed do not matter.
        images: any images; they are repeated to fill the batches.

    Raises:
        ConfigError: the device is not on this machine.
    """
    device = resolve_device(config.device)
    batches = WARM_UP_BATCHES + MEASURED_BATCHES
    count = min(config.batch_size * batches, config.training_images)
    repeated = images.subset(torch.arange(count) % len(images))
    # At the smallest learning rate nothing diverges while it is measured.
    changes: dict[str, Any] = {"training_images": count, "epochs": 1000, "learning_rate": 1e-8}
    if isinstance(config, DvergeConfig) and config.layer is LayerChoice.EPOCH:
        changes["layer"] = LayerChoice.BATCH
    short = dataclasses.replace(config, **changes)
    steps = Training(short, repeated, images.subset(slice(1)), device).run()
    _mean_seconds(steps, WARM_UP_BATCHES, device)
    return _mean_seconds(steps, MEASURED_BATCHES, device)


def total_batches(config: TrainingConfig) -> int:
    """Number of batches of the whole training."""
    return config.epochs * -(-config.training_images // config.batch_size)


def _mean_seconds(steps: Iterator[object], batches: int, device: torch.device) -> float:
    """Mean seconds of the next batches: at least one, at most so many."""
    start, done = time.perf_counter(), 0
    for _ in itertools.islice(steps, batches):
        done += 1
        if time.perf_counter() - start > MAX_SECONDS:
            break
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return (time.perf_counter() - start) / done
