"""Results against hand-computed cases, and their intervals against scipy and published tables."""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import msgspec
import pytest
import torch
from scipy.stats import binomtest  # type: ignore[import-untyped]  # installed with foolbox

from dverge.data import Split
from dverge.errors import ConfigError
from dverge.results import Result, headlines, models_of, result_of, wilson_interval

COUNTS = [(0, 1), (1, 1), (0, 10), (10, 10), (1, 10), (5, 10), (1023, 1024), (6012, 10_000)]


@pytest.mark.parametrize(("correct", "n"), [*COUNTS, (0, 9999)])
def test_wilson_interval(correct: int, n: int) -> None:
    expected = binomtest(correct, n).proportion_ci(confidence_level=0.95, method="wilson")
    low, high = wilson_interval(correct, n)
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert 0 <= low <= correct / n + 1e-12
    assert correct / n - 1e-12 <= high <= 1


@pytest.mark.parametrize(
    ("correct", "n", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),  # Newcombe (1998), Statistics in Medicine 17, Table I, method 3
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_intervals_as_published(correct: int, n: int, low: float, high: float) -> None:
    assert wilson_interval(correct, n) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(("correct", "n"), [(3.5, 10), (1, 3), (6012.25, 10_000), (50, 1024)])
def test_the_score_test_just_accepts_the_ends(correct: float, n: int) -> None:
    """The score test's own equation: |share - p| = z √(p(1-p)/n)."""
    for end in wilson_interval(correct, n):
        assert abs(correct / n - end) == pytest.approx(1.959964 * math.sqrt(end * (1 - end) / n))


def test_without_images_every_accuracy_is_possible() -> None:
    assert wilson_interval(0, 0) == (0, 1)


# --- the bit for each image ---


def drawn(n: int) -> torch.Tensor:
    return torch.rand(n, generator=torch.Generator().manual_seed(n)) < 0.6


@pytest.mark.parametrize("n", [1, 7, 8, 9, 250, 1000])
def test_bits_are_read_back(n: int) -> None:
    right = drawn(n)
    result = result_of(right, "mixture", "fgsm", Split.SAMPLE, parameters={"eps": 0.03})
    assert result.right().dtype == torch.bool
    assert result.right().equal(right)
    again = msgspec.convert(json.loads(json.dumps(result.stored())), Result)
    assert again == result
    assert again.right().equal(right)
    assert len(result.held) == 4 * math.ceil(math.ceil(n / 8) / 3)
    assert result.accuracy == pytest.approx(100 * right.sum().item() / n)


def test_bits_by_hand() -> None:
    right = torch.tensor([1, 0, 1, 1, 0, 0, 0, 1, 0, 1]).bool()
    result = result_of(right, "mixture", "fgsm", Split.SAMPLE)
    assert base64.b64decode(result.held) == bytes([0b10110001, 0b01000000])
    assert result.accuracy == 50
    assert (result.ci_low, result.ci_high) == pytest.approx((23.66, 76.34), abs=0.01)


def test_shares_have_no_bits_and_their_mean() -> None:
    result = result_of(torch.tensor([0.5, 1.0, 0.0, 0.25]).double(), "mixture", "a", Split.SAMPLE)
    assert result.held == "" and len(result.right()) == 0
    assert result.stored().keys().isdisjoint({"held", "answers", "warnings"})
    assert result.accuracy == 100 * 1.75 / 4
    low, high = wilson_interval(1.75, 4)
    assert (result.ci_low, result.ci_high) == pytest.approx((100 * low, 100 * high))


@pytest.mark.parametrize("n", [1, 2, 9, 1000])
def test_classes_are_read_back(n: int) -> None:
    predicted = torch.randint(10, (n,), generator=torch.Generator().manual_seed(n))
    about: dict[str, Any] = {"warnings": ["careful"], "predicted": predicted}
    result = result_of(drawn(n), "mixture", "clean", Split.SAMPLE, **about)
    again = msgspec.convert(json.loads(json.dumps(result.stored())), Result)
    assert again == result and again.right().equal(drawn(n))
    assert again.predicted().dtype is torch.int64 and again.predicted().equal(predicted)
    assert len(base64.b64decode(result.answers)) == math.ceil(n / 2)
    assert result.stored()["warnings"] == result.to_dict()["warnings"] == ["careful"]


def test_classes_by_hand() -> None:
    predicted = torch.tensor([9, 0, 7, 3, 5])
    result = result_of(predicted == 7, "mixture", "a", Split.SAMPLE, predicted)
    assert base64.b64decode(result.answers) == bytes([0x90, 0x73, 0x50])
    assert len(result_of(predicted == 7, "mixture", "a", Split.SAMPLE).predicted()) == 0


# --- as JSON ---

GOOD: dict[str, Any] = {
    **{"model": "member-1", "attack": "fgsm", "split": "sample", "n": 20},
    **{"accuracy": 50.0, "ci_low": 30.0, "ci_high": 70.0, "parameters": {"eps": 0.03}},
    **{"seconds": 1.25, "warnings": ["odd"], "held": "AAAA", "answers": "AAAAAAAAAAAAAA=="},
}
ABOUT: dict[str, Any] = {
    "checkpoint": "good",
    "weights": "cd",
    "protocol": "curve",
    "seed": 3,
    "data": "ab",
}


def test_what_files_keep_and_what_other_programs_get() -> None:
    result = Result(**GOOD, **ABOUT, device="CPU")
    assert result.stored() == GOOD
    of_images = {"held", "answers"}
    outputs = {k: v for k, v in GOOD.items() if k not in of_images} | ABOUT | {"device": "CPU"}
    assert result.to_dict() == outputs | {"images_per_second": 16.0}
    fast = Result(**GOOD | {"seconds": 0.0, "warnings": []}).to_dict()
    assert fast["images_per_second"] is None and "warnings" not in fast


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"held": "AAA="}, "size of held is 2; it must be 3 bytes for 20 images"),
        ({"held": "AA"}, "Incorrect padding"),
        ({"answers": "AAAA"}, "size of answers is 3; it must be 10 bytes for 20 images"),
        ({"held": "AA\nAA"}, "Only base64 data is allowed|Invalid"),
        ({"n": 0}, "n"),
        ({"model": "other"}, "matching regex"),
        ({"accuracy": -1}, "accuracy"),
        ({"parameters": {"eps": None}}, "parameters"),
        ({"parameters": {"eps": "0.03"}}, "parameter eps is '0.03'; it must be a number"),
        ({"parameters": {"victim": 3}}, "parameter victim is 3; it must be a text"),
        ({"parameters": {"surrogates": 6}}, "parameter surrogates is 6; it must be a text"),
    ],
)
def test_a_damaged_result_is_refused(changes: dict[str, Any], message: str) -> None:
    assert msgspec.convert(GOOD, Result) == Result(**GOOD)
    with pytest.raises(msgspec.ValidationError, match=message):
        msgspec.convert(GOOD | changes, Result)


