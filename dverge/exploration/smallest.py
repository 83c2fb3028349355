"""The smallest budget at which an attack on a model fools it, found by bisection.

An attack that fails proves nothing, and success need not grow with eps, so what is found is an
upper bound of the distance to the nearest adversarial image.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dverge.attacks import MIXTURE, AttackConfig, Norm, Victim, attack
from dverge.attacks.gradient import victim_logits
from dverge.errors import require
from dverge.exploration.examine import aim_of
from dverge.models import Ensemble

LARGEST = {Norm.LINF: 0.5, Norm.L2: 8.0}  # where the search gives up
HALVINGS = 7


@dataclass(frozen=True)
class SmallestEps:
    """The smallest budget found for one model, attacked itself.

    Attributes:
        model: "member-1" … or "mixture".
        eps: the smallest tried at which the attack worked; 0 if the model was wrong before it,
            None if it withstood all that were tried.
        tried: the largest budget below it at which the attack failed.
        image: 1×3×32×32 in [0, 1], the adversarial image at eps; the clean one without.
    """

    model: str
    eps: float | None
    tried: float
    image: Tensor


def smallest_eps(
    ensemble: Ensemble,
    image: Tensor,
    label: int,
    config: AttackConfig,
    target: int | None = None,
) -> list[SmallestEps]:
    """The smallest eps for each member and last the mixture, each attacked for itself.

    The budget is doubled from config.eps until the attack works, then the gap to the largest that
    failed is halved seven times. The step size grows and shrinks with eps.

    Args:
        ensemble: the members; left as they are.
        image: 1×3×32×32 in [0, 1].
        label: true class, 0–9.
        config: the attack; its eps is where the search begins, above 0.
        target: class to reach; needed if config.targeted, and only then.

    Raises:
        ConfigError: eps is 0, a class does not exist, or target does not go with the config.
    """
    require(config.eps > 0, "eps", config.eps, "above 0 to search from")
    aim = image.new_tensor([aim_of(label, config, target)]).long()
    victims = [*map(Victim, range(len(ensemble))), MIXTURE]
    return [_smallest(ensemble, image, label, aim, config, victim) for victim in victims]


def _smallest(
    ensemble: Ensemble, image: Tensor, label: int, aim: Tensor, config: AttackConfig, victim: Victim
) -> SmallestEps:
    with torch.no_grad():
        says = int(victim_logits(ensemble, image, victim).argmax())
    if says != label:
        return SmallestEps(str(victim), 0.0, 0.0, image)
    low, high, found = 0.0, min(config.eps, LARGEST[config.norm]), None
    while found is None:
        found = _attempt(ensemble, image, aim, config, victim, high)
        if found is None:
            low = high
            if high >= LARGEST[config.norm]:
                return SmallestEps(str(victim), None, low, image)
            high = min(2 * high, LARGEST[config.norm])
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        closer = _attempt(ensemble, image, aim, config, victim, middle)
        low, high, found = (middle, high, found) if closer is None else (low, middle, closer)
    return SmallestEps(str(victim), high, low, found)


def _attempt(
    ensemble: Ensemble, image: Tensor, aim: Tensor, config: AttackConfig, victim: Victim, eps: float
) -> Tensor | None:
    """The adversarial image at a budget, or None if the attack fails there."""
    step_size = config.step_size * eps / config.eps
    result = attack(ensemble, image, aim, replace(config, eps=eps, step_size=step_size), victim)
    return result.images if bool(result.success) else None
