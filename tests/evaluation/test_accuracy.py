"""Accuracies against a plain loop, and their intervals against scipy."""

from __future__ import annotations

import base64
import json
import math

import pytest
import torch
from scipy.stats import binomtest  # type: ignore[import-untyped]  # comes with foolbox

from dverge.data import Split, load
from dverge.evaluation.predictions import answers, clean_accuracy, predictions
from dverge.models import Ensemble
from dverge.results import Result, result_of, wilson_interval


@pytest.mark.parametrize(
    ("correct", "n"),
    [(0, 1), (1, 1), (0, 10), (10, 10), (1, 10), (5, 10), (1023, 1024), (6012, 10_000), (0, 9999)],
)
def test_wilson_interval(correct: int, n: int) -> None:
    expected = binomtest(correct, n).proportion_ci(confidence_level=0.95, method="wilson")
    low, high = wilson_interval(correct, n)
    assert low == pytest.approx(expected.low, abs=1e-12)
    assert high == pytest.approx(expected.high, abs=1e-12)
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
def test_the_ends_are_where_the_share_is_just_not_rejected(correct: float, n: int) -> None:
    """The score test's own equation: |share - p| = z √(p(1-p)/n)."""
    for end in wilson_interval(correct, n):
        assert abs(correct / n - end) == pytest.approx(1.959964 * math.sqrt(end * (1 - end) / n))


def test_of_no_images_anything_may_be_true() -> None:
    assert wilson_interval(0, 0) == (0, 1)


@pytest.mark.parametrize("batch", [1, 7, 40, 1000])
def test_clean_accuracy_is_what_a_plain_loop_counts(
    ensemble: Ensemble, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr("dverge.evaluation.accuracy.BATCH", batch)
    some = load(Split.SAMPLE).subset(slice(3, None, 25))
    assert len(some) == 40
    right = [0, 0, 0, 0]
    for pixels, label in zip(some.images, some.labels.tolist(), strict=True):
        image = (pixels.float() / 255)[None]
        with torch.no_grad():
            each = [member(image).softmax(1)[0] for member in ensemble.members]
        each.append((each[0] + each[1] + each[2]) / 3)
        for i, probabilities in enumerate(each):
            right[i] += int(probabilities.argmax()) == label

    rows = clean_accuracy(ensemble, some)

    assert [row.model for row in rows] == ["member-1", "member-2", "member-3", "mixture"]
    for row, count in zip(rows, right, strict=True):
        assert (row.attack, row.split, row.n) == ("clean", "sample", 40)
        assert row.accuracy == pytest.approx(100 * count / 40)
        low, high = wilson_interval(count, 40)
        assert (row.ci_low, row.ci_high) == pytest.approx((100 * low, 100 * high))
    assert len({row.accuracy for row in rows}) > 1  # else the rows could be mixed up unseen


def test_a_row_is_plain_json(ensemble: Ensemble) -> None:
    row = clean_accuracy(ensemble, load(Split.SAMPLE).subset(slice(5)))[0].to_dict()
    kinds = {name: type(value) for name, value in row.items()}
    assert kinds == {
        "model": str,
        "attack": str,
        "split": Split,
        "n": int,
        "accuracy": float,
        "ci_low": float,
        "ci_high": float,
        "parameters": dict,
        "seconds": float,
    }


# --- the bit for each image ---


def drawn(n: int) -> torch.Tensor:
    return torch.rand(n, generator=torch.Generator().manual_seed(n)) < 0.6


@pytest.mark.parametrize("n", [1, 7, 8, 9, 250, 1000])
def test_bits_come_back(n: int) -> None:
    right = drawn(n)
    row = result_of(right, "mixture", "fgsm", Split.SAMPLE, parameters={"eps": 0.03})
    assert row.right().dtype == torch.bool
    assert row.right().equal(right)
    again = Result(**json.loads(json.dumps(row.to_dict())))
    assert again == row
    assert again.right().equal(right)
    assert len(row.held) == 4 * math.ceil(math.ceil(n / 8) / 3)
    assert row.accuracy == pytest.approx(100 * right.sum().item() / n)


def test_bits_by_hand() -> None:
    right = torch.tensor([1, 0, 1, 1, 0, 0, 0, 1, 0, 1]).bool()
    row = result_of(right, "mixture", "fgsm", Split.SAMPLE)
    assert base64.b64decode(row.held) == bytes([0b10110001, 0b01000000])
    assert row.accuracy == 50
    assert (row.ci_low, row.ci_high) == pytest.approx((23.66, 76.34), abs=0.01)


def test_shares_have_no_bits_and_their_mean() -> None:
    row = result_of(torch.tensor([0.5, 1.0, 0.0, 0.25]).double(), "m", "a", Split.SAMPLE)
    assert row.held == "" and len(row.right()) == 0
    assert "held" not in row.to_dict() and "warnings" not in row.to_dict()
    assert row.accuracy == 100 * 1.75 / 4
    low, high = wilson_interval(1.75, 4)
    assert (row.ci_low, row.ci_high) == pytest.approx((100 * low, 100 * high))


def test_an_accuracy_that_is_not_the_mean_keeps_the_bits() -> None:
    right = drawn(40)
    row = result_of(right, "m", "clean", Split.SAMPLE, share=0.625, warnings=["careful"])
    assert row.accuracy == 62.5
    assert (row.ci_low, row.ci_high) == pytest.approx(
        tuple(100 * end for end in wilson_interval(25, 40))
    )
    assert row.right().equal(right)
    assert row.to_dict()["warnings"] == ["careful"]


def test_answers_are_the_members_and_last_the_mixtures(ensemble: Ensemble) -> None:
    pixels = load(Split.SAMPLE).pixels(slice(3, None, 25))
    found = answers(ensemble, pixels)
    with torch.no_grad():
        each = torch.stack([member(pixels).softmax(1) for member in ensemble.members])
    assert found.equal(torch.stack([*each, each.mean(0)]).argmax(2))
    assert len({tuple(row.tolist()) for row in found}) == 4
    assert found.equal(predictions(ensemble, load(Split.SAMPLE).subset(slice(3, None, 25))))


def test_predictions_leave_no_graph_and_change_nothing(ensemble: Ensemble) -> None:
    ensemble.train()
    found = predictions(ensemble, load(Split.SAMPLE).subset(slice(5)))
    assert found.shape == (4, 5)
    assert ensemble.training
    assert all(parameter.grad is None for parameter in ensemble.parameters())
