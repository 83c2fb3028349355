"""Training: settings, and generators of metrics that whoever runs them may stop and resume."""

from dverge.training.bench import BenchRow, bench
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
    "BenchRow",
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
    "bench",
    "config_from",
    "load_start",
    "measure_batch_seconds",
    "total_batches",
    "with_fixed_start",
]
