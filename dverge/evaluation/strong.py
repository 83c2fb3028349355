"""The strong attack: AutoAttack's verdict on these ensembles or a lower one, in far less time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dverge.attacks import MIXTURE, AttackConfig, Norm, StrongConfig, Victim, image_starts
from dverge.attacks.margins import members_attack
from dverge.attacks.strong import STEPS, TARGETS, strong_attempt, ways
from dverge.evaluation.counting import MEAN_LOSS
from dverge.evaluation.measurements import AimedAttack, Batch
from dverge.models import Ensemble

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
        return len(RANDOM_WAYS if victim == MEAN_LOSS else ways(victim or MIXTURE))

    def batch_size(self, device: torch.device) -> int:
        return 128 if device.type == "cpu" else 4096

    def changed(self, ensemble: Ensemble, batch: Batch, victim: Victim, attempt: int) -> Tensor:
        about = (ensemble, batch.pixels, batch.labels)
        if victim == MEAN_LOSS:
            ball = AttackConfig(self.norm, self.eps, 0.0, STEPS, random_start=True, seed=self.seed)
            start = image_starts(batch.pixels, batch.numbers, ball, attempt)
            return members_attack(*about, ball, RANDOM_WAYS[attempt], start).images
        config = StrongConfig(self.norm, self.eps, self.seed)
        return strong_attempt(*about, batch.numbers, config, victim, attempt).images
