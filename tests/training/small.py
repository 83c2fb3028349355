"""Settings of trainings small enough for a test."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from dverge.training import (
    CONFIGS,
    EpochMetrics,
    Method,
    StepMetrics,
    Training,
    TrainingConfig,
)

PER_EPOCH, ALL = 5, 15  # batches
TINY: dict[str, Any] = {
    "members": 2,
    "epochs": 3,
    "batch_size": 30,
    "learning_rate": 0.02,
    "training_images": 130,  # 5 batches, the last one not full
    "seed": 7,
}
DISTILL: dict[str, Any] = {"distill_steps": 2, "distill_eps": 0.02, "distill_step_size": 0.015}
ATTACK: dict[str, Any] = {"adv_steps": 2, "adv_eps": 0.015, "adv_step_size": 0.01}
OF_METHOD: dict[Method, dict[str, Any]] = {
    Method.VANILLA: {},
    Method.DVERGE: DISTILL,
    Method.DVERGE_ADVT: {**DISTILL, **ATTACK},
    Method.ADVT: ATTACK,
}

MakeTraining = Callable[..., Training]
Yielded = StepMetrics | EpochMetrics | None


def tiny_config(method: Method = Method.VANILLA, **fields: Any) -> TrainingConfig:
    """The small config of a method, with some fields changed."""
    return CONFIGS[method](**{**TINY, **OF_METHOD[method], **fields})


def epochs(training: Training) -> list[EpochMetrics]:
    """Train to the end; the epochs' figures."""
    return [metrics for metrics in training.run() if isinstance(metrics, EpochMetrics)]


def untimed(yielded: list[Yielded]) -> list[EpochMetrics]:
    """The epochs' figures, without those that depend on the clock."""
    found = [metrics for metrics in yielded if isinstance(metrics, EpochMetrics)]
    return [replace(metrics, seconds=0, images_per_second=0) for metrics in found]


def final_weights(training: Training) -> list[Tensor]:
    """A copy of the members' parameters as they are now."""
    return [parameter.clone() for parameter in training.ensemble().parameters()]


def assert_same(found: list[Tensor], due: list[Tensor]) -> None:
    assert all(torch.equal(a, b) for a, b in zip(found, due, strict=True))


def through_a_file(state: dict[str, Any]) -> dict[str, Any]:
    """The state as it comes back from a file that may hold no code."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    loaded = torch.load(file, map_location="cpu", weights_only=True)
    assert isinstance(loaded, dict)
    return loaded
