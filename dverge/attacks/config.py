"""The settings of an attack: its norm, budget, steps and victim."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

from dverge.errors import ConfigError, require, require_integer, require_number
from dverge.models import Ensemble


class Norm(enum.StrEnum):
    """The distance that eps bounds."""

    LINF = "linf"
    L2 = "l2"


class Attack(enum.StrEnum):
    """The attacks by name; each is a setting of the projected-gradient loop."""

    FGSM = "fgsm"
    PGD_LINF = "pgd-linf"
    PGD_L2 = "pgd-l2"


@dataclass(frozen=True)
class AttackConfig:
    """Settings of the projected-gradient loop.

    Attributes:
        norm: distance that bounds the perturbation.
        eps: budget, 0 to 1 for L-inf, 0 to 55.4 (the diagonal of the pixel box) for L2.
        step_size: length of a step in the same unit as eps.
        steps: number of steps, 1 to 1,000.
        random_start: start at a point drawn uniformly from the ball.
        restarts: number of restarts, 1 to 100; each image keeps its worst result. More than one
            needs a random start.
        targeted: lower the loss of a target class instead of raising that of the true class.
        best_iterate: return the iterate with the highest objective instead of the last one.
        seed: seed of the random start.
        momentum: 0 to 1, the decay of the velocity that the steps follow. Each step adds the
            gradient, at L1 length one, to it (Dong et al. 2018). With 0, steps follow the gradient.

    Raises:
        ConfigError: a value is outside its range.
    """

    norm: Norm
    eps: float
    step_size: float
    steps: int
    random_start: bool = False
    restarts: int = 1
    targeted: bool = False
    best_iterate: bool = False
    seed: int = 0
    momentum: float = 0.0

    def __post_init__(self) -> None:
        require(isinstance(self.norm, Norm), "norm", self.norm, "one of linf, l2")
        limit = largest_eps(self.norm)
        require_number("eps", self.eps, 0, limit)
        require_number("step_size", self.step_size, 0, limit)
        require_integer("steps", self.steps, 1, 1000)
        require_integer("restarts", self.restarts, 1, 100)
        require_integer("seed", self.seed, 0, 2**31 - 1)
        require_number("momentum", self.momentum, 0, 1)
        if self.restarts > 1 and not self.random_start:
            raise ConfigError(
                f"restarts is {self.restarts}, but without a random start every restart is the "
                "same; turn the random start on or set restarts to 1."
            )


def largest_eps(norm: Norm) -> float:
    """The largest distance between two images: 1 for L-inf, √3072 ≈ 55.4 for L2."""
    return 1.0 if norm is Norm.LINF else (3 * 32 * 32) ** 0.5


def fgsm(eps: float, *, targeted: bool = False) -> AttackConfig:
    """FGSM (Goodfellow et al. 2015): one L-inf step of length eps."""
    return AttackConfig(Norm.LINF, eps, step_size=eps, steps=1, targeted=targeted)


def pgd(
    norm: Norm,
    eps: float,
    *,
    steps: int = 10,
    step_size: float | None = None,
    random_start: bool = True,
    restarts: int = 1,
    targeted: bool = False,
    seed: int = 0,
) -> AttackConfig:
    """PGD (Madry et al. 2018); the default step size is 2.5 · eps / steps."""
    require_integer("steps", steps, 1, 1000)
    require_number("eps", eps, 0, largest_eps(norm))
    size = min(2.5 * eps / steps, largest_eps(norm)) if step_size is None else step_size
    return AttackConfig(norm, eps, size, steps, random_start, restarts, targeted, seed=seed)


class Through(enum.StrEnum):
    """What an attack on the mixture follows.

    PROBABILITY: the members' mean probability, the mixture as deployed. LOGIT: their mean logits.
    TEMPERED: their mean probability after each member's logits are brought to one spread, so that a
    member counts for more, the closer it is to another answer. LOSS: their mean cross-entropy, the
    expected loss of a mixture that draws a random member for each query (Athalye et al. 2018).
    """

    PROBABILITY = "probability"
    LOGIT = "logit"
    LOSS = "loss"
    TEMPERED = "tempered"


@dataclass(frozen=True)
class Victim:
    """The model that an attack takes the gradient of: one member, or the mixture.

    Attributes:
        member: index of the member from 0, or None for the mixture.
        through: what is followed of the mixture. Whether the attack succeeds is always decided by
            the mixture as deployed.
    """

    member: int | None = None
    through: Through = Through.PROBABILITY

    def __str__(self) -> str:
        if self.member is not None:
            return f"member-{self.member + 1}"
        return "mixture" if self.through is Through.PROBABILITY else f"mixture-{self.through}"

    def followed(self, members: int) -> range:
        """The members, of so many, whose gradients an attack on it computes."""
        return range(members) if self.member is None else range(self.member, self.member + 1)

    def check(self, ensemble: Ensemble) -> None:
        """Raise ConfigError if the victim is a member that the ensemble does not have."""
        if self.member is not None and not 0 <= self.member < len(ensemble):
            raise ConfigError(
                f"victim is member {self.member + 1}; this ensemble has members 1 to "
                f"{len(ensemble)}."
            )


MIXTURE = Victim()


def parse_victim(name: str) -> Victim:
    """The Victim of a name: mixture, mixture-logit, mixture-loss, member-1, member-2, …

    Raises:
        ConfigError: no victim has this name.
    """
    for through in Through:
        if name == str(Victim(through=through)):
            return Victim(through=through)
    if match := re.fullmatch(r"member-([1-9][0-9]{0,3})", name):
        return Victim(int(match[1]) - 1)
    raise ConfigError(f"victim is {name!r}; it must be mixture, member-1, member-2, …")
