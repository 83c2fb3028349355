"""An ensemble with a batch of images: what most tests of attacks start from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dverge.attacks import MIXTURE, AttackConfig, AttackResult, Victim, attack
from dverge.models import Ensemble


@dataclass(frozen=True)
class Case:
    """Images N×3×32×32 in [0, 1] with the labels that the ensemble's mixture gives them."""

    ensemble: Ensemble
    images: Tensor
    labels: Tensor

    def double(self) -> Case:
        """The same in float64."""
        return Case(self.ensemble.double(), self.images.double(), self.labels)

    def aim(self, config: AttackConfig) -> Tensor:
        """The labels, or the next class of each as the target of a targeted attack."""
        return (self.labels + 1) % 10 if config.targeted else self.labels

    def attack(
        self, config: AttackConfig, victim: Victim = MIXTURE, record: bool = False
    ) -> AttackResult:
        return attack(self.ensemble, self.images, self.aim(config), config, victim, record)

    def model(self, victim: Victim) -> nn.Module:
        return self.ensemble if victim.member is None else self.ensemble.members[victim.member]


BAD_IMAGES = [
    (lambda x: x[0], r"images have shape \(3, 32, 32\); it must be N×3×32×32"),
    (lambda x: x[:, :1], r"images have shape \(8, 1, 32, 32\)"),
    (lambda x: x[..., :28], r"images have shape \(8, 3, 32, 28\)"),
    (lambda x: x.permute(0, 2, 3, 1), r"images have shape \(8, 32, 32, 3\)"),
    (lambda x: x * 255, r"outside \[0, 1\]; divide 0–255 pixels by 255"),
    (lambda x: (x * 255).byte(), r"outside \[0, 1\]"),
    (lambda x: x - 0.5, r"outside \[0, 1\]"),
    (lambda x: x.where(x != x.max(), torch.nan), r"outside \[0, 1\]"),
]
"""What can be wrong with a batch of images, and the message about it."""
