"""Accuracy by class and the confusion matrix, from the answers that a result keeps."""

from __future__ import annotations

import torch
from torch import Tensor

from dverge.data import CLASSES
from dverge.results import Result, wilson_interval


def confusion(result: Result, labels: Tensor) -> Tensor:
    """How often images of each class are taken for each, int64 10×10 [true class, answer].

    Args:
        result: one that keeps its answers: for an attack, on the first image that fooled the model.
        labels: N true classes, of the result's images.

    Raises:
        ValueError: the result keeps no answers, or of another number of images.
    """
    predicted, classes = result.predicted(), len(CLASSES)
    if len(predicted) != len(labels):
        raise ValueError(f"{len(predicted)} answers are kept of {len(labels)} images")
    return (classes * labels + predicted).bincount(minlength=classes**2).view(classes, classes)


def class_shares(counts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Each cell of a confusion matrix in per cent of its class, with the ends of its 95 % interval.

    All are float64 10×10; NaN where there is no image of the class.
    """
    totals = counts.sum(1).tolist()
    cells = [
        [(count / n, *wilson_interval(count, n)) if n else (torch.nan,) * 3 for count in row]
        for row, n in zip(counts.tolist(), totals, strict=True)
    ]
    share, low, high = 100 * torch.tensor(cells, dtype=torch.float64).permute(2, 0, 1)
    return share, low, high
