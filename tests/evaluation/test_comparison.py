"""Differences against published intervals and sums by hand, and the sentences made of them."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from dverge.data import Split
from dverge.evaluation.comparison import Difference, Standing, claims, difference
from dverge.results import Result, result_of

N = 1000
ATTACK = "PGD L∞ 8/255, 50 steps"


def figure(right: int, n: int = N, model: str = "mixture", first: int = 0) -> Result:
    """Right on so many images of n, from `first` on."""
    bits = torch.zeros(n, dtype=torch.bool)
    bits[first : first + right] = True
    return result_of(bits, model, "pgd-linf", Split.TEST)


def pair(both: int, only_a: int, only_b: int, neither: int) -> tuple[Result, Result]:
    """Two models by what they share."""
    n = both + only_a + only_b + neither
    return figure(both + only_a, n), figure(both + only_b, n, first=only_a)


# --- differences ---


@pytest.mark.parametrize(
    ("counts", "low", "high"),
    [
        ((6, 26, 4, 12), 25.48067, 62.51933),  # the example of R's statpsych::ci.prop.ps
        ((1, 1, 7, 12), -50.8, -1.3),  # Fagerland, Lydersen & Laake 2014, Table V
        ((2, 5, 1, 2), 100 / 3 - 42.1717, 100 / 3 + 42.1717),  # by hand: ± 1.96 √((2/3 - 1/9)/12)
    ],
)
def test_pairs_have_the_interval_of_bonett_and_price(
    counts: tuple[int, int, int, int], low: float, high: float
) -> None:
    a, b = pair(*counts)
    found = difference(a, b)
    assert found.points == pytest.approx(100 * (counts[1] - counts[2]) / sum(counts))
    digits = 0.05 if low == -50.8 else 1e-3
    assert (found.low, found.high) == pytest.approx((low, high), abs=digits)
    back = difference(b, a)
    assert (back.points, back.low, back.high) == pytest.approx(
        (-found.points, -found.high, -found.low)
    )


def unpaired(figure: Result) -> Result:
    return replace(figure, held="")


def test_without_bits_it_is_agresti_and_caffos_interval_of_two_samples() -> None:
    ours, theirs = 61 / 102, 51 / 102
    half = 100 * 1.959964 * math.sqrt((ours * (1 - ours) + theirs * (1 - theirs)) / 102)
    centre = 100 * (ours - theirs)
    for a, b in (
        (unpaired(figure(60, 100)), unpaired(figure(50, 100))),
        (figure(60, 100), unpaired(figure(50, 100))),
        (unpaired(figure(60, 100)), figure(50, 100)),
    ):
        found = difference(a, b)
        assert found.points == pytest.approx(10)
        assert (found.low, found.high) == pytest.approx((centre - half, centre + half), abs=1e-4)


def test_pairs_that_agree_leave_less_to_chance() -> None:
    a, b = figure(600), figure(500)
    paired, plain = difference(a, b), difference(unpaired(a), unpaired(b))
    assert plain.low < paired.low < paired.high < plain.high


def test_the_same_answers_differ_by_nothing_and_are_not_said_to_be_known_exactly() -> None:
    for right in (0, 4, 10):
        found = difference(figure(right, 10), figure(right, 10))
        assert found.points == 0 and found.low == -found.high < 0
        assert not found.clear


def test_all_against_nothing_stays_within_a_hundred_points() -> None:
    found = difference(figure(10, 10), figure(0, 10))
    half = 100 * 1.959964 * math.sqrt((11 / 12 + 1 / 12 - (10 / 12) ** 2) / 12)
    assert (found.points, found.high) == (100, 100)
    assert found.low == pytest.approx(1000 / 12 - half, abs=1e-4)
    back = difference(figure(0, 10), figure(10, 10))
    assert (back.points, back.low) == (-100, -100)
    plain = difference(unpaired(figure(10, 10)), unpaired(figure(0, 10)))
    assert (plain.points, plain.high) == (100, 100)
    assert 0 < plain.low < 100  # ten of each do not make it certain


def test_one_image() -> None:
    found = difference(figure(1, 1), figure(0, 1))
    assert found.points == 100 and -100 <= found.low < found.high == 100


def test_other_numbers_of_images_are_refused() -> None:
    with pytest.raises(ValueError, match="100 and 99 images cannot be compared"):
        difference(figure(1, 100), figure(1, 99))


@pytest.mark.parametrize(
    ("low", "high", "clear"),
    [(0.1, 2, True), (-2, -0.1, True), (-1, 1, False), (0, 1, False), (-1, 0, False)],
)
def test_clear_is_an_interval_without_zero(low: float, high: float, clear: bool) -> None:
    assert Difference((low + high) / 2, low, high).clear is clear


def test_in_words() -> None:
    assert str(Difference(-1.04, -2.06, 0.04)) == "−1.0 points (95 % interval −2.1 to +0.0)"


# --- claims ---


def standing(
    name: str, clean: int, robust: int, own: tuple[int, ...] = (), **mixture: int
) -> Standing:
    """So many of a thousand images; `own` are its members', `mixture` under single attacks."""
    members = {f"member-{i}": figure(n, model=f"member-{i}") for i, n in enumerate(own, 1)}
    single = {victim.replace("_", "-"): figure(n) for victim, n in mixture.items()}
    return Standing(
        name, {"mixture": figure(clean)}, {**members, "mixture": figure(robust)}, mixture=single
    )


