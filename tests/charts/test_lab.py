"""Charts of one attacked image: probabilities, losses and budgets are the examination's own."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dverge.attacks import AttackConfig, Norm, Victim
from dverge.charts.lab import (
    budget_chart,
    budget_frame,
    class_chart,
    class_frame,
    course_chart,
    course_frame,
    loss_chart,
    loss_frame,
)
from dverge.exploration.examine import Examination, examine
from dverge.exploration.smallest import SmallestEps
from dverge.models import Ensemble


@pytest.fixture(scope="module", params=[None, 5], ids=["untargeted", "targeted"])
def examination(request: pytest.FixtureRequest, ensemble: Ensemble, images: Tensor) -> Examination:
    config = AttackConfig(Norm.LINF, 0.05, 0.02, 3, targeted=request.param is not None)
    return examine(ensemble, images[:1], 3, config, Victim(1), request.param)


def test_classes_have_the_probabilities_before_and_after(examination: Examination) -> None:
    frame = class_frame(examination, model=3)  # the mixture
    assert frame["before"].tolist() == pytest.approx((100 * examination.before[3]).tolist())
    assert frame["after"].sum() == pytest.approx(100, abs=1e-3)
    target = "" if examination.target is None else "target"
    assert frame["role"].tolist()[3:6] == ["true class", "", target]
    assert class_chart(frame, "#5B7C99").to_dict()


def test_the_course_is_of_each_iterate(ensemble: Ensemble, examination: Examination) -> None:
    frame = course_frame(examination)
    assert len(frame) == 4 * 4
    for row in frame.to_dict("records"):
        image = examination.course.images[row["step"]]
        with torch.no_grad():
            each = torch.stack([member(image).softmax(1)[0, 3] for member in ensemble.members])
        names = ["submodel 1", "submodel 2", "submodel 3", "mixture"]
        expected = dict(zip(names, [*each.tolist(), float(each.mean())], strict=True))
        assert row["probability"] == pytest.approx(100 * expected[row["model"]], abs=1e-3)


def test_losses_are_the_victims_cross_entropies(
    ensemble: Ensemble, examination: Examination
) -> None:
    frame, target = loss_frame(examination), examination.target
    label = torch.tensor([3 if target is None else target])
    for step, image in enumerate(examination.course.images):
        with torch.no_grad():
            expected = float(F.cross_entropy(ensemble.members[1](image), label))
        assert frame["loss"][step] == pytest.approx(expected, rel=1e-4)
    assert bool(frame["loss"].iloc[-1] > frame["loss"][0]) == (target is None)


def test_both_charts_have_the_rule_at_the_step(examination: Examination) -> None:
    for chart in (
        course_chart(course_frame(examination), "#123456", 2),
        loss_chart(loss_frame(examination), "#123456", 2),
    ):
        spec = chart.to_dict()
        (rule,) = [layer for layer in spec["layer"] if layer["mark"]["type"] == "rule"]
        assert spec["datasets"][rule["data"]["name"]] == [{"step": 2}]
        scales = [layer["encoding"]["x"].get("scale") for layer in spec["layer"]]
        assert {"domain": [0, 3], "nice": False} in scales


IMAGE = torch.zeros(1, 3, 32, 32)
BUDGETS = {
    "a": [SmallestEps("member-1", 2 / 255, 1 / 255, IMAGE), SmallestEps("mixture", 0.0, 0, IMAGE)],
    "b": [SmallestEps("member-1", 30.4 / 255, 0, IMAGE), SmallestEps("mixture", None, 0.5, IMAGE)],
}


def test_budgets_in_255ths() -> None:
    frame = budget_frame(BUDGETS, Norm.LINF)
    assert frame["ensemble"].tolist() == ["a", "a", "b", "b"]
    assert frame["model"].tolist() == ["submodel 1", "mixture"] * 2
    assert frame["eps"].tolist() == pytest.approx([2, 0, 30.4, 127.5])
    labels = ["2/255", "wrong before the attack", "30/255", "more than 128/255"]
    assert frame["label"].tolist() == labels
    colours = {"a": "#111111", "b": "#222222"}
    encoding = budget_chart(frame, colours, Norm.LINF).to_dict()["layer"][0]["encoding"]
    scale = {"domain": ["a", "b"], "range": ["#111111", "#222222"]}
    assert encoding["color"]["scale"] == scale
    assert "of 255" in encoding["x"]["title"]


def test_budgets_in_l2_are_in_their_own_unit() -> None:
    frame = budget_frame({"a": [SmallestEps("mixture", 0.125, 0.1, IMAGE)]}, Norm.L2)
    assert frame["eps"].tolist() == [0.125] and frame["label"].tolist() == ["0.12"]
