"""The strong attack: about AutoAttack's verdict on these ensembles, in a fraction of its time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dverge.attacks import AttackConfig, Norm, Through, Victim, image_starts
from dverge.attacks.strong import margin_attack, members_attack
from dverge.evaluation.counting import MEAN_LOSS
from dverge.evaluation.measurements import AimedAttack, Batch
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
RANDOM_WAYS = (False, True)  # whether the members' margins are clipped


@dataclass(frozen=True)
class StrongAttack(AimedAttack):
    """APGD on margins: towards whichever wrong class is ahead, then towards one after the other.

    The mixture is attacked through its tempered and its mean probability. At last, unless it is
    cumulative, all members are attacked at once, for a member drawn at random. Each attempt begins
    at a random point, and at the images that no attempt before it has fooled.

    Attributes:
        norm, eps: the budget.
        seed: of the random starts.
        cumulative: see Measurement.
    """

    norm: Norm
    eps: float
    seed: int = 0
    cumulative: bool = False
    stops_early = True

    @property
    def attack(self) -> str:  # type: ignore[override]
        return f"strong-{self.norm}"

    def parameters(self) -> dict[str, Any]:
        shown = {"eps": self.eps, "steps": STEPS, "targets": TARGETS, "seed": self.seed}
        return shown | ({"cumulative": True} if self.cumulative else {})

    def cost(self) -> float:
        return STEPS

    def victims(self, members: int) -> Sequence[Victim]:
        at_random = [] if self.cumulative else [MEAN_LOSS]  # no share is kept to go on from
        return [*super().victims(members), *at_random]

    def attempts(self, victim: Victim | None) -> int:
        return len(RANDOM_WAYS if victim == MEAN_LOSS else _ways(victim))

    def batch_size(self, device: torch.device) -> int:
        return 128 if device.type == "cpu" else 4096

    def changed(self, ensemble: Ensemble, batch: Batch, victim: Victim, attempt: int) -> Tensor:
        at_random = victim == MEAN_LOSS
        through, rank, steps = MEMBER_WAYS[0] if at_random else _ways(victim)[attempt]
        config = AttackConfig(self.norm, self.eps, 0.0, steps, random_start=True, seed=self.seed)
        start = image_starts(batch.pixels, batch.numbers, config, attempt)
        if at_random:
            clipped = RANDOM_WAYS[attempt]
            return members_attack(ensemble, batch.pixels, batch.labels, config, clipped, start)
        aimed_at = Victim(victim.member, through)
        return margin_attack(ensemble, batch.pixels, batch.labels, config, aimed_at, rank, start)


def _ways(victim: Victim | None) -> tuple[Way, ...]:
    return MIXTURE_WAYS if victim is None or victim.member is None else MEMBER_WAYS
