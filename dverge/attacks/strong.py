"""The strong attack: attempts of APGD on margins, one after the other until the victim is fooled.

Each goes towards another class and, for a mixture, through other scores (Croce & Hein 2020,
section 4); see margins.py for one attempt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from dverge.attacks.config import MIXTURE, AttackConfig, Norm, Through, Victim, largest_eps
from dverge.attacks.geometry import image_starts
from dverge.attacks.gradient import AttackResult
from dverge.attacks.margins import margin_attack
from dverge.errors import require, require_integer, require_number
from dverge.models import Ensemble

STEPS = 60  # of the first attempt, and at most
TARGETS = 6


class Way(NamedTuple):
    """How an attempt attacks: the mixture's scores, the target's rank, and the steps."""

    through: Through
    rank: int
    steps: int


MEMBER_WAYS = (
    Way(Through.PROBABILITY, 0, STEPS),
    *(Way(Through.PROBABILITY, rank, 50) for rank in (1, 2, 3)),
    *(Way(Through.PROBABILITY, rank, 25) for rank in (4, 5, 6)),
)
MIXTURE_WAYS = (
    *(Way(Through.TEMPERED, way.rank, way.steps) for way in MEMBER_WAYS),
    *(Way(Through.PROBABILITY, rank, 40) for rank in (0, 2, 3)),
)
"""Chosen on the shipped ensembles: a rare target falls in few steps, and rank 0 covers rank 1."""


def ways(victim: Victim) -> tuple[Way, ...]:
    """The attempts at a victim, in order.

    Raises:
        ConfigError: the victim is the mixture through one of its scores, which it takes in turn.
    """
    whole = victim.through is Through.PROBABILITY
    require(
        whole,
        "victim",
        str(victim),
        "the mixture or a member: the strong attack follows the tempered and the mean probability "
        "in turn",
    )
    return MIXTURE_WAYS if victim.member is None else MEMBER_WAYS


@dataclass(frozen=True)
class StrongConfig:
    """Settings of the strong attack, which is untargeted.

    Attributes:
        norm: distance that bounds the perturbation.
        eps: budget, 0 to 1 for L-inf, 0 to 55.4 for L2.
        seed: of the random starts.

    Raises:
        ConfigError: a value is outside its range.
    """

    norm: Norm
    eps: float
    seed: int = 0
    targeted: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require(isinstance(self.norm, Norm), "norm", self.norm, "one of linf, l2")
        require_number("eps", self.eps, 0, largest_eps(self.norm))
        require_integer("seed", self.seed, 0, 2**31 - 1)


AnyConfig = AttackConfig | StrongConfig


class StrongResult(NamedTuple):
    """The result of the strong attack on a batch.

    Attributes:
        images: N×3×32×32 in [0, 1], where the attempt that fooled the victim, or the last, ended.
        success: N booleans: the victim is fooled.
        attempt: int64, N, the number of that attempt, from 0.
    """

    images: Tensor
    success: Tensor
    attempt: Tensor


def strong_attack(
    ensemble: Ensemble,
    images: Tensor,
    labels: Tensor,
    numbers: Sequence[int],
    config: StrongConfig,
    victim: Victim = MIXTURE,
) -> StrongResult:
    """Attack each image in attempts, one after the other, until one fools the victim.

    An image's result does not depend on the other images.

    Args:
        ensemble: members on the same device as the images.
        images: N×3×32×32 in [0, 1].
        labels: N true classes.
        numbers: N, each image's position in the official file, which its random starts depend on.
        config: norm, eps and seed.
        victim: a member, or the mixture.

    Raises:
        ConfigError: wrong shapes, pixels or labels, or no such victim.
    """
    found, attempt = images.clone(), torch.zeros_like(labels)
    rows = torch.arange(len(images), device=images.device)
    for number in range(len(ways(victim))):
        left = [numbers[row] for row in rows.tolist()]
        result = strong_attempt(ensemble, images[rows], labels[rows], left, config, victim, number)
        found[rows], attempt[rows] = result.images, number
        rows = rows[~result.success]
        if not len(rows):
            break
    success = torch.ones_like(labels, dtype=torch.bool)
    success[rows] = False
    return StrongResult(found, success, attempt)


def strong_attempt(
    ensemble: Ensemble,
    images: Tensor,
    labels: Tensor,
    numbers: Sequence[int],
    config: StrongConfig,
    victim: Victim,
    attempt: int,
    record: bool = False,
) -> AttackResult:
    """One attempt alone, from a random point of each image's ball; see strong_attack.

    Args:
        ensemble, images, labels, numbers, config, victim: as for strong_attack.
        attempt: its number, from 0 to one less than the victim's ways.
        record: keep every iterate as a Trace.
    """
    through, rank, steps = ways(victim)[attempt]
    ball = AttackConfig(config.norm, config.eps, 0.0, steps, random_start=True, seed=config.seed)
    start = image_starts(images, numbers, ball, attempt)
    aimed_at = Victim(victim.member, through)
    return margin_attack(ensemble, images, labels, ball, aimed_at, rank, start, record)
