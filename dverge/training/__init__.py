"""Training: settings, and generators of metrics that whoever runs them may stop and resume."""

from dverge.training.bench import BenchRow, bench_vanilla
from dverge.training.config import (
    PRESETS,
    TRAINING_IMAGES,
    Schedule,
    VanillaConfig,
    describe_device,
    resolve_device,
)
from dverge.training.estimate import measure_batch_seconds, total_batches
from dverge.training.vanilla import EpochMetrics, StepMetrics, VanillaTraining

__all__ = [
    "PRESETS",
    "TRAINING_IMAGES",
    "BenchRow",
    "EpochMetrics",
    "Schedule",
    "StepMetrics",
    "VanillaConfig",
    "VanillaTraining",
    "bench_vanilla",
    "describe_device",
    "measure_batch_seconds",
    "resolve_device",
    "total_batches",
]
