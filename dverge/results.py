"""Measured results: accuracies with their confidence intervals, and all that they are of."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

Z95 = 1.959963984540054  # two-sided 95 % point of the normal distribution
MIXTURE_NAME = "mixture"
RANDOM_NAME = "random-member"


@dataclass(frozen=True)
class Result:
    """One measured accuracy, and all that it is of.

    Attributes:
        model: "member-1" …, "mixture", or "random-member": one drawn at random for each query.
        attack: "clean" for no attack.
        split: which images.
        n: how many.
        accuracy, ci_low, ci_high: per cent, with the Wilson 95 % interval.
        parameters: of the attack; "victim" says whose gradient it followed.
        seconds: that the attacks behind it took.
        warnings: what the attack reported on its own reliability.
        held: for each image one bit, whether the model was correct, packed and in base 64; empty
            where an image counts for a share.
        checkpoint: its name when the result was read.
        weights: the checkpoint's digest.
        protocol: under which it was measured.
        seed: of the attacks.
        data: the digest of the images' pixels and labels.
        device: what it was measured on.
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
    checkpoint: str = ""
    weights: str = ""
    protocol: str = ""
    seed: int = 0
    data: str = ""
    device: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values for other programs: with the speed, without the bits."""
        speed = round(self.n / self.seconds, 1) if self.seconds else None
        values = asdict(self) | {"split": str(self.split), "protocol": str(self.protocol)}
        return {k: v for k, v in values.items() if k != "held" and (v or k != "warnings")} | {
            "images_per_second": speed
        }

    def measured(self) -> dict[str, Any]:
        """What was measured, as plain JSON values, without what the file it is kept in states."""
        values = asdict(self)
        values = {name: values[name] for name in MEASURED}
        return {k: v for k, v in values.items() if v or k not in ("warnings", "held")}

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


MEASURED = [each.name for each in fields(Result)][
    : [*Result.__dataclass_fields__].index("held") + 1
]
"""The fields that a file of results keeps for each of them."""


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


def result_of(
    right: Tensor, model: str, attack: str, split: str, share: float | None = None, **more: Any
) -> Result:
    """The accuracy of N images, each right (bool) or right with a probability (float).

    Args:
        right: N.
        model, attack, split: see Result.
        share: the accuracy in [0, 1] where it is not the mean of `right`.
        more: further fields of Result.
    """
    n = len(right)
    count = right.double().sum().item() if share is None else share * n
    low, high = wilson_interval(count, n)
    bits = np.packbits(right.cpu().numpy()).tobytes() if right.dtype is torch.bool else b""
    held = base64.b64encode(bits).decode()
    accuracy = 100 * count / n
    return Result(model, attack, split, n, accuracy, 100 * low, 100 * high, held=held, **more)


def headlines(rows: Iterable[Result]) -> list[Result]:
    """Each model's own figures, one for each attack and setting, in order.

    A member's is that of the attack on itself; the mixture's, and a random member's, the worst over
    all victims where there is one. What is left out are single attacks on the mixture.
    """
    found: dict[tuple[Any, ...], Result] = {}
    for row in rows:
        setting = sorted((k, v) for k, v in row.parameters.items() if k != "victim")
        key = (row.model, row.attack, *setting)
        if row.parameters.get("victim") == "worst" or (key not in found and row.own):
            found[key] = row
    return list(found.values())


def models_of(members: int) -> list[str]:
    """What the models are called in rows: the members in order, and last the mixture."""
    return [f"member-{i}" for i in range(1, members + 1)] + [MIXTURE_NAME]
