"""Differences between ensembles, and what can and cannot be claimed from them, in words."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dverge.evaluation.accuracy import MIXTURE_NAME, Z95, Accuracy


@dataclass(frozen=True)
class Difference:
    """One accuracy less another, in points (per cent of the images), with its 95 % interval."""

    points: float
    low: float
    high: float

    @property
    def clear(self) -> bool:
        """The interval leaves out zero."""
        return self.low > 0 or self.high < 0

    def __str__(self) -> str:
        return f"{self.points:+.1f} points (95 % interval {self.low:+.1f} to {self.high:+.1f})"


def difference(first: Accuracy, second: Accuracy) -> Difference:
    """The difference of two accuracies.

    On the same images it is of pairs, with the interval of Bonett & Price 2012, which is narrower;
    where the bits for each image were not kept, of independent samples.

    Raises:
        ValueError: they are of different numbers of images.
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
        centre = points / 100
        half = Z95 * math.sqrt(sum(_variance(each) for each in (first, second)) / n)
    return Difference(points, 100 * max(-1.0, centre - half), 100 * min(1.0, centre + half))


def _variance(figure: Accuracy) -> float:
    share = figure.accuracy / 100
    return share * (1 - share)


@dataclass(frozen=True)
class Standing:
    """How an ensemble stands: its name on screen, and its models' figures by model.

    Attributes:
        name: of the ensemble.
        clean, robust: before and under the attack, by model.
    """

    name: str
    clean: dict[str, Accuracy]
    robust: dict[str, Accuracy]


def claims(baseline: Standing, others: Sequence[Standing], attack: str) -> list[str]:
    """Sentences on what the others' mixtures buy over the baseline's, and at what price.

    Args:
        baseline: the mixture of members that were trained independently.
        others: measured on the same images.
        attack: in words, such as "PGD, 50 steps, L∞ 8/255".
    """
    sentences = [_by_itself(baseline, attack)]
    for other in others:
        sentences += _against(baseline, other, attack)
    return [sentence for sentence in sentences if sentence]


def _by_itself(baseline: Standing, attack: str) -> str:
    """What mixing alone buys."""
    members = [row for name, row in baseline.robust.items() if name.startswith("member-")]
    if not members:
        return ""
    best, mixture = max(members, key=lambda row: row.accuracy), baseline.robust[MIXTURE_NAME]
    gain = difference(mixture, best)
    ending = "" if gain.clear else ", which is within the interval"
    return (
        f"Mixing alone: under {attack}, the mixture of **{baseline.name}** is right on "
        f"{mixture.accuracy:.1f} % of the images, its best submodel on {best.accuracy:.1f} %: "
        f"{gain}{ending}. A method must be compared with this mixture, not with a single submodel."
    )


def _against(baseline: Standing, other: Standing, attack: str) -> Iterator[str]:
    robust = difference(other.robust[MIXTURE_NAME], baseline.robust[MIXTURE_NAME])
    clean = difference(other.clean[MIXTURE_NAME], baseline.clean[MIXTURE_NAME])
    now, before = other.robust[MIXTURE_NAME].accuracy, baseline.robust[MIXTURE_NAME].accuracy
    if robust.clear:
        verdict = "holds on more images" if robust.points > 0 else "holds on fewer images"
        verdict = f"{verdict} than that of **{baseline.name}**: {now:.1f} % against {before:.1f} %"
    else:
        verdict = f"cannot be told from that of **{baseline.name}**: {now:.1f} % and {before:.1f} %"
    price = "Its clean accuracy differs by"
    if not clean.clear:
        price = "No price in clean accuracy can be shown:"
    elif clean.points < 0:
        price = "It pays with clean accuracy:"
    yield (f"Under {attack}, the mixture of **{other.name}** {verdict}, {robust}. {price} {clean}.")
