"""The strong attack: about AutoAttack's verdict on these ensembles, in a fraction of its time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dverge.attacks import MIXTURE, Norm, StrongConfig, Victim
from dverge.attacks.strong import STEPS, TARGETS, strong_attempt, ways
from dverge.evaluation.measurements import AimedAttack, Batch
from dverge.models import Ensemble


@dataclass(frozen=True)
class StrongAttack(AimedAttack):
    """APGD on margins: towards whichever wrong class is ahead, then towards one after the other.

    The mixture is attacked through its mean probability, its mean logit and its scaled logits. Each
    attempt begins at a random point, and at the images that no attempt before it has fooled.

    Attributes:
        norm, eps: the budget.
        seed: of the random starts.
    """

    norm: Norm
    eps: float
    seed: int = 0
    stops_early = True

    @property
    def attack(self) -> str:  # type: ignore[override]
        return f"strong-{self.norm}"

    def parameters(self) -> dict[str, Any]:
        return {"eps": self.eps, "steps": STEPS, "targets": TARGETS, "seed": self.seed}

    def cost(self) -> float:
        return STEPS

    def attempts(self, victim: Victim | None) -> int:
        return len(ways(victim or MIXTURE))

    def batch_size(self, device: torch.device) -> int:
        return 128 if device.type == "cpu" else 4096

    def changed(self, ensemble: Ensemble, batch: Batch, victim: Victim, restart: int) -> Tensor:
        config = StrongConfig(self.norm, self.eps, self.seed)
        about = (batch.pixels, batch.labels, batch.numbers)
        return strong_attempt(ensemble, *about, config, victim, restart).images
