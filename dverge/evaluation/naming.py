"""What attacks and models are called on screen."""

from __future__ import annotations

from typing import Any

from dverge.attacks import AttackConfig, Norm

ATTACK_TITLES = {
    "clean": "no attack",
    "fgsm": "FGSM",
    "pgd-linf": "PGD L∞",
    "pgd-l2": "PGD L2",
    "strong-linf": "Strong L∞",
    "strong-l2": "Strong L2",
    "aa-linf": "AutoAttack L∞",
    "aa-l2": "AutoAttack L2",
    "noise": "random noise",
    "square": "Square",
    "black-box": "Black box L∞",
    "zero-gradient": "no gradient",
}
VICTIM_TITLES = {
    "worst": "worst of all",
    "mixture": "mean probability",
    "mixture-logit": "mean logit",
    "mixture-tempered": "tempered probability",
    "mixture-loss": "mean loss",
    "members": "each submodel",
}


def attack_title(attack: str, parameters: dict[str, Any]) -> str:
    """An attack with its setting, such as "PGD L∞ 8/255, 50 steps".

    An attack without a title here is shown by its name in the results.
    """
    title = ATTACK_TITLES.get(attack, attack)
    if "eps" in parameters:
        title += f" {eps_title(parameters['eps'], l2=attack.endswith('l2'))}"
    if parameters.get("steps", 1) > 1 and attack.startswith("pgd"):
        title += f", {parameters['steps']} steps"
    if attack == "fgsm" and parameters.get("victim") == "worst":
        title += ", worst victim"
    return title


def distillation_title(config: AttackConfig, step: int | None = None) -> str:
    """The settings of distilled features, such as "L∞ eps 0.07, 10 steps of 0.007".

    Args:
        config: budget and steps about the source.
        step: shown in place of the last, 0 to the number of steps.
    """
    norm = "L∞" if config.norm is Norm.LINF else "L2"
    steps = f"{config.steps} step{'s' if config.steps > 1 else ''}"
    if step not in (None, config.steps):
        steps = f"{step} of {steps}"
    return f"{norm} eps {config.eps:g}, {steps} of {config.step_size:g}"


def eps_title(eps: float, l2: bool = False) -> str:
    """A budget, as n/255 where n is a whole number and the norm is L-inf."""
    whole = round(255 * eps)
    return f"{whole}/255" if not l2 and abs(255 * eps - whole) < 1e-6 else f"{eps:g}"


def model_title(model: str) -> str:
    """A model, such as "submodel 1"."""
    return model.replace("random-member", "random submodel").replace("member-", "submodel ")


def victim_title(victim: str, attack: str = "") -> str:
    """What an attack on the mixture followed, or the name of an attacked submodel."""
    if victim == "mixture" and attack.startswith("strong"):  # it follows several scores
        return victim
    return VICTIM_TITLES.get(victim, model_title(victim))
