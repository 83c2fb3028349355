"""The sanity panel: signs that an attack was too weak or that a model masks its gradient.

After Athalye et al. 2018 and Carlini et al. 2019: in a sound evaluation, robust accuracy falls to
zero at a large budget and never rises with budget or steps, the gradient beats noise and queries,
and nearly every image has a gradient. Two accuracies on the same images differ where the paired
95 % interval of their difference excludes zero.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from dverge.evaluation.comparison import difference
from dverge.evaluation.naming import eps_title, model_title, victim_title
from dverge.evaluation.protocols import EPS, LADDER, STEPS
from dverge.results import MIXTURE_NAME, RANDOM_NAME, Result, headlines

LEFT = 1.0  # per cent of the images
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
        title: what was seen; of a check that was not made, what should be true.
        signal: whether it is true for every model.
        reason: the figures behind the signal.
        threshold: from when on the signal is DOUBT, and why.
    """

    title: str
    signal: Signal
    reason: str
    threshold: str


class _Figures:
    """Results under the sanity protocol by model, attack and eps.

    Attributes:
        models: the members and the mixture.
        one_step: the mixture's results under one step, by the victim that the step followed.
    """

    def __init__(self, results: Sequence[Result]) -> None:
        own = headlines(results)
        self._results = {(r.model, r.attack, r.parameters.get("eps")): r for r in own}
        self._pgd = {(r.model, r.parameters["steps"]): r for r in own if r.attack == "pgd-linf"}
        self.one_step = {
            r.parameters["victim"]: r
            for r in results
            if r.attack == "fgsm" and r.model == MIXTURE_NAME and r.parameters["victim"] != "worst"
        }
        self.models = list(dict.fromkeys(r.model for r in own if r.model != RANDOM_NAME))

    def get(self, model: str, attack: str, eps: float | None = None) -> Result:
        """Raises KeyError where it was not measured."""
        return self._results[model, attack, eps]

    def pgd(self, model: str, steps: int) -> Result:
        """PGD at 8/255. Raises KeyError where it was not measured."""
        return self._pgd[model, steps]

    def strong(self, model: str, eps: float) -> Result:
        """Raises KeyError where it was not measured."""
        return self.get(model, "strong-linf", eps)


class _Plan(NamedTuple):
    """A check: what should be true, what is said instead, from when on, and how it is computed.

    `excess` gives a number above 0 where a model is in doubt, and the figures behind it.
    """

    expected: str
    otherwise: str
    threshold: str
    excess: Callable[[_Figures, str], tuple[float, str]]


def sanity_checks(results: Sequence[Result]) -> list[Check]:
    """All checks of one checkpoint, from its results under the sanity protocol.

    A check is UNKNOWN where a result is missing.
    """
    figures = _Figures(results)
    return [_checked(plan, figures) for plan in PLANS]


def _checked(plan: _Plan, figures: _Figures) -> Check:
    """The check's outcome for the model that does worst: whose excess is the largest."""
    try:
        outcomes = [(*plan.excess(figures, model), model) for model in figures.models]
    except KeyError:
        return Check(plan.expected, Signal.UNKNOWN, _how_to_check(plan), plan.threshold)
    if not outcomes:
        return Check(plan.expected, Signal.UNKNOWN, "Nothing is measured yet.", plan.threshold)
    excess, reason, model = max(outcomes, key=lambda outcome: outcome[0])
    fine = excess <= 0
    title, signal = (plan.expected, Signal.FINE) if fine else (plan.otherwise, Signal.DOUBT)
    return Check(title, signal, f"{model_title(model).capitalize()}: {reason}", plan.threshold)


def _how_to_check(plan: _Plan) -> str:
    if plan.excess is _square:
        return "It needs the optional package pyautoattack: pip install pyautoattack"
    return "Its figures have not been measured."


def _large_budget(figures: _Figures, model: str) -> tuple[float, str]:
    left = figures.strong(model, LADDER[-1]).accuracy
    return left - LEFT, f"{left:.1f} % left by the strong attack at eps {LADDER[-1]:g}"


def _budget(figures: _Figures, model: str) -> tuple[float, str]:
    ladder = [figures.get(model, "clean"), *(figures.strong(model, eps) for eps in LADDER)]
    budgets = ", ".join(["0", *(eps_title(eps) for eps in LADDER)])
    return _clear_rise(ladder), f"{_listed(ladder)} % hold at eps {budgets}"


