"""Differences between ensembles, and sentences that claim no more than the results show."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from dverge.evaluation.naming import attack_title
from dverge.results import MIXTURE_NAME, Z95, Result, headlines

HIDDEN = 2.0  # points that the mean probability alone must miss to be worth a sentence


@dataclass(frozen=True)
class Difference:
    """An accuracy minus another, in points (per cent of the images), with its 95 % interval."""

    points: float
    low: float
    high: float

    @property
    def clear(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low > 0 or self.high < 0

    def __str__(self) -> str:
        points, low, high = (
            f"{each:+.1f}".replace("-", "−") for each in (self.points, self.low, self.high)
        )
        return f"{points} points (95 % interval {low} to {high})"


def difference(first: Result, second: Result) -> Difference:
    """The difference of two accuracies.

    Where both keep a bit for each image, the interval is that of paired samples (Bonett & Price
    2012), which is narrower; else that of independent samples (Agresti & Caffo 2000).

    Raises:
        ValueError: the accuracies are over different numbers of images.
    """
    if first.n != second.n:
        raise ValueError(f"{first.n} and {second.n} images cannot be compared")
    n, points = first.n, first.accuracy - second.accuracy
    if first.held and second.held:
        a, b = first.right(), second.right()
        better, worse = ((int((a & ~b).sum()) + 1) / (n + 2), (int((~a & b).sum()) + 1) / (n + 2))
        centre = better - worse
        half = Z95 * math.sqrt((better + worse - centre**2) / (n + 2))
    else:
        p, q = ((each.accuracy / 100 * n + 1) / (n + 2) for each in (first, second))
        centre = p - q
        half = Z95 * math.sqrt((p * (1 - p) + q * (1 - q)) / (n + 2))
    return Difference(points, 100 * max(-1.0, centre - half), 100 * min(1.0, centre + half))


@dataclass(frozen=True)
class Standing:
    """An ensemble's clean and robust accuracies under one attack.

    Attributes:
        name: the ensemble's name.
        clean, robust: each model's own results before and under the attack, by model.
        mixture: the mixture's results under attacks on single victims: "mixture", "mixture-logit",
            "mixture-loss", "members".
    """

    name: str
    clean: dict[str, Result]
    robust: dict[str, Result]
    mixture: dict[str, Result] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, results: Sequence[Result], attack: str) -> Standing | None:
        """From an ensemble's results; None if the attack of this title was not measured.

        The strong attack stops as soon as its victim is fooled, so it does not show what carries
        over from single members, and it follows several scores of the mixture. PGD of the same
        budget shows what attacks on the members, and through the mean probability alone, do.
        """
        own = headlines(results)
        clean = {each.model: each for each in own if each.attack == "clean"}
        robust = {each.model: each for each in own if _title(each) == attack}
        if not clean or not robust:
            return None
        single = {
            str(each.parameters["victim"]): each
            for each in results
            if each.model == MIXTURE_NAME and _title(each) == attack
        }
        if MIXTURE_NAME in robust and robust[MIXTURE_NAME].attack.startswith("strong"):
            single |= _of_pgd(robust[MIXTURE_NAME], results)
        return cls(name, clean, robust, single)


def _title(result: Result) -> str:
    return attack_title(result.attack, result.parameters)


def _of_pgd(strong: Result, results: Sequence[Result]) -> dict[str, Result]:
    """The mixture's results under single attacks of PGD of that budget, of the most steps."""
    pgd = strong.attack.replace("strong", "pgd")
    found = [
        each
        for each in results
        if each.attack == pgd
        and each.model == MIXTURE_NAME
        and each.parameters["eps"] == strong.parameters["eps"]
    ]
    return {
        str(each.parameters["victim"]): each
        for each in sorted(found, key=lambda each: each.parameters["steps"])
    }


def claims(baseline: Standing, others: Sequence[Standing], attack: str) -> list[str]:
    """Sentences on what the other mixtures gain over the baseline's, and at what price.

    Args:
        baseline: an ensemble whose members were trained independently.
        others: measured on the same images.
        attack: its title, such as "PGD L∞ 8/255, 50 steps".
    """
    sentences = [_gain_of_mixing(baseline, attack)]
    for other in others:
        sentences += [
            _gain_and_price(baseline, other, attack),
            _transfer(baseline, other),
            _hidden_gradient(other),
        ]
    return [sentence for sentence in sentences if sentence]


def _gain_of_mixing(baseline: Standing, attack: str) -> str:
    """What the baseline's mixture gains over its best member."""
    members = [row for name, row in baseline.robust.items() if name.startswith("member-")]
    if not members:
        return ""
    best, mixture = max(members, key=lambda row: row.accuracy), baseline.robust[MIXTURE_NAME]
    gain = difference(mixture, best)
    ending = "" if gain.clear else ", not a clear difference"
    return (
        f"Mixing alone: under {attack}, the mixture of **{baseline.name}** is correct on "
        f"{mixture.accuracy:.1f} % of the images, its best submodel on {best.accuracy:.1f} %: "
        f"{gain}{ending}. A method must be compared with this mixture."
    )


def _gain_and_price(baseline: Standing, other: Standing, attack: str) -> str:
    """Whether the other mixture is more robust, and how its clean accuracy differs."""
    robust = difference(other.robust[MIXTURE_NAME], baseline.robust[MIXTURE_NAME])
    clean = difference(other.clean[MIXTURE_NAME], baseline.clean[MIXTURE_NAME])
    now, before = other.robust[MIXTURE_NAME].accuracy, baseline.robust[MIXTURE_NAME].accuracy
    verdict = "does not clearly differ from that of"
    if robust.clear:
        verdict = f"holds on {'more' if robust.points > 0 else 'fewer'} images than that of"
    price = "Its clean accuracy rises:"
    if not clean.clear:
        price = "Its clean accuracy does not differ clearly:"
    elif clean.points < 0:
        price = "It pays with clean accuracy:"
    return (
        f"Under {attack}, the mixture of **{other.name}** {verdict} **{baseline.name}**: "
        f"{now:.1f} % against {before:.1f} %, {robust}. {price} {clean}."
    )


def _transfer(baseline: Standing, other: Standing) -> str:
    """How robust the mixtures are to attacks on single members."""
    ours, theirs = (each.mixture.get("members") for each in (other, baseline))
    if ours is None or theirs is None:
        return ""
    gain = difference(ours, theirs)
    verdict = "no clear difference" if not gain.clear else "more" if gain.points > 0 else "less"
    return (
        f"An attacker who only follows single submodels ({_title(ours)}) leaves **{other.name}** "
        f"correct on {ours.accuracy:.1f} %, **{baseline.name}** on {theirs.accuracy:.1f} %: "
        f"{verdict}, {gain}."
    )


def _hidden_gradient(other: Standing) -> str:
    """What an attack through the mean probability alone misses, if it is clearly much."""
    alone, worst = other.mixture.get("mixture"), other.robust[MIXTURE_NAME]
    if alone is None or alone is worst:
        return ""
    missed = difference(alone, worst)
    if not missed.clear or missed.points < HIDDEN:
        return ""
    return (
        f"Had the attack been {_title(alone)}, through the mean probability alone, "
        f"**{other.name}** would seem to hold on {alone.accuracy:.1f} % instead of "
        f"{worst.accuracy:.1f} %, {missed}: part of its robustness is a gradient that is hard to "
        "follow."
    )
