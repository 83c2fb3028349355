"""The smallest budget at which an attack on a model fools it, by bisection.

A failed attack proves nothing, and success need not grow with eps. So the result is an upper bound
of the distance to the nearest adversarial image.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dverge.attacks import MIXTURE, AttackConfig, Norm, Victim, attack
from dverge.attacks.gradient import victim_logits
from dverge.data import to_8_bits
from dverge.errors import require
from dverge.exploration.examine import attack_label, victims_of
from dverge.models import Ensemble

LARGEST = {Norm.LINF: 0.5, Norm.L2: 8.0}  # where the search gives up
HALVINGS = 7


@dataclass(frozen=True)
class SmallestEps:
    """The smallest budget at which the attack on one model succeeded.

    Attributes:
        model: "member-1" … or "mixture".
        eps: the smallest budget at which the attack succeeded; 0 if the model was wrong before it,
            or said the target of a targeted one; None if every attack failed.
        tried: the largest budget below eps at which the attack failed.
        image: 1×3×32×32 in [0, 1], the adversarial image at eps; without one, the clean image.
        survives: whether the adversarial image still succeeds once its pixels are rounded to 8
            bits, as in a PNG file; None without one.
        target: the class that a targeted attack aims at, else None.
    """

    model: str
    eps: float | None
    tried: float
    image: Tensor
    survives: bool | None = None
    target: int | None = None


def smallest_eps(
    ensemble: Ensemble,
    image: Tensor,
    label: int,
    config: AttackConfig,
    target: int | None = None,
    mixture: Victim = MIXTURE,
) -> list[SmallestEps]:
    """The smallest eps for each member, then the mixture, each attacked itself.

    The budget is doubled from config.eps until the attack succeeds. Then the gap to the largest
    budget that failed is halved seven times. The step size is proportional to eps.

    Args:
        ensemble: the members; left as they are.
        image: 1×3×32×32 in [0, 1].
        label: true class, 0–9.
        config: the attack; its eps is where the search begins, above 0.
        target: class to reach; needed if config.targeted, and only then.
        mixture: the mixture as it is attacked, such as through its mean logit.

    Raises:
        ConfigError: eps is 0, a class does not exist, or a target class is missing or not allowed.
    """
    require(config.eps > 0, "eps", config.eps, "above 0 to search from")
    aim = attack_label(image, label, config, target)
    victims = victims_of(len(ensemble), mixture)
    return [_search(ensemble, image, aim, config, victim) for victim in victims]


def _search(
    ensemble: Ensemble, image: Tensor, aim: Tensor, config: AttackConfig, victim: Victim
) -> SmallestEps:
    target = int(aim) if config.targeted else None

    def succeeds(images: Tensor) -> bool:
        with torch.no_grad():
            is_aim = bool(victim_logits(ensemble, images, victim).argmax() == aim)
        return is_aim is config.targeted

    def adversarial_at(eps: float) -> Tensor | None:
        """The adversarial image at a budget; None if the attack fails."""
        scaled = replace(config, eps=eps, step_size=config.step_size * eps / config.eps)
        result = attack(ensemble, image, aim, scaled, victim)
        return result.images if result.success.item() else None

    model = str(Victim(victim.member))
    if succeeds(image):
        return SmallestEps(model, 0.0, 0.0, image, target=target)
    largest = LARGEST[config.norm]
    low, high = 0.0, min(config.eps, largest)
    while (adversarial := adversarial_at(high)) is None:
        if high >= largest:
            return SmallestEps(model, None, high, image, target=target)
        low, high = high, min(2 * high, largest)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        closer = adversarial_at(middle)
        if closer is None:
            low = middle
        else:
            high, adversarial = middle, closer
    survives = succeeds(to_8_bits(adversarial).to(adversarial) / 255)
    return SmallestEps(model, high, low, adversarial, survives, target)
