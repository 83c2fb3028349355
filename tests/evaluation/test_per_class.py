"""Accuracy by class and the confusion matrix against slow loops."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch
from scipy.stats import binomtest  # type: ignore[import-untyped]  # installed with foolbox

from dverge.data import Split
from dverge.evaluation.per_class import class_shares, confusion
from dverge.results import Result, result_of

N = 301
LABELS = torch.randint(9, (N,), generator=torch.Generator().manual_seed(0))  # no truck


def result(seed: int) -> Result:
    """Two answers in three are right."""
    generator = torch.Generator().manual_seed(seed)
    others = torch.randint(10, (N,), generator=generator)
    predicted = torch.where(torch.rand(N, generator=generator) < 0.6, LABELS, others)
    return result_of(predicted == LABELS, "mixture", "fgsm", Split.TEST, predicted)


def test_confusion_counts_every_image_once() -> None:
    made = result(1)
    pairs = Counter(zip(LABELS.tolist(), made.predicted().tolist(), strict=True))
    found = confusion(made, LABELS)
    assert found.tolist() == [[pairs[true, said] for said in range(10)] for true in range(10)]
    assert int(found.sum()) == N and int(found.trace()) == int(made.right().sum())
    assert (found.diagonal()[:9] > 0).all() and (found.sum(0) > 0).all()


@pytest.mark.parametrize("made", [replace(result(1), answers=""), result(1)])
def test_answers_of_other_images_are_refused(made: Result) -> None:
    with pytest.raises(ValueError, match=rf"{len(made.predicted())} answers are kept of 300"):
        confusion(made, LABELS[:300])


def test_shares_are_of_the_images_of_the_class() -> None:
    counts = confusion(result(2), LABELS)
    shares = class_shares(counts)
    for true in range(9):
        of_class = LABELS.tolist().count(true)
        for said in range(10):
            count = int(counts[true, said])
            ends = binomtest(count, of_class).proportion_ci(0.95, "wilson")
            expected = (100 * count / of_class, 100 * ends.low, 100 * ends.high)
            assert [float(each[true, said]) for each in shares] == pytest.approx(expected)
    assert all(each[9].isnan().all() for each in shares)  # there is no image of the class
