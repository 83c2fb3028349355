"""What models answer on images, against a plain loop."""

from __future__ import annotations

import pytest
import torch

from dverge.data import ImageSet, Split, load
from dverge.evaluation.predictions import answers, clean_accuracy, predictions
from dverge.models import Ensemble
from dverge.results import wilson_interval


@pytest.fixture(scope="module")
def forty() -> ImageSet:
    return load(Split.SAMPLE).subset(slice(3, None, 25))


@pytest.mark.parametrize("batch", [1, 7, 40, 1000])
def test_answers_and_clean_accuracy_are_a_plain_loops(
    ensemble: Ensemble, forty: ImageSet, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr("dverge.evaluation.predictions.BATCH", batch)
    expected: list[list[int]] = [[], [], [], []]
    for pixels in forty.images:
        image = (pixels.float() / 255)[None]
        with torch.no_grad():
            each = [member(image).softmax(1)[0] for member in ensemble.members]
        each.append((each[0] + each[1] + each[2]) / 3)
        for model, probabilities in enumerate(each):
            expected[model].append(int(probabilities.argmax()))

    assert predictions(ensemble, forty).tolist() == expected
    assert answers(ensemble, forty.pixels()).tolist() == expected
    results = clean_accuracy(ensemble, forty)

    assert [each.model for each in results] == ["member-1", "member-2", "member-3", "mixture"]
    assert len({result.accuracy for result in results}) > 1  # else they could be mixed up unseen
    for result, classes in zip(results, expected, strict=True):
        count = int((torch.tensor(classes) == forty.labels).sum())
        assert (result.attack, result.split, result.n) == ("clean", "sample", 40)
        assert result.accuracy == pytest.approx(100 * count / 40)
        low, high = wilson_interval(count, 40)
        assert (result.ci_low, result.ci_high) == pytest.approx((100 * low, 100 * high))


def test_predictions_leave_no_graph_and_change_nothing(ensemble: Ensemble) -> None:
    ensemble.train()
    classes = predictions(ensemble, load(Split.SAMPLE).subset(slice(5)))
    assert classes.shape == (4, 5)
    assert ensemble.training
    assert all(parameter.grad is None for parameter in ensemble.parameters())
