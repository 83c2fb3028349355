"""Settings and helpers for trainings small enough for a test."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dverge.training import CONFIGS, EpochMetrics, Method, StepMetrics, Training, TrainingConfig
from dverge.training.engine import BatchInputs, Engine

Fields = dict[str, Any]

PER_EPOCH = 5  # batches
SMALL: Fields = {
    "members": 2,
    "epochs": 3,
    "batch_size": 30,
    "learning_rate": 0.02,
    "training_images": 130,  # 5 batches, the last one not full
    "seed": 7,
}
DISTILL: Fields = {"distill_steps": 2, "distill_eps": 0.02, "distill_step_size": 0.015}
ATTACK: Fields = {"adv_steps": 2, "adv_eps": 0.015, "adv_step_size": 0.01}
SMALL_OF_METHOD: dict[Method, Fields] = {
    Method.VANILLA: {},
    Method.DVERGE: DISTILL,
    Method.DVERGE_ADVT: {**DISTILL, **ATTACK},
    Method.ADVT: ATTACK,
}

DVERGE: Fields = {"method": Method.DVERGE}
BOTH: Fields = {"method": Method.DVERGE_ADVT}
ADVT: Fields = {"method": Method.ADVT}
MIXTURE: Fields = {**ADVT, "attacked": "mixture", "clean_weight": 0.4}
TOGETHER: Fields = {"augmentation": "crop-flip", "schedule": "cosine", "weight_decay": 1e-3}
VANILLA_RECIPES: dict[str, Fields] = {
    "vanilla": {},
    "no momentum": {"momentum": 0},
    "decay": {"weight_decay": 0.01},
    "cosine": {"schedule": "cosine"},
    "steps": {"schedule": "steps", "epochs": 4},
    "crop-flip": {"augmentation": "crop-flip"},
    "all of vanilla": {**TOGETHER, "members": 3, "momentum": 0.5, "batch_size": 17},
}
RECIPES: dict[str, tuple[Fields, dict[str, float]]] = {
    # Changed fields, and the weights of the loss's terms.
    **{name: (fields, {"clean": 1}) for name, fields in VANILLA_RECIPES.items()},
    "dverge": ({**DVERGE, "members": 3}, {"diversity": 1}),
    "layer a batch": ({**DVERGE, "layer": "batch"}, {"diversity": 1}),
    "momentum": ({**DVERGE, "distill_momentum": 1}, {"diversity": 1}),
    "random starts": ({**DVERGE, "distill_random_start": True}, {"diversity": 1}),
    "all of dverge": (
        {**DVERGE, **TOGETHER, "members": 3, "alpha": 0.6, "clean_weight": 0.7, "layer": "2"},
        {"diversity": 0.6, "clean": 0.7},
    ),
    "eq3": (
        {**DVERGE, "diversity": "eq3", "alpha": 0.5, "clean_weight": 1},
        {"diversity": -0.25, "clean": 1},
    ),
    "eq3, capped": (
        {**DVERGE, "diversity": "eq3", "members": 3, "cap": 2.31},
        {"diversity": -0.5},
    ),
    "dverge-advt": ({**BOTH, "members": 3}, {"diversity": 1, "adversarial": 1}),
    "dverge-advt and clean": (
        {**BOTH, "clean_weight": 0.4, "adv_weight": 0.8, "adv_random_start": False},
        {"diversity": 1, "clean": 0.4, "adversarial": 0.8},
    ),
    "advt": ({**ADVT, "members": 3}, {"adversarial": 1}),
    "advt and clean": (
        {**ADVT, "clean_weight": 0.4, "adv_random_start": False},
        {"adversarial": 1, "clean": 0.4},
    ),
    "advt on the mixture": (MIXTURE, {"adversarial": 1, "clean": 0.4}),
    "advt, joint": (
        {**MIXTURE, "members": 3, "joint": True},
        {"adversarial": 1, "clean": 0.4},
    ),
}

Yielded = StepMetrics | EpochMetrics | None


class Finished(NamedTuple):
    """A training that ran to its end, and what it yielded. Tests share it and do not change it."""

    training: Training
    yielded: list[Yielded]

    @property
    def weights(self) -> Tensor:
        return self.training.engine.weights

    @property
    def epochs(self) -> list[EpochMetrics]:
        return untimed(self.yielded)


MakeTraining = Callable[..., Training]
Finish = Callable[..., Finished]


def small_config(method: Method = Method.VANILLA, **fields: Any) -> TrainingConfig:
    """The small config of a method, with some fields changed."""
    return CONFIGS[method](**{**SMALL, **SMALL_OF_METHOD[method], **fields})


def finish(training: Training) -> Finished:
    return Finished(training, list(training.run()))


def untimed(yielded: list[Yielded]) -> list[EpochMetrics]:
    """The metrics of the epochs, without those that depend on the clock."""
    epochs = [metrics for metrics in yielded if isinstance(metrics, EpochMetrics)]
    return [replace(metrics, seconds=0, images_per_second=0) for metrics in epochs]


def plain_start(
    config: TrainingConfig, engine: Engine, inputs: BatchInputs
) -> Callable[[str, int, Tensor], Tensor]:
    """Where the plain loop's distillations and attacks start: with an engine's noise."""

    def start(attack: str, i: int, images: Tensor) -> Tensor:
        distills = attack == "distill"
        noise = inputs.distill_noise if distills else inputs.attack_noise
        if not len(noise):
            return images
        eps = getattr(config, "distill_eps" if distills else "adv_eps")
        return (images + eps * engine.decode(noise, len(images))[i]).clamp(0, 1)

    return start


def through_a_file(state: dict[str, Any]) -> dict[str, Any]:
    """The state as it comes back from a file that is loaded without running code."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, map_location="cpu", weights_only=True)
