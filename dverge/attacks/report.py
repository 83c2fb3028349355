"""The report's own attacks, kept apart because they are not the standard ones.

Its "PGD L-inf" clips every step about the *current* iterate, so eps 0.03 never binds and five
steps of 0.007 reach 0.035. Its "PGD L2" rescales each of five steps to length exactly 0.03, so
the total reaches 0.15. FGSM is one step of 0.03. All start at the image. Their loss of the
mixture is the plain logarithm of the mean probability in float32: where members are very
confident, part of its gradient is rounded away, and a few images end differently than under an
attack on the same loss computed stably. Use these attacks to compare with the report's tables;
measure robustness with the projected attacks.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dverge.attacks.config import MIXTURE, Attack, Norm, Victim
from dverge.attacks.geometry import ascent
from dverge.attacks.gradient import Objective, check_batch, value_and_gradient
from dverge.models import Ensemble

EPS = 0.03
STEP_SIZE = 0.007
STEPS = 5


def report_settings(attack: Attack) -> tuple[Norm, float, int]:
    """The norm, the step length and the number of steps of an attack."""
    if attack is Attack.FGSM:
        return Norm.LINF, EPS, 1
    return (Norm.LINF, STEP_SIZE, STEPS) if attack is Attack.PGD_LINF else (Norm.L2, EPS, STEPS)


def report_attack(
    ensemble: Ensemble, images: Tensor, labels: Tensor, attack: Attack, victim: Victim = MIXTURE
) -> Tensor:
    """The adversarial images of the report's attack on a batch N×3×32×32 in [0, 1].

    Raises:
        ConfigError: wrong shapes or values, or no such member.
    """
    check_batch(images, labels)
    victim.check(ensemble)
    norm, length, steps = report_settings(attack)
    objective = _objective(ensemble, labels, victim)
    x = images.detach()
    for _ in range(steps):
        _, gradient = value_and_gradient(objective, x)
        gradient = gradient.nan_to_num(
            nan=0.0
        )  # NaN comes from log 0; zero leaves the image as it is
        x = (x + length * ascent(gradient, norm)).clamp(0, 1)
    return x


def _objective(ensemble: Ensemble, labels: Tensor, victim: Victim) -> Objective:
    """The victim's cross-entropy; that of the mixture is the plain log of its probability."""

    def objective(images: Tensor) -> Tensor:
        if victim.member is not None:
            logits = ensemble.members[victim.member](images)
            return F.cross_entropy(logits, labels, reduction="none")
        mean = torch.stack([member(images).softmax(1) for member in ensemble.members]).mean(0)
        return F.nll_loss(mean.log(), labels, reduction="none")

    return objective
