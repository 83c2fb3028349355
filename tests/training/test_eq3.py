"""Eq. 3, whose loss has no lower bound: it diverges as the report says, unless it is capped."""

from __future__ import annotations

from typing import Any

import pytest

from dverge.errors import TrainingError
from dverge.training import Method
from tests.training.small import MakeTraining, epochs

EQ3: dict[str, Any] = {"method": Method.DVERGE, "diversity": "eq3", "clean_weight": 1}
HARD: dict[str, Any] = {**EQ3, "alpha": 10, "learning_rate": 0.05, "epochs": 20}


def test_without_a_cap_it_diverges_and_the_mend_is_named(training: MakeTraining) -> None:
    message = (
        r"the loss of submodel \d became (nan|-inf) in epoch \d+: the training diverged\. The "
        r"report warns of it: the loss of Eq\. 3 has no lower bound\. Set a cap \(now 0\), lower "
        r"alpha \(10\), or take Eq\. 4\."
    )
    with pytest.raises(TrainingError, match=message):
        epochs(training(**HARD))


def test_before_that_the_targets_are_unlearnt_epoch_by_epoch(training: MakeTraining) -> None:
    found = epochs(training(**{**HARD, "learning_rate": 0.01, "epochs": 5}))
    for of_member in zip(*(metrics.terms["diversity"] for metrics in found), strict=True):
        assert list(of_member) == sorted(of_member)
        assert of_member[-1] > of_member[0] + 0.05
    assert max(found[-1].train_loss) < max(found[0].train_loss) < 0


@pytest.mark.parametrize("cap", [3.0, 20.0])
def test_with_a_cap_the_same_settings_stay_finite(cap: float, training: MakeTraining) -> None:
    found = epochs(training(**HARD, cap=cap))
    for metrics in found:
        assert max(metrics.terms["diversity"]) <= cap + 1e-6
    assert max(found[-1].terms["diversity"]) > 0.7 * cap  # it did press against the cap


def test_of_eq4_none_is_told(training: MakeTraining) -> None:
    with pytest.raises(TrainingError, match=r"diverged\. Lower the learning rate \(9\)\.$"):
        epochs(training(Method.DVERGE, learning_rate=9, weight_decay=1, epochs=50))
