"""Accuracies and their confidence intervals."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from dverge.data import ImageSet
from dverge.models import Ensemble, mix

Z95 = 1.959963984540054  # two-sided 95 % point of the normal distribution
BATCH = 1000


@dataclass(frozen=True)
class Accuracy:
    """One measured accuracy.

    Attributes:
        model: "member-1" … or "mixture".
        attack: "clean" for no attack.
        split: which images.
        n: how many.
        accuracy, ci_low, ci_high: per cent, with the Wilson 95 % interval.
    """

    model: str
    attack: str
    split: str
    n: int
    accuracy: float
    ci_low: float
    ci_high: float

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


def wilson_interval(correct: int, n: int) -> tuple[float, float]:
    """Wilson 95 % score interval of correct out of n (Wilson 1927), as shares in [0, 1]."""
    if n == 0:
        return 0.0, 1.0
    share, z2 = correct / n, Z95**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


@torch.no_grad()
def predictions(ensemble: Ensemble, images: ImageSet) -> Tensor:
    """(M+1)×N predicted classes of the members and last the mixture, on the images' device."""
    rows = []
    for start in range(0, len(images), BATCH):
        members = ensemble.member_log_probs(images.pixels(slice(start, start + BATCH)))
        rows.append(torch.cat([members, mix(members).unsqueeze(0)]).argmax(2))
    return torch.cat(rows, 1)


def clean_accuracy(ensemble: Ensemble, images: ImageSet) -> list[Accuracy]:
    """Accuracy of each member and of the mixture on unattacked images."""
    correct = (predictions(ensemble, images) == images.labels).sum(1).tolist()
    names = [f"member-{i}" for i in range(1, len(ensemble) + 1)] + ["mixture"]
    rows = []
    for name, count in zip(names, correct, strict=True):
        low, high = wilson_interval(count, len(images))
        share = count / len(images)
        rows.append(
            Accuracy(name, "clean", images.split, len(images), 100 * share, 100 * low, 100 * high)
        )
    return rows
