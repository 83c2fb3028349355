"""Accuracies against a plain loop, and their intervals against scipy."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import binomtest  # type: ignore[import-untyped]  # comes with foolbox

from dverge.data import Split, load
from dverge.evaluation import clean_accuracy, predictions, wilson_interval
from dverge.models import Ensemble


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
    }


def test_predictions_leave_no_graph_and_change_nothing(ensemble: Ensemble) -> None:
    ensemble.train()
    found = predictions(ensemble, load(Split.SAMPLE).subset(slice(5)))
    assert found.shape == (4, 5)
    assert ensemble.training
    assert all(parameter.grad is None for parameter in ensemble.parameters())
