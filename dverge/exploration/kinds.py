"""The attacks on one image: what they are called, and their settings in a line."""

from __future__ import annotations

import enum

from dverge.attacks import MIXTURE, AnyConfig, Norm, StrongConfig, Victim, fgsm, pgd
from dverge.data import CLASSES
from dverge.evaluation import naming


class Kind(enum.StrEnum):
    """The attacks by the names that they have in results."""

    FGSM = "fgsm"
    PGD_LINF = "pgd-linf"
    PGD_L2 = "pgd-l2"
    STRONG_LINF = "strong-linf"
    STRONG_L2 = "strong-l2"

    @property
    def norm(self) -> Norm:
        return Norm.L2 if self.endswith(Norm.L2) else Norm.LINF

    @property
    def is_strong(self) -> bool:
        return self.startswith("strong")


def kind_of(config: AnyConfig) -> Kind:
    """The attack that a config is a setting of."""
    if isinstance(config, StrongConfig):
        return Kind(f"strong-{config.norm}")
    if config.norm is Norm.LINF and config == fgsm(config.eps, targeted=config.targeted):
        return Kind.FGSM
    return Kind(f"pgd-{config.norm}")


def victim_title(victim: Victim) -> str:
    """A victim as on screen, such as "submodel 2"; the mixture as deployed is "mixture"."""
    return "mixture" if victim == MIXTURE else naming.victim_title(str(victim))


def eps_title(eps: float, norm: Norm) -> str:
    """A budget as on screen; of L-inf in both units, such as "8/255 = 0.0314"."""
    return f"{round(255 * eps, 2):g}/255 = {eps:.4f}" if norm is Norm.LINF else f"{eps:.2f}"


def describe(
    config: AnyConfig, victim: Victim | None = None, target: int | None = None, eps: bool = True
) -> str:
    """An attack in a line, such as "PGD L∞, eps 8/255 = 0.0314, 10 steps, victim mixture".

    Restarts, step size and seed are named where they are not the usual ones.

    Args:
        config: its settings.
        victim: left out if None.
        target: the class that a targeted attack aims at.
        eps: False leaves the budget out.
    """
    kind = kind_of(config)
    parts = ["FGSM L∞" if kind is Kind.FGSM else naming.ATTACK_TITLES[kind]]
    if eps:
        parts.append(f"eps {eps_title(config.eps, config.norm)}")
    if not isinstance(config, StrongConfig) and kind is not Kind.FGSM:
        parts.append(f"{config.steps} step{'s' if config.steps > 1 else ''}")
        if config.step_size != pgd(config.norm, config.eps, steps=config.steps).step_size:
            parts.append(f"step size {config.step_size:.4g}")
        if config.restarts > 1:
            parts.append(f"{config.restarts} restarts")
    if config.seed:
        parts.append(f"seed {config.seed}")
    if victim is not None:
        parts.append(f"victim {victim_title(victim)}")
    if target is not None:
        parts.append(f"target {CLASSES[target]}")
    return ", ".join(parts)
