"""Differences against published intervals and sums by hand, and the sentences made of them."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from dverge.data import Split
from dverge.evaluation.comparison import Difference, Standing, claims, difference
from dverge.results import Result, result_of

ATTACK = "PGD L∞ 8/255, 50 steps"


def result(correct: int, n: int = 1000, model: str = "mixture", first: int = 0) -> Result:
    """Correct on so many images of n, from `first` on."""
    bits = torch.zeros(n, dtype=torch.bool)
    bits[first : first + correct] = True
    return result_of(bits, model, "pgd-linf", Split.TEST)


def without_bits(correct: int, n: int) -> Result:
    return replace(result(correct, n), held="")


# --- differences ---


@pytest.mark.parametrize(
    ("both", "only_a", "only_b", "neither", "low", "high", "precision"),
    [
        (6, 26, 4, 12, 25.48067, 62.51933, 1e-3),  # the example of R's statpsych::ci.prop.ps
        (1, 1, 7, 12, -50.8, -1.3, 0.05),  # Fagerland, Lydersen & Laake 2014, Table V
        # By hand: 100/3 ± 100 · 1.96 √((2/3 - 1/9)/12), and two that share nothing or all.
        (2, 5, 1, 2, 100 / 3 - 42.1717, 100 / 3 + 42.1717, 1e-3),
        (0, 10, 0, 0, 1000 / 12 - 100 * 1.959964 * math.sqrt((1 - 25 / 36) / 12), 100, 1e-4),
        (4, 0, 0, 6, -100 * 1.959964 / 12 * math.sqrt(2), 100 * 1.959964 / 12 * math.sqrt(2), 1e-4),
    ],
)
def test_paired_intervals(
    both: int, only_a: int, only_b: int, neither: int, low: float, high: float, precision: float
) -> None:
    n = both + only_a + only_b + neither
    a, b = result(both + only_a, n), result(both + only_b, n, first=only_a)
    paired = difference(a, b)
    assert paired.points == pytest.approx(100 * (only_a - only_b) / n)
    assert (paired.low, paired.high) == pytest.approx((low, high), abs=precision)
    back = difference(b, a)
    assert (back.points, back.low, back.high) == pytest.approx(
        (-paired.points, -high, -low), abs=precision
    )


def test_without_bits_the_interval_is_of_independent_samples() -> None:
    """Agresti & Caffo 2000; it is wider than that of pairs, which share what is hard."""
    p, q = 61 / 102, 51 / 102
    half = 100 * 1.959964 * math.sqrt((p * (1 - p) + q * (1 - q)) / 102)
    for a, b in (
        (without_bits(60, 100), without_bits(50, 100)),
        (result(60, 100), without_bits(50, 100)),
        (without_bits(60, 100), result(50, 100)),
    ):
        found = difference(a, b)
        assert found.points == pytest.approx(10)
        ends = (100 * (p - q) - half, 100 * (p - q) + half)
        assert (found.low, found.high) == pytest.approx(ends, abs=1e-4)
    paired = difference(result(60, 100), result(50, 100))
    assert found.low < paired.low < paired.high < found.high
    certain = difference(without_bits(10, 10), without_bits(0, 10))
    assert (certain.points, certain.high) == (100, 100) and 0 < certain.low < 100


@pytest.mark.parametrize("correct", [0, 4, 10])
def test_equal_answers_are_no_clear_difference(correct: int) -> None:
    equal = difference(result(correct, 10), result(correct, 10))
    assert equal.points == 0 and equal.low == -equal.high < 0 and not equal.clear
    one = difference(result(1, 1), result(0, 1))
    assert one.points == 100 and -100 <= one.low < one.high == 100


def test_different_numbers_of_images_are_refused() -> None:
    with pytest.raises(ValueError, match="100 and 99 images cannot be compared"):
        difference(result(1, 100), result(1, 99))


@pytest.mark.parametrize(
    ("low", "high", "clear"),
    [(0.1, 2, True), (-2, -0.1, True), (-1, 1, False), (0, 1, False), (-1, 0, False)],
)
def test_clear_is_an_interval_without_zero(low: float, high: float, clear: bool) -> None:
    assert Difference((low + high) / 2, low, high).clear is clear


def test_a_difference_as_text() -> None:
    assert str(Difference(-1.04, -2.06, 0.04)) == "−1.0 points (95 % interval −2.1 to +0.0)"


# --- claims ---


def standing(
    name: str, clean: int, robust: int, own: tuple[int, ...] = (), **single: int
) -> Standing:
    """Correct on so many of 1,000 images: the mixture, its members, the mixture under single
    attacks."""
    members = {f"member-{i}": result(n, model=f"member-{i}") for i, n in enumerate(own, 1)}
    mixture = {victim.replace("_", "-"): result(n) for victim, n in single.items()}
    robust_results = {**members, "mixture": result(robust)}
    return Standing(name, {"mixture": result(clean)}, robust_results, mixture)


BASE = standing("base", 650, 20)


def sentences(other: Standing, baseline: Standing = BASE) -> list[str]:
    return claims(baseline, [other], ATTACK)


SMALL = str(difference(result(21), result(20)))


@pytest.mark.parametrize(
    ("other", "baseline", "claim"),
    [
        # Nested: 100 images that one alone is correct on; ± 1.96 √((102/1002 - (100/1002)²)/1002)
        (
            (550, 120),
            (650, 20),
            "holds on more images than that of **base**: 12.0 % against 2.0 %, +10.0 points (95 % "
            "interval +8.1 to +11.9). It pays with clean accuracy: −10.0 points (95 % interval "
            "−11.9 to −8.1).",
        ),
        (
            (750, 120),
            (650, 220),
            "holds on fewer images than that of **base**: 12.0 % against 22.0 %, −10.0 points "
            "(95 % interval −11.9 to −8.1). Its clean accuracy rises: +10.0 points (95 % interval "
            "+8.1 to +11.9).",
        ),
        (
            (651, 21),
            (650, 20),
            f"does not clearly differ from that of **base**: 2.1 % against 2.0 %, {SMALL}. Its "
            f"clean accuracy does not differ clearly: {SMALL}.",
        ),
    ],
    ids=["gain", "loss", "within the interval"],
)
def test_the_gain_and_its_price(
    other: tuple[int, int], baseline: tuple[int, int], claim: str
) -> None:
    found = sentences(standing("other", *other), standing("base", *baseline))
    assert found == [f"Under {ATTACK}, the mixture of **other** {claim}"]


@pytest.mark.parametrize(
    ("ours", "theirs", "verdict"),
    [
        (420, 320, "more, +10.0 points"),
        (320, 420, "less, −10.0 points"),
        (320, 319, "no clear difference, +0.1 points"),
    ],
)
def test_attacks_on_single_submodels(ours: int, theirs: int, verdict: str) -> None:
    other, base = (standing(n, 650, 20, members=k) for n, k in (("other", ours), ("base", theirs)))
    _, sentence = sentences(other, base)
    assert sentence.startswith(
        "An attacker who only follows single submodels (PGD L∞) leaves **other** correct on "
        f"{ours / 10:.1f} %, **base** on {theirs / 10:.1f} %: {verdict} (95 % interval "
    )


def test_a_standing_takes_what_carries_over_from_pgd_where_the_attack_is_strong() -> None:
    def of(correct: int, attack: str, victim: str, eps: float = 0.03, **more: int) -> Result:
        parameters = {"eps": eps, "victim": victim, **more}
        return replace(result(correct), attack=attack, parameters=parameters)

    clean = replace(result(650), attack="clean")
    strong = [of(20, "strong-linf", "worst"), of(25, "strong-linf", "mixture")]
    member = replace(of(5, "strong-linf", "member-1"), model="member-1")
    worst, mixture = (of(n, "pgd-linf", v, steps=50) for n, v in ((30, "worst"), (90, "mixture")))
    kept = of(310, "pgd-linf", "members", steps=50)
    other = [
        of(320, "pgd-linf", "members", steps=10),
        of(1, "pgd-linf", "members", 0.01, steps=90),
        of(2, "pgd-l2", "members", steps=90),
    ]
    rows = [clean, *strong, member, worst, mixture, kept, *other]
    found = Standing.of("one", rows, "Strong L∞ 0.03")
    assert found == Standing(
        "one",
        {"mixture": clean},
        {"mixture": strong[0], "member-1": member},
        {"worst": worst, "mixture": mixture, "members": kept},
    )
    assert Standing.of("one", [clean], "Strong L∞ 0.03") is None
    without = Standing.of("one", [clean, *strong], "Strong L∞ 0.03")
    assert without is not None and without.mixture == {"worst": strong[0], "mixture": strong[1]}


def test_a_hidden_gradient() -> None:
    missed = difference(result(90), result(20))
    assert sentences(standing("other", 650, 20, mixture=90))[1:] == [
        "Had the attack been PGD L∞, through the mean probability alone, **other** would seem to "
        f"hold on 9.0 % instead of 2.0 %, {missed}: part of its robustness is a gradient that is "
        "hard to follow."
    ]
    assert len(sentences(standing("other", 650, 20, mixture=40))) == 2  # two points
    assert len(sentences(standing("other", 650, 20, mixture=39))) == 1
    assert len(sentences(standing("other", 650, 20, mixture_logit=90))) == 1


def test_a_hidden_gradient_is_clear_by_the_paired_interval() -> None:
    """Five of 100 images are five points, and yet may be chance."""
    for extra, told in ((5, False), (6, True)):
        robust, alone = result(20, n=100), result(20 + extra, n=100)
        other = Standing("other", {"mixture": robust}, {"mixture": robust}, {"mixture": alone})
        baseline = Standing("base", {"mixture": robust}, {"mixture": robust})
        found = sentences(other, baseline)
        assert difference(alone, robust).clear is told
        assert any("hard to follow" in sentence for sentence in found) is told


def test_the_gain_of_mixing_alone() -> None:
    alone = standing("base", 650, 120, own=(5, 20, 12))
    assert claims(alone, [], ATTACK) == [
        f"Mixing alone: under {ATTACK}, the mixture of **base** is correct on 12.0 % of the "
        "images, its best submodel on 2.0 %: +10.0 points (95 % interval +8.1 to +11.9). A method "
        "must be compared with this mixture."
    ]
    close = standing("base", 650, 21, own=(5, 20, 12))
    assert ", not a clear difference. A method" in claims(close, [], ATTACK)[0]
    assert claims(BASE, [], ATTACK) == []


def test_all_ensembles_in_their_order() -> None:
    baseline = standing("base", 650, 20, own=(10, 20), members=300)
    one = standing("one", 600, 30, mixture=90)
    found = claims(baseline, [one, standing("two", 600, 30)], ATTACK)
    assert ["base" in text for text in found] == [True, True, False, True]
    assert ["**one**" in text for text in found] == [False, True, True, False]
    assert "**two**" in found[3]
