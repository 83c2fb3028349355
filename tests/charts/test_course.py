"""The course of an attack: every step's figures, and a rule at the one that is looked at."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dverge.attacks import AttackConfig, Norm, Victim
from dverge.charts.course import course_chart, course_frame, loss_chart, loss_frame
from dverge.exploration.examine import Examination, examine
from dverge.models import Ensemble

CONFIG = AttackConfig(Norm.LINF, 0.05, 0.02, 3)


@pytest.fixture
def outcome(ensemble: Ensemble, images: Tensor) -> Examination:
    return examine(ensemble, images[:1], 3, CONFIG, Victim(1))


def test_probabilities_are_those_of_each_iterate(ensemble: Ensemble, outcome: Examination) -> None:
    frame = course_frame(outcome)
    assert len(frame) == 4 * 4
    for row in frame.to_dict("records"):
        image = outcome.course.images[row["step"]]
        with torch.no_grad():
            each = torch.stack([member(image).softmax(1)[0, 3] for member in ensemble.members])
        said = dict(zip(["submodel 1", "submodel 2", "submodel 3"], each.tolist(), strict=True))
        said["mixture"] = float(each.mean())
        assert row["probability"] == pytest.approx(100 * said[row["model"]], abs=1e-3)


@pytest.mark.parametrize("target", [None, 5])
def test_losses_are_the_victims_cross_entropies(
    ensemble: Ensemble, images: Tensor, target: int | None
) -> None:
    config = AttackConfig(Norm.LINF, 0.05, 0.02, 3, targeted=target is not None)
    outcome = examine(ensemble, images[:1], 3, config, Victim(1), target)
    frame = loss_frame(outcome)
    aim = torch.tensor([3 if target is None else target])
    for step, image in enumerate(outcome.course.images):
        with torch.no_grad():
            due = float(F.cross_entropy(ensemble.members[1](image), aim))
        assert frame["loss"][step] == pytest.approx(due, rel=1e-4)
    assert bool(frame["loss"].iloc[-1] > frame["loss"][0]) == (target is None)


def test_both_charts_have_the_rule_at_the_step(outcome: Examination) -> None:
    for chart in (
        course_chart(course_frame(outcome), "#123456", 2),
        loss_chart(loss_frame(outcome), "#123456", 2),
    ):
        spec = chart.to_dict()
        (rule,) = [layer for layer in spec["layer"] if layer["mark"]["type"] == "rule"]
        assert spec["datasets"][rule["data"]["name"]] == [{"step": 2}]
        scales = [layer["encoding"]["x"].get("scale") for layer in spec["layer"]]
        assert {"domain": [0, 3], "nice": False} in scales