BASE = standing("base", 650, 20)


def said(other: Standing, baseline: Standing = BASE) -> list[str]:
    return claims(baseline, [other], ATTACK)


def test_a_clear_gain_and_its_price() -> None:
    # nested: 100 images only one is right on; ± 1.96 √((102/1002 - (100/1002)²)/1002)
    assert said(standing("other", 550, 120)) == [
        f"Under {ATTACK}, the mixture of **other** holds on more images than that of **base**: "
        "12.0 % against 2.0 %, +10.0 points (95 % interval +8.1 to +11.9). It pays with clean "
        "accuracy: −10.0 points (95 % interval −11.9 to −8.1)."
    ]


def test_a_clear_loss() -> None:
    (sentence,) = said(standing("other", 750, 120), standing("base", 650, 220))
    assert sentence == (
        f"Under {ATTACK}, the mixture of **other** holds on fewer images than that of **base**: "
        "12.0 % against 22.0 %, −10.0 points (95 % interval −11.9 to −8.1). Its clean accuracy "
        "rises: +10.0 points (95 % interval +8.1 to +11.9)."
    )


def test_a_difference_within_the_interval_is_no_claim() -> None:
    a, b = standing("other", 651, 21), BASE
    robust = difference(a.robust["mixture"], b.robust["mixture"])
    assert not robust.clear
    assert said(a) == [
        f"Under {ATTACK}, the mixture of **other** cannot be told from that of **base**: 2.1 % "
        f"against 2.0 %, {robust}. Its clean accuracy does not differ clearly: {robust}."
    ]


@pytest.mark.parametrize(
    ("ours", "theirs", "words"),
    [
        (420, 320, "more, +10.0 points"),
        (320, 420, "less, −10.0 points"),
        (320, 319, "no clear difference, +0.1 points"),
    ],
)
def test_what_attacks_on_single_submodels_leave(ours: int, theirs: int, words: str) -> None:
    sentences = said(
        standing("other", 650, 20, members=ours),
        standing("base", 650, 20, members=theirs),
    )
    assert len(sentences) == 2
    assert sentences[1].startswith(
        "An attacker who only follows single submodels leaves **other** right on "
        f"{ours / 10:.1f} %, **base** on {theirs / 10:.1f} %: {words} (95 % interval "
    )


def test_a_hidden_gradient_is_told() -> None:
    assert said(standing("other", 650, 20, mixture=90))[1:] == [
        "Had the attack followed the mean probability alone, **other** would seem to hold on 9.0 % "
        "instead of 2.0 %: part of its robustness is a gradient that is hard to follow."
    ]
    assert len(said(standing("other", 650, 20, mixture=40))) == 2  # two points
    assert len(said(standing("other", 650, 20, mixture=39))) == 1
    assert len(said(standing("other", 650, 20, mixture_logit=90))) == 1


def test_the_baseline_alone_says_what_mixing_buys() -> None:
    alone = standing("base", 650, 120, own=(5, 20, 12))
    assert claims(alone, [], ATTACK) == [
        f"Mixing alone: under {ATTACK}, the mixture of **base** is right on 12.0 % of the images, "
        "its best submodel on 2.0 %: +10.0 points (95 % interval +8.1 to +11.9). A method must be "
        "compared with this mixture."
    ]
    close = standing("base", 650, 21, own=(5, 20, 12))
    assert ", which is within the interval. A method" in claims(close, [], ATTACK)[0]
    assert claims(BASE, [], ATTACK) == []


def test_all_ensembles_in_their_order() -> None:
    baseline = standing("base", 650, 20, own=(10, 20), members=300)
    one = standing("one", 600, 30, mixture=90)
    sentences = claims(baseline, [one, standing("two", 600, 30)], ATTACK)
    assert ["base" in text for text in sentences] == [True, True, False, True]
    assert ["**one**" in text for text in sentences] == [False, True, True, False]
    assert "**two**" in sentences[3]