def _steps(figures: _Figures, model: str) -> tuple[float, str]:
    by_steps = [figures.pgd(model, steps) for steps in STEPS]
    steps = ", ".join(map(str, STEPS))
    return _clear_rise(by_steps), f"{_listed(by_steps)} % hold after {steps} steps of PGD"


def _ten_steps(figures: _Figures, model: str) -> tuple[float, str]:
    ten, fifty = figures.pgd(model, 10), figures.pgd(model, 50)
    reason = f"{ten.accuracy:.1f} % hold after 10 steps of PGD, {fifty.accuracy:.1f} % after 50"
    return difference(ten, fifty).low, reason


def _noise(figures: _Figures, model: str) -> tuple[float, str]:
    clean, noise = figures.get(model, "clean"), figures.get(model, "noise", EPS)
    by_noise = clean.accuracy - noise.accuracy
    by_attack = clean.accuracy - figures.strong(model, EPS).accuracy
    reason = f"noise of 8/255 takes {by_noise:.1f} points, the strong attack {by_attack:.1f}"
    return by_noise - NOISE_SHARE * by_attack, reason


def _gradients(figures: _Figures, model: str) -> tuple[float, str]:
    share = figures.get(model, "zero-gradient").accuracy
    return share - LEFT, f"the cross-entropy has none at {share:.1f} % of the images"


def _other_gradients(figures: _Figures, model: str) -> tuple[float, str]:
    """Whether a step along the mixture's own gradient fools as many as along other gradients."""
    if model != MIXTURE_NAME:
        return -100.0, ""
    left = {victim: result.accuracy for victim, result in figures.one_step.items()}
    own = left["mixture"]
    best = min(left, key=left.__getitem__)
    if best == "mixture":
        best = "mixture-logit"
    reason = (
        f"one step of 8/255 along its {victim_title('mixture')} leaves {own:.1f} %, "
        f"along its {victim_title(best)} {left[best]:.1f} %"
    )
    return own - left[best] - ONE_STEP_SLACK, reason


def _square(figures: _Figures, model: str) -> tuple[float, str]:
    square, strong = figures.get(model, "square", EPS), figures.strong(model, EPS)
    reason = (
        f"{square.accuracy:.1f} % hold against Square, {strong.accuracy:.1f} % against the strong "
        "attack, at 8/255"
    )
    return difference(strong, square).low, reason


def _clear_rise(results: Sequence[Result]) -> float:
    """The lower end of the interval of the clearest rise from one result to the next."""
    return max(difference(after, before).low for before, after in pairwise(results))


def _listed(results: Sequence[Result]) -> str:
    return ", ".join(f"{each.accuracy:.1f}" for each in results)


CHANCE = "Doubt from the difference on that the choice of images does not explain (paired, 95 %)."
PLANS = (
    _Plan(
        "A large budget breaks everything",
        "A large budget leaves images standing",
        f"Doubt from {LEFT:g} % of the images on: a quarter of the whole range of brightness is "
        "far more than any network of this kind bears.",
        _large_budget,
    ),
    _Plan(
        "More budget never helps the defence",
        "With more budget, fewer images are fooled",
        CHANCE,
        _budget,
    ),
    _Plan(
        "More steps never help the defence",
        "With more steps, fewer images are fooled",
        CHANCE,
        _steps,
    ),
    _Plan("Ten steps are about enough", "Ten steps are not enough", CHANCE, _ten_steps),
    _Plan(
        "Random noise hurts far less",
        "Random noise hurts nearly as much as the attack",
        "Doubt from a third of the attack's harm on: a gradient that shows the way is far better "
        "than none.",
        _noise,
    ),
    _Plan(
        "There is a gradient to follow",
        "Often there is no gradient to follow",
        f"Doubt from {LEFT:g} % of the images on: that many points PGD could be wrong by.",
        _gradients,
    ),
    _Plan(
        "Another road to the mixture finds no more",
        "Another road to the mixture finds more",
        f"Doubt from {ONE_STEP_SLACK:g} points on: one step misses several that more steps find.",
        _other_gradients,
    ),
    _Plan(
        "An attack without gradients finds no more",
        "Square, which uses no gradient, finds more",
        CHANCE,
        _square,
    ),
)
