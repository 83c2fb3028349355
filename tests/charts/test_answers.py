"""The chart of all classes holds the examination's probabilities."""

from __future__ import annotations

import pytest
from torch import Tensor

from dverge.attacks import fgsm
from dverge.charts.answers import class_chart, class_frame
from dverge.exploration.examine import examine
from dverge.models import Ensemble


def test_frame_holds_the_probabilities(ensemble: Ensemble, images: Tensor) -> None:
    outcome = examine(ensemble, images[:1], 3, fgsm(0.03, targeted=True), target=5)
    frame = class_frame(outcome, model=3)  # the mixture
    assert frame["before"].tolist() == pytest.approx((100 * outcome.before[3]).tolist())
    assert frame["after"].sum() == pytest.approx(100, abs=1e-3)
    assert frame["role"].tolist()[3:6] == ["true class", "", "target"]
    assert class_chart(frame, "#5B7C99").to_dict()
