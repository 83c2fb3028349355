"""Presets of each method."""

from __future__ import annotations

from typing import Any

from dverge.data import Augmentation
from dverge.training.config import (
    AdvtConfig,
    Attacked,
    Diversity,
    DvergeAdvtConfig,
    DvergeConfig,
    Method,
    Schedule,
    TrainingConfig,
    VanillaConfig,
)

QUICK: dict[str, Any] = {"epochs": 5, "training_images": 10_000, "schedule": Schedule.COSINE}

PRESETS: dict[Method, dict[str, TrainingConfig]] = {
    Method.VANILLA: {
        "report": VanillaConfig(),
        "quick": VanillaConfig(**QUICK, learning_rate=3e-2),
    },
    Method.DVERGE: {
        "report": DvergeConfig(),
        "quick": DvergeConfig(**QUICK, learning_rate=1e-2),
        "eq4": DvergeConfig(clean_weight=1),
        "authors": DvergeConfig(distill_momentum=1),
        "eq3": DvergeConfig(diversity=Diversity.EQ3, clean_weight=1, cap=5),
    },
    Method.DVERGE_ADVT: {
        "report": DvergeAdvtConfig(),
        "quick": DvergeAdvtConfig(**QUICK, learning_rate=1e-2),
    },
    Method.ADVT: {
        "report": AdvtConfig(),
        "quick": AdvtConfig(**QUICK, learning_rate=1e-2),
        "mixture": AdvtConfig(attacked=Attacked.MIXTURE),
        "tuned": AdvtConfig(
            epochs=120,
            batch_size=64,
            learning_rate=3e-2,
            schedule=Schedule.COSINE,
            average_last=60,
            augmentation=Augmentation.CROP_FLIP,
            attacked=Attacked.MIXTURE,
            joint=True,
            clean_weight=1.2,
            adv_steps=4,
            adv_step_size=0.012,
        ),
    },
}
"""By method and name. "report" is the report's recipe, or the nearest one; "tuned" is the best
recipe found for the same network, and starts from DVERGE+AdvT."""
