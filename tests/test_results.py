"""Confidence intervals against scipy and published ones, and the bit kept for each image."""

from __future__ import annotations

import base64
import json
import math

import pytest
import torch
from scipy.stats import binomtest  # type: ignore[import-untyped]  # comes with foolbox
from torch import Tensor

from dverge.data import Split
from dverge.results import Result, result_of, wilson_interval


@pytest.mark.parametrize(
    ("correct", "n"),
    [(0, 1), (1, 1), (0, 10), (10, 10), (1, 10), (5, 10), (1023, 1024), (6012, 10_000), (0, 9999)],
)
def test_wilson_interval_is_scipys(correct: int, n: int) -> None:
    expected = binomtest(correct, n).proportion_ci(confidence_level=0.95, method="wilson")
    low, high = wilson_interval(correct, n)
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert 0 <= low <= correct / n + 1e-12 and correct / n - 1e-12 <= high <= 1


@pytest.mark.parametrize(
    ("correct", "n", "interval"),
    [
        (81, 263, (0.2553, 0.3662)),  # Newcombe 1998, Statistics in Medicine 17, Table I, method 3
        (15, 148, (0.0624, 0.1605)),
        (0, 20, (0.0000, 0.1611)),
        (1, 29, (0.0061, 0.1718)),
        (0, 0, (0, 1)),
    ],
)
def test_published_wilson_intervals(correct: int, n: int, interval: tuple[float, float]) -> None:
    assert wilson_interval(correct, n) == pytest.approx(interval, abs=5e-5)


@pytest.mark.parametrize(("correct", "n"), [(3.5, 10), (1, 3), (6012.25, 10_000), (50, 1024)])
def test_the_ends_are_where_the_share_is_just_not_rejected(correct: float, n: int) -> None:
    """The score test's own equation: |share - p| = z √(p(1-p)/n)."""
    for end in wilson_interval(correct, n):
        assert abs(correct / n - end) == pytest.approx(1.959964 * math.sqrt(end * (1 - end) / n))


def drawn(n: int) -> Tensor:
    return torch.rand(n, generator=torch.Generator().manual_seed(n)) < 0.6


@pytest.mark.parametrize("n", [1, 7, 8, 9, 250, 1000])
def test_a_result_is_read_back_with_its_bits(n: int) -> None:
    correct = drawn(n)
    result = result_of(correct, "mixture", "fgsm", Split.SAMPLE, parameters={"eps": 0.03})
    again = Result(**json.loads(json.dumps(result.measured())))
    assert again == result
    assert again.right().dtype == torch.bool and again.right().equal(correct)
    assert len(result.held) == 4 * math.ceil(math.ceil(n / 8) / 3)
    assert result.accuracy == pytest.approx(100 * correct.sum().item() / n)


def test_bits_and_interval_by_hand() -> None:
    correct = torch.tensor([1, 0, 1, 1, 0, 0, 0, 1, 0, 1]).bool()
    result = result_of(correct, "mixture", "fgsm", Split.SAMPLE)
    assert base64.b64decode(result.held) == bytes([0b10110001, 0b01000000])
    assert result.accuracy == 50
    assert (result.ci_low, result.ci_high) == pytest.approx((23.66, 76.34), abs=0.01)


def test_shares_have_a_mean_and_no_bits() -> None:
    result = result_of(torch.tensor([0.5, 1.0, 0.0, 0.25]).double(), "m", "a", Split.SAMPLE)
    assert result.held == "" and len(result.right()) == 0
    assert "held" not in result.measured() and "warnings" not in result.measured()
    assert result.accuracy == 100 * 1.75 / 4
    low, high = wilson_interval(1.75, 4)
    assert (result.ci_low, result.ci_high) == pytest.approx((100 * low, 100 * high))


def test_an_accuracy_that_is_not_the_mean_keeps_the_bits() -> None:
    result = result_of(drawn(40), "m", "clean", Split.SAMPLE, share=0.625, warnings=["careful"])
    low, high = wilson_interval(25, 40)
    assert (result.accuracy, result.ci_low) == (62.5, pytest.approx(100 * low))
    assert result.ci_high == pytest.approx(100 * high)
    assert result.right().equal(drawn(40))
    assert result.to_dict()["warnings"] == ["careful"]


def test_a_result_for_other_programs_is_plain_json_without_bits() -> None:
    result = result_of(drawn(40), "mixture", "fgsm", Split.SAMPLE, seconds=0.5)
    row = result.to_dict()
    assert json.loads(json.dumps(row)) == row
    assert "held" not in row and "warnings" not in row
    assert type(row["split"]) is str and row["images_per_second"] == 80
