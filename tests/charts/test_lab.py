"""Charts of one attacked image: probabilities, losses and budgets are the examination's own."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dverge.attacks import AttackConfig, Norm, StrongConfig, Victim
from dverge.charts.lab import (
    budget_chart,
    budget_frame,
    class_chart,
    class_frame,
    course_chart,
    course_frame,
    loss_chart,
    loss_frame,
    objective_title,
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
    frame, classes = course_frame(examination), {"true class": 3, "target": 5}
    targeted = examination.target is not None
    assert list(dict.fromkeys(frame["role"])) == list(classes)[: 1 + targeted]
    assert len(frame) == 4 * 4 * (1 + targeted)
    for row in frame.to_dict("records"):
        image, label = examination.course.images[row["step"]], classes[row["role"]]
        with torch.no_grad():
            each = torch.stack([member(image).softmax(1)[0, label] for member in ensemble.members])
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


def test_the_margin_of_the_strong_attack(ensemble: Ensemble, images: Tensor) -> None:
    with torch.no_grad():
        label = int(ensemble.members[1](images[:1]).argmax())
    config = StrongConfig(Norm.LINF, 0.0005)
    examination = examine(ensemble, images[:1], label, config, Victim(1), number=4)
    assert examination.attempt == 6  # towards the class that comes sixth
    frame = loss_frame(examination)
    assert objective_title(config) == "Margin"
    with torch.no_grad():
        scores = ensemble.members[1](images[:1])[0]
        order = [i for i in scores.argsort(descending=True).tolist() if i != label]
        for step, image in enumerate(examination.course.images):
            now = ensemble.members[1](image)[0]
            assert frame["loss"][step] == pytest.approx(float(now[order[5]] - now[label]), abs=1e-4)


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
    "a": [
        SmallestEps("member-1", 2 / 255, 1 / 255, IMAGE, True),
        SmallestEps("mixture", 0.0, 0, IMAGE),
    ],
    "b": [
        SmallestEps("member-1", 30.4 / 255, 0, IMAGE, False),
        SmallestEps("mixture", None, 0.5, IMAGE),
    ],
}


def test_budgets_in_255ths() -> None:
    frame = budget_frame(BUDGETS, Norm.LINF)
    assert frame["ensemble"].tolist() == ["a", "a", "b", "b"]
    assert frame["model"].tolist() == ["submodel 1", "mixture"] * 2
    assert frame["eps"].tolist() == pytest.approx([2, 0, 30.4, 127.5])
    labels = ["2/255", "wrong before the attack", "30/255", "more than 128/255"]
    assert frame["label"].tolist() == labels
    assert frame["survives"].tolist() == [True, None, False, None]
    already = {"a": [SmallestEps("mixture", 0.0, 0, IMAGE, target=3)]}
    assert budget_frame(already, Norm.LINF)["label"][0] == "said the target before the attack"
    colours = {"a": "#111111", "b": "#222222"}
    encoding = budget_chart(frame, colours, Norm.LINF).to_dict()["layer"][0]["encoding"]
    scale = {"domain": ["a", "b"], "range": ["#111111", "#222222"]}
    assert encoding["color"]["scale"] == scale
    assert "of 255" in encoding["x"]["title"]


def test_budgets_in_l2_are_in_their_own_unit() -> None:
    frame = budget_frame({"a": [SmallestEps("mixture", 0.125, 0.1, IMAGE)]}, Norm.L2)
    assert frame["eps"].tolist() == [0.125] and frame["label"].tolist() == ["0.12"]
