"""The sanity panel: signs that an attack was too weak or that a model masks its gradient.

After Athalye et al. 2018 and Carlini et al. 2019: in a sound evaluation, robust accuracy falls to
zero at a large budget and never rises with budget or steps, the gradient beats noise and queries,
and nearly every image has a gradient.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from dverge.evaluation.naming import eps_title, model_title, victim_title
from dverge.evaluation.protocols import EPS, LADDER, STEPS
from dverge.results import MIXTURE_NAME, RANDOM_NAME, Result, headlines

SLACK = 1.0  # points by which two attacks may differ by chance
ONE_STEP_SLACK = 10.0  # points that one step may miss; many steps find most of them
NOISE_SHARE = 1 / 3  # noise of the attack's size may cost this share of what the attack costs


class Signal(enum.StrEnum):
    """The outcome of a check."""

    FINE = "fine"
    DOUBT = "look closer"
    UNKNOWN = "not checked"


@dataclass(frozen=True)
class Check:
    """One check of one checkpoint.

    Attributes:
        title: what should be true.
        signal: whether it is, for every model.
        reason: the figures behind the signal.
    """

    title: str
    signal: Signal
    reason: str


class _Accuracies:
    """Accuracies under the sanity protocol, per cent, by model, attack, eps and steps.

    Attributes:
        models: the members and the mixture.
        one_step: the mixture's accuracies under one step, by the victim that the step followed.
    """

    def __init__(self, results: Sequence[Result]) -> None:
        own = headlines(results)
        self._results = {
            (r.model, r.attack, r.parameters.get("eps"), r.parameters.get("steps")): r for r in own
        }
        self.one_step = {
            r.parameters["victim"]: r.accuracy
            for r in results
            if r.attack == "fgsm" and r.model == MIXTURE_NAME
        }
        self.models = list(dict.fromkeys(r.model for r in own if r.model != RANDOM_NAME))

    def get(
        self, model: str, attack: str, eps: float | None = None, steps: int | None = None
    ) -> float:
        """Raises KeyError where it was not measured."""
        return self._results[model, attack, eps, steps].accuracy

    def pgd(self, model: str, eps: float, steps: int) -> float:
        return self.get(model, "pgd-linf", eps, steps)


def sanity_checks(results: Sequence[Result]) -> list[Check]:
    """All checks of one checkpoint, from its results under the sanity protocol.

    A check is UNKNOWN where a result is missing.
    """
    figures = _Accuracies(results)
    checks = {
        "A large budget breaks everything": _large_budget,
        "More budget never helps the defence": _budget,
        "More steps never help the defence": _steps,
        "Ten steps are about enough": _ten_steps,
        "Random noise hurts far less": _noise,
        "There is a gradient to follow": _gradients,
        "Another road to the mixture finds no more": _other_gradients,
        "An attack without gradients finds no more": _square,
    }
    return [_checked(title, check, figures) for title, check in checks.items()]


def _checked(
    title: str, check: Callable[[_Accuracies, str], tuple[float, str]], figures: _Accuracies
) -> Check:
    """The check's outcome for the model that does worst: whose excess is the largest.

    Args:
        check: the excess over what is allowed, and the figures behind it, for a model.
    """
    try:
        outcomes = [(*check(figures, model), model) for model in figures.models]
    except KeyError:
        return Check(title, Signal.UNKNOWN, _how_to_check(title))
    if not outcomes:
        return Check(title, Signal.UNKNOWN, "Nothing has been measured yet.")
    excess, reason, model = max(outcomes, key=lambda outcome: outcome[0])
    signal = Signal.DOUBT if excess > 0 else Signal.FINE
    return Check(title, signal, f"{model_title(model).capitalize()}: {reason}")


def _how_to_check(title: str) -> str:
    if "without gradients" in title:
        return "It needs the optional package pyautoattack: pip install pyautoattack"
    return "Its figures have not been measured."


def _large_budget(figures: _Accuracies, model: str) -> tuple[float, str]:
    left = figures.pgd(model, LADDER[-1], 20)
    return left - SLACK, f"{left:.1f} % left at eps {LADDER[-1]:g}"


def _budget(figures: _Accuracies, model: str) -> tuple[float, str]:
    accuracies = [figures.get(model, "clean"), *(figures.pgd(model, eps, 20) for eps in LADDER)]
    budgets = ", ".join(["0", *(eps_title(eps) for eps in LADDER)])
    return _largest_rise(accuracies) - SLACK, f"{_listed(accuracies)} % at eps {budgets}"


def _steps(figures: _Accuracies, model: str) -> tuple[float, str]:
    accuracies = [figures.pgd(model, EPS, steps) for steps in STEPS]
    reason = f"{_listed(accuracies)} % after {_listed(STEPS, 0)} steps"
    return _largest_rise(accuracies) - SLACK, reason


def _ten_steps(figures: _Accuracies, model: str) -> tuple[float, str]:
    ten, fifty = figures.pgd(model, EPS, 10), figures.pgd(model, EPS, 50)
    return ten - fifty - SLACK, f"{ten:.1f} % after 10 steps, {fifty:.1f} % after 50"


def _noise(figures: _Accuracies, model: str) -> tuple[float, str]:
    clean, noise = figures.get(model, "clean"), figures.get(model, "noise", EPS)
    by_noise, by_attack = clean - noise, clean - figures.pgd(model, EPS, 50)
    reason = f"noise of 8/255 takes {by_noise:.1f} points, the attack {by_attack:.1f}"
    return by_noise - NOISE_SHARE * by_attack, reason


def _gradients(figures: _Accuracies, model: str) -> tuple[float, str]:
    share = figures.get(model, "zero-gradient")
    return share - SLACK, f"none at {share:.1f} % of the images"


def _other_gradients(figures: _Accuracies, model: str) -> tuple[float, str]:
    """Whether a step along the mixture's own gradient fools as many as along other gradients."""
    if model != MIXTURE_NAME:
        return -100.0, ""
    own = figures.one_step["mixture"]
    reason = (
        f"one step of 8/255 along its {victim_title('mixture')} leaves {own:.1f} %, along its "
        f"{victim_title('mixture-logit')} {figures.one_step['mixture-logit']:.1f} %"
    )
    return own - min(figures.one_step.values()) - ONE_STEP_SLACK, reason


def _square(figures: _Accuracies, model: str) -> tuple[float, str]:
    square, pgd = figures.get(model, "square", EPS), figures.pgd(model, EPS, 50)
    return pgd - square - SLACK, f"{square:.1f} % hold against Square, {pgd:.1f} % against PGD"


def _largest_rise(values: Sequence[float]) -> float:
    return max(after - before for before, after in pairwise(values))


def _listed(values: Sequence[float], digits: int = 1) -> str:
    return ", ".join(f"{value:.{digits}f}" for value in values)