def test_results_made_by_code_are_checked_too() -> None:
    with pytest.raises(ConfigError, match="size of held is 3; it must be 1 bytes for 8 images"):
        Result(**GOOD | {"n": 8})


# --- the results that count ---


def row(model: str, victim: str, eps: float = 0.03, attack: str = "pgd-linf") -> Result:
    parameters = {"eps": eps} | ({"victim": victim} if victim else {})
    return Result(**GOOD | {"model": model, "attack": attack, "parameters": parameters})


def test_the_headline_is_the_own_attack_or_the_worst_one() -> None:
    clean = row("mixture", "", attack="clean")
    member, other = row("member-1", "member-1"), row("member-1", "member-1", eps=0.1)
    transferred = row("member-2", "member-1")
    alone, worst = row("mixture", "mixture"), row("mixture", "worst")
    random = row("random-member", "worst")
    logit_only = row("mixture", "mixture-logit", eps=0.1)
    rows = [clean, member, transferred, other, alone, logit_only, worst, random]
    assert headlines(rows) == [clean, member, other, worst, random]
    assert headlines([alone, logit_only]) == [alone]
    assert headlines(reversed(rows)) == [random, worst, other, member, clean]
    assert [each.own for each in rows] == [True, True, False, True, True, False, True, True]


def test_fgsm_of_the_mixture_has_two_headlines() -> None:
    """Through the mean probability, which is the field's, and the worst over all victims."""
    victims = ("member-1", "worst", "mixture", "mixture-logit", "mixture-loss", "members")
    _, worst, alone, *_ = rows = [row("mixture", victim, attack="fgsm") for victim in victims]
    assert headlines(rows) == [worst, alone]
    assert headlines(reversed(rows)) == [alone, worst]


def test_the_mixture_is_the_last_model() -> None:
    assert models_of(2) == ["member-1", "member-2", "mixture"]
