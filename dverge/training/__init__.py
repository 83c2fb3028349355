"""Training: its settings, and a generator of metrics that can be stopped and resumed."""

from dverge.training.config import (
    CONFIGS,
    TRAINING_IMAGES,
    AdversarialConfig,
    AdvtConfig,
    Attacked,
    Diversity,
    DvergeAdvtConfig,
    DvergeConfig,
    LayerChoice,
    Method,
    Schedule,
    StartedConfig,
    TrainingConfig,
    VanillaConfig,
    config_from,
)
from dverge.training.estimate import measure_batch_seconds, total_batches
from dverge.training.presets import PRESETS
from dverge.training.start import load_start, with_fixed_start
from dverge.training.trainer import EpochMetrics, StepMetrics, Training

__all__ = [
    "CONFIGS",
    "PRESETS",
    "TRAINING_IMAGES",
    "AdversarialConfig",
    "AdvtConfig",
    "Attacked",
    "Diversity",
    "DvergeAdvtConfig",
    "DvergeConfig",
    "EpochMetrics",
    "LayerChoice",
    "Method",
    "Schedule",
    "StartedConfig",
    "StepMetrics",
    "Training",
    "TrainingConfig",
    "VanillaConfig",
    "config_from",
    "load_start",
    "measure_batch_seconds",
    "total_batches",
    "with_fixed_start",
]
