"""The report's own attack variants, kept apart because they are not the standard ones.

Its "PGD L-inf" clips every step about the *current* iterate, so eps 0.03 never binds and five
steps of 0.007 reach 0.035; its "PGD L2" rescales each of five steps to length exactly 0.03, so
the total reaches 0.15. Both start at the image. FGSM is the standard one with eps 0.03. They
exist to compare with the report's tables; measure robustness with the projected attacks.
"""

from __future__ import annotations

from torch import Tensor

from dverge.attacks.config import MIXTURE, AttackConfig, Norm, Victim, fgsm
from dverge.attacks.geometry import ascent
from dverge.attacks.gradient import check_batch, value_and_gradient, victim_objective
from dverge.models import Ensemble

EPS = 0.03
STEP_SIZE = 0.007
STEPS = 5
REPORT_FGSM = fgsm(EPS)


def report_pgd(
    ensemble: Ensemble, images: Tensor, labels: Tensor, norm: Norm, victim: Victim = MIXTURE
) -> Tensor:
    """The report's "PGD" on a batch N×3×32×32 in [0, 1]; the adversarial images.

    Raises:
        ConfigError: wrong shapes or values, or no such member.
    """
    check_batch(images, labels)
    victim.check(ensemble)
    length = STEP_SIZE if norm is Norm.LINF else EPS
    config = AttackConfig(norm, EPS, length, STEPS)
    objective = victim_objective(ensemble, labels, config, victim)
    x = images.detach()
    for _ in range(STEPS):
        _, gradient = value_and_gradient(objective, x)
        x = (x + length * ascent(gradient, norm)).clamp(0, 1)
    return x
