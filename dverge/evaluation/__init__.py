"""Measurement: accuracies with their intervals, and single images examined under attack."""

from dverge.evaluation.accuracy import Accuracy, clean_accuracy, predictions, wilson_interval
from dverge.evaluation.examine import (
    Examination,
    Verdict,
    examine,
    judge,
    model_names,
    summarise,
)

__all__ = [
    "Accuracy",
    "Examination",
    "Verdict",
    "clean_accuracy",
    "examine",
    "judge",
    "model_names",
    "predictions",
    "summarise",
    "wilson_interval",
]
