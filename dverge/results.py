"""Measured accuracies with their confidence intervals, and everything that they depend on."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

import numpy as np
import torch
from msgspec import Meta
from numpy.typing import NDArray
from torch import Tensor

from dverge.errors import require
from dverge.stored import LIMIT, NonNegative, Percent, Scalar, Seed

Z95 = 1.959963984540054  # two-sided 95 % point of the normal distribution
MIXTURE_NAME = "mixture"
RANDOM_NAME = "random-member"
TEXT_PARAMETERS = {"victim", "version", "surrogates"}  # all others are numbers, true or false
STORED = ("model", "attack", "split", "n", "accuracy", "ci_low", "ci_high", "parameters", "seconds")


@dataclass(frozen=True)
class Result:
    """One measured accuracy.

    Attributes:
        model: "member-1" …, "mixture", or "random-member": one drawn at random for each query.
        attack: "clean" for no attack.
        split: which images.
        n: how many.
        accuracy, ci_low, ci_high: per cent, with the Wilson 95 % interval.
        parameters: of the attack; "victim" says whose gradient it followed.
        seconds: that the attack took.
        warnings: what the attack reported on its own reliability.
        held: for each image one bit, whether the model was correct, packed and in base 64; empty
            where an image counts for a share.
        answers: for each image the class that the model predicts on the first image found that
            fools it, or the true class if none was found: half a byte each, in base 64; empty
            where that is not kept.
        checkpoint: its name when the result was read.
        weights: the checkpoint's digest.
        protocol: under which it was measured.
        seed: of the attacks.
        data: the digest of the images' pixels and labels.
        device: what it was measured on.
    """

    model: Annotated[str, Meta(pattern="^(mixture|random-member|member-[0-9]+)$")]
    attack: str
    split: str
    n: Annotated[int, Meta(ge=1, le=LIMIT)]
    accuracy: Percent
    ci_low: Percent
    ci_high: Percent
    parameters: dict[str, Scalar] = field(default_factory=dict)
    seconds: NonNegative = 0.0
    warnings: list[str] = field(default_factory=list)
    held: str = ""
    answers: str = ""
    checkpoint: str = ""
    weights: str = ""
    protocol: str = ""
    seed: Seed = 0
    data: str = ""
    device: str = ""

    def __post_init__(self) -> None:
        for name, per_byte in (("held", 8), ("answers", 2)):
            if text := getattr(self, name):
                size, expected = len(base64.b64decode(text, validate=True)), -(-self.n // per_byte)
                wanted = f"{expected} bytes for {self.n} images"
                require(size == expected, f"size of {name}", size, wanted)
        for name, value in self.parameters.items():
            allowed = "a text" if name in TEXT_PARAMETERS else "a number, true or false"
            ok = isinstance(value, str) is (name in TEXT_PARAMETERS)
            require(ok, f"parameter {name}", value, allowed)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values for other programs: with the speed, without what is kept of each image."""
        speed = round(self.n / self.seconds, 1) if self.seconds else None
        left_out = {"held", "answers"} | (set() if self.warnings else {"warnings"})
        values = {name: value for name, value in asdict(self).items() if name not in left_out}
        return values | {"images_per_second": speed}

    def stored(self) -> dict[str, Any]:
        """As JSON values for a file that states everything from `checkpoint` on by itself."""
        values = {name: getattr(self, name) for name in STORED}
        filled = {name: getattr(self, name) for name in ("warnings", "held", "answers")}
        return values | {name: value for name, value in filled.items() if value}

    @property
    def own(self) -> bool:
        """Whether nothing was attacked but the model itself, or the mixture in every way."""
        return self.parameters.get("victim", self.model) in (self.model, "worst")

    def right(self) -> Tensor:
        """For each image whether the model was correct, bool N; empty where that was not kept."""
        if not self.held:
            return torch.zeros(0, dtype=torch.bool)
        packed = np.frombuffer(base64.b64decode(self.held), np.uint8)
        return torch.from_numpy(np.unpackbits(packed, count=self.n).astype(bool))

    def predicted(self) -> Tensor:
        """The classes in `answers`, int64 N; empty if they were not kept."""
        if not self.answers:
            return torch.zeros(0, dtype=torch.int64)
        packed = np.frombuffer(base64.b64decode(self.answers), np.uint8)
        halves = np.stack([packed >> 4, packed & 15], 1).reshape(-1)
        return torch.from_numpy(halves[: self.n].astype(np.int64))


def wilson_interval(correct: float, n: int) -> tuple[float, float]:
    """The 95 % score interval of correct out of n (Wilson 1927), as shares in [0, 1].

    Where images count for shares between 0 and 1 it is wider than necessary, never too narrow.
    """
    if n == 0:
        return 0.0, 1.0
    share, z2 = correct / n, Z95**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def result_of(
    right: Tensor, model: str, attack: str, split: str, predicted: Tensor | None = None, **more: Any
) -> Result:
    """The result of N images on which the model was correct (bool), or with a probability (float).

    Args:
        right: N.
        model, attack, split: see Result.
        predicted: N classes, see Result.answers; None to keep none.
        more: further fields of Result.
    """
    n, count = len(right), right.double().sum().item()
    low, high = wilson_interval(count, n)
    held = _base64(np.packbits(right.cpu().numpy())) if right.dtype is torch.bool else ""
    answers = "" if predicted is None else _base64(_halves(predicted.cpu().numpy()))
    figures = (100 * count / n, 100 * low, 100 * high)
    return Result(model, attack, split, n, *figures, held=held, answers=answers, **more)


def _base64(values: NDArray[np.uint8]) -> str:
    return base64.b64encode(values.tobytes()).decode()


def _halves(classes: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Two classes in each byte."""
    even = np.pad(classes, (0, len(classes) % 2)).astype(np.uint8)
    return (even[::2] << 4 | even[1::2]).astype(np.uint8)


def headlines(rows: Iterable[Result]) -> list[Result]:
    """The result that counts for each model, attack and setting, in order.

    For a member it is the attack on itself; for the mixture and a random member the worst over all
    victims, where there is one. Single attacks on the mixture are left out, but for FGSM through
    its mean probability: that alone is what the field calls FGSM of a mixture.
    """
    headline: dict[tuple[Any, ...], Result] = {}
    for row in rows:
        setting = sorted((k, v) for k, v in row.parameters.items() if k != "victim")
        worst = row.parameters.get("victim") == "worst"
        key = (row.model, row.attack, worst and row.attack == "fgsm", *setting)
        if worst or (key not in headline and row.own):
            headline[key] = row
    return list(headline.values())


def models_of(members: int) -> list[str]:
    """The names of an ensemble's models: the members in order, and last the mixture."""
    return [f"member-{i}" for i in range(1, members + 1)] + [MIXTURE_NAME]
