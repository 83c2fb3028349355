"""The sanity panel: signs that an attack was too weak, or a gradient masked.

After Athalye et al. 2018 and Carlini et al. 2019: a sound evaluation falls to nothing at a large
budget, falls as budget and steps grow, needs the gradient more than noise or queries do, and finds
a gradient at nearly every image.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from dverge.evaluation.naming import eps_title, model_title, victim_title
from dverge.evaluation.protocols import EPS, LADDER, STEPS
from dverge.results import MIXTURE_NAME, RANDOM_NAME, Result, headlines

SLACK = 1.0  # per cent of the images: what may differ by chance between two attacks
ROADS = 10.0  # points that one step may miss; many steps find most of them again
NOISE_SHARE = 1 / 3  # of the attack's harm, that noise of its size may do


class Signal(enum.StrEnum):
    """What a check says."""

    FINE = "fine"
    DOUBT = "look closer"
    UNKNOWN = "not checked"


@dataclass(frozen=True)
class Check:
    """One check of one checkpoint.

    Attributes:
        title: what should hold.
        signal: whether it does, for every model.
        reason: the figures behind it.
    """

    title: str
    signal: Signal
    reason: str


class _Figures:
    """Accuracies of the sanity protocol by model, attack, eps and steps.

    `roads` are the mixture's under one step, by what the step followed.
    """

    def __init__(self, rows: Sequence[Result]) -> None:
        own = headlines(rows)
        self._rows = {
            (r.model, r.attack, r.parameters.get("eps"), r.parameters.get("steps")): r for r in own
        }
        self.roads = {
            row.parameters["victim"]: row.accuracy
            for row in rows
            if row.attack == "fgsm" and row.model == MIXTURE_NAME
        }
        names = dict.fromkeys(row.model for row in own if row.model != RANDOM_NAME)
        self.models = list(names)

    def get(
        self, model: str, attack: str, eps: float | None = None, steps: int | None = None
    ) -> float:
        """Per cent. Raises KeyError where it was not measured."""
        return self._rows[model, attack, eps, steps].accuracy

    def pgd(self, model: str, eps: float, steps: int) -> float:
        return self.get(model, "pgd-linf", eps, steps)


def sanity_checks(rows: Sequence[Result]) -> list[Check]:
    """The checks, from the rows of one checkpoint under the sanity protocol.

    A check whose rows are not there is UNKNOWN.
    """
    figures = _Figures(rows)
    checks = {
        "A large budget breaks everything": _large_budget,
        "More budget never helps the defence": _budget,
        "More steps never help the defence": _steps,
        "Ten steps are about enough": _ten_steps,
        "Random noise hurts far less": _noise,
        "There is a gradient to follow": _gradients,
        "Another road to the mixture finds no more": _roads,
        "An attack without gradients finds no more": _square,
    }
    return [_checked(title, check, figures) for title, check in checks.items()]


def _checked(
    title: str, check: Callable[[_Figures, str], tuple[float, str]], figures: _Figures
) -> Check:
    """The check for the model that does worst in it: its excess is the largest."""
    try:
        found = [(*check(figures, model), model) for model in figures.models]
    except KeyError:
        return Check(title, Signal.UNKNOWN, _how_to_check(title))
    if not found:
        return Check(title, Signal.UNKNOWN, "Nothing has been measured yet.")
    excess, reason, model = max(found, key=lambda each: each[0])
    signal = Signal.DOUBT if excess > 0 else Signal.FINE
    return Check(title, signal, f"{model_title(model).capitalize()}: {reason}")


def _how_to_check(title: str) -> str:
    if "without gradients" in title:
        return "It needs the optional package pyautoattack: pip install pyautoattack"
    return "Its figures have not been measured."


def _large_budget(figures: _Figures, model: str) -> tuple[float, str]:
    left = figures.pgd(model, LADDER[-1], 20)
    return left - SLACK, f"{left:.1f} % left at eps {LADDER[-1]:g}"


def _budget(figures: _Figures, model: str) -> tuple[float, str]:
    course = [figures.get(model, "clean"), *(figures.pgd(model, eps, 20) for eps in LADDER)]
    names = ", ".join(["0", *(eps_title(eps) for eps in LADDER)])
    return _rise(course) - SLACK, f"{_listed(course)} % at eps {names}"


def _steps(figures: _Figures, model: str) -> tuple[float, str]:
    course = [figures.pgd(model, EPS, steps) for steps in STEPS]
    return _rise(course) - SLACK, f"{_listed(course)} % after {_listed(STEPS, 0)} steps"


def _ten_steps(figures: _Figures, model: str) -> tuple[float, str]:
    ten, fifty = figures.pgd(model, EPS, 10), figures.pgd(model, EPS, 50)
    return ten - fifty - SLACK, f"{ten:.1f} % after 10 steps, {fifty:.1f} % after 50"


def _noise(figures: _Figures, model: str) -> tuple[float, str]:
    clean, noise = figures.get(model, "clean"), figures.get(model, "noise", EPS)
    harm, attack = clean - noise, clean - figures.pgd(model, EPS, 50)
    reason = f"noise of 8/255 takes {harm:.1f} points, the attack {attack:.1f}"
    return harm - NOISE_SHARE * attack, reason


def _gradients(figures: _Figures, model: str) -> tuple[float, str]:
    share = figures.get(model, "zero-gradient")
    return share - SLACK, f"none at {share:.1f} % of the images"


def _roads(figures: _Figures, model: str) -> tuple[float, str]:
    """Whether one step along the mixture's own gradient finds what other gradients find."""
    if model != MIXTURE_NAME:
        return -100.0, ""
    own = figures.roads["mixture"]
    reason = (
        f"one step of 8/255 along its {victim_title('mixture')} leaves {own:.1f} %, along its "
        f"{victim_title('mixture-logit')} {figures.roads['mixture-logit']:.1f} %"
    )
    return own - min(figures.roads.values()) - ROADS, reason


def _square(figures: _Figures, model: str) -> tuple[float, str]:
    square, pgd = figures.get(model, "square", EPS), figures.pgd(model, EPS, 50)
    return pgd - square - SLACK, f"{square:.1f} % hold against Square, {pgd:.1f} % against PGD"


def _rise(course: Sequence[float]) -> float:
    """The largest step up."""
    return max(after - before for before, after in pairwise(course))


def _listed(values: Sequence[float], digits: int = 1) -> str:
    return ", ".join(f"{value:.{digits}f}" for value in values)
