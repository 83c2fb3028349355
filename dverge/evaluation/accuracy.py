"""Accuracies and their confidence intervals."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dverge.data import ImageSet, Split
from dverge.models import Ensemble, mix

Z95 = 1.959963984540054  # two-sided 95 % point of the normal distribution
BATCH = 1000
MIXTURE_NAME = "mixture"
RANDOM_NAME = "random-member"


@dataclass(frozen=True)
class Accuracy:
    """One measured accuracy.

    Attributes:
        model: "member-1" …, "mixture", or "random-member": one drawn at random for each query.
        attack: "clean" for no attack.
        split: which images.
        n: how many.
        accuracy, ci_low, ci_high: per cent, with the Wilson 95 % interval.
        parameters: of the attack; "victim" says whose gradient it followed.
        seconds: that the attacks behind it took.
        warnings: what the attack had to say on its own reliability.
        held: for each image one bit, whether the model was right, packed and in base 64; empty
            where an image counts for a share.
    """

    model: str
    attack: str
    split: str
    n: int
    accuracy: float
    ci_low: float
    ci_high: float
    parameters: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    warnings: list[str] = field(default_factory=list)
    held: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values, without warnings and bits where there are none."""
        return {k: v for k, v in asdict(self).items() if v or k not in ("warnings", "held")}

    @property
    def own(self) -> bool:
        """The attack was on the model itself, or on all there is of the mixture, or on none."""
        return self.parameters.get("victim", self.model) in (self.model, "worst")

    def right(self) -> Tensor:
        """For each image whether the model was right, bool N; empty where that was not kept."""
        if not self.held:
            return torch.zeros(0, dtype=torch.bool)
        packed = np.frombuffer(base64.b64decode(self.held), np.uint8)
        return torch.from_numpy(np.unpackbits(packed, count=self.n).astype(bool))


def wilson_interval(correct: float, n: int) -> tuple[float, float]:
    """Wilson 95 % score interval of correct out of n (Wilson 1927), as shares in [0, 1].

    Where images count for shares between 0 and 1 it is wider than it need be, never too narrow.
    """
    if n == 0:
        return 0.0, 1.0
    share, z2 = correct / n, Z95**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def accuracy_of(
    right: Tensor, model: str, attack: str, split: Split, share: float | None = None, **more: Any
) -> Accuracy:
    """The accuracy of N images, each right (bool) or right with a probability (float).

    Args:
        right: N.
        model, attack, split: see Accuracy.
        share: the accuracy in [0, 1] where it is not the mean of `right`.
        more: further fields of Accuracy.
    """
    n = len(right)
    count = right.double().sum().item() if share is None else share * n
    low, high = wilson_interval(count, n)
    bits = np.packbits(right.cpu().numpy()).tobytes() if right.dtype is torch.bool else b""
    held = base64.b64encode(bits).decode()
    accuracy = 100 * count / n
    return Accuracy(model, attack, split, n, accuracy, 100 * low, 100 * high, held=held, **more)


def headlines(rows: Iterable[Accuracy]) -> list[Accuracy]:
    """Each model's own figures, one for each attack and setting, in order.

    A member's is that of the attack on itself; the mixture's, and a random member's, the worst over
    all victims where there is one. What is left out are single attacks on the mixture.
    """
    found: dict[tuple[Any, ...], Accuracy] = {}
    for row in rows:
        setting = sorted((k, v) for k, v in row.parameters.items() if k != "victim")
        key = (row.model, row.attack, *setting)
        if row.parameters.get("victim") == "worst" or (key not in found and row.own):
            found[key] = row
    return list(found.values())


def models_of(members: int) -> list[str]:
    """What the models are called in rows: the members in order, and last the mixture."""
    return [f"member-{i}" for i in range(1, members + 1)] + [MIXTURE_NAME]


@torch.no_grad()
def predictions(ensemble: Ensemble, images: ImageSet) -> Tensor:
    """(M+1)×N predicted classes of the members and last the mixture, on the images' device."""
    starts = range(0, len(images), BATCH)
    return torch.cat([answers(ensemble, images.pixels(slice(i, i + BATCH))) for i in starts], 1)


@torch.no_grad()
def answers(ensemble: Ensemble, pixels: Tensor) -> Tensor:
    """(M+1)×N predicted classes for N×3×32×32 pixels, all at once."""
    members = ensemble.member_log_probs(pixels)
    return torch.cat([members, mix(members).unsqueeze(0)]).argmax(2)


def clean_accuracy(ensemble: Ensemble, images: ImageSet) -> list[Accuracy]:
    """Accuracy of each member and of the mixture on unattacked images."""
    right = predictions(ensemble, images) == images.labels
    names = models_of(len(ensemble))
    return [
        accuracy_of(row.double(), name, "clean", images.split)  # a card keeps no bits
        for name, row in zip(names, right, strict=True)
    ]
