"""Decision regions: every point held against a plain loop, and what is told of them."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
import torch
from torch import Tensor

from dverge.attacks import MIXTURE, AttackConfig, Norm, Victim, all_probabilities, attack, pgd
from dverge.data import CLASSES
from dverge.errors import ConfigError
from dverge.exploration.plane import Plane, attack_plane
from dverge.exploration.regions import Regions, regions, regions_on
from dverge.models import Ensemble, compiled

LINF, L2 = pgd(Norm.LINF, 8 / 255, random_start=False), pgd(Norm.L2, 1.0, random_start=False)
BOTH = pytest.mark.parametrize("config", [LINF, L2], ids=["linf", "l2"])


@BOTH
@pytest.mark.parametrize("fast", [False, True], ids=["plain", "compiled"])
def test_a_plain_loop_says_the_same(
    fast: bool, config: AttackConfig, ensemble: Ensemble, images: Tensor
) -> None:
    asked = compiled(ensemble) if fast else ensemble
    found = regions(asked, images[:1], 3, config, Victim(0), extent=40 * config.eps, points=5)
    plane, seen = found.plane, set()
    for i, b in enumerate(found.axis.tolist()):
        for j, a in enumerate(found.axis.tolist()):
            image = (images[:1] + a * plane.u + b * plane.v).clamp(0, 1)
            probabilities = all_probabilities(ensemble, image)[:, 0]
            says = probabilities.argmax(1)
            assert found.classes[:, i, j].equal(says)
            assert torch.allclose(found.confidence[:, i, j], probabilities.max(1).values, atol=1e-4)
            seen |= set(says.tolist())
    assert len(seen) > 1
    assert found.axis.tolist() == pytest.approx([x * config.eps for x in range(-40, 41, 20)])


def test_more_points_than_one_batch_are_in_order(ensemble: Ensemble, images: Tensor) -> None:
    fine = regions(ensemble, images[:1], 3, LINF, extent=0.8, points=41)  # 1,681 in two batches
    coarse = regions(ensemble, images[:1], 3, LINF, extent=0.8, points=21)
    assert fine.classes[:, ::2, ::2].equal(coarse.classes)
    assert torch.allclose(fine.confidence[:, ::2, ::2], coarse.confidence, atol=1e-5)
    assert len(fine.classes.unique()) > 1


@BOTH
def test_centre_and_end_are_what_the_models_say_before_and_after(
    config: AttackConfig, ensemble: Ensemble, images: Tensor, labels: Tensor
) -> None:
    image, label = images[:1], int(labels[0])
    size = attack_plane(ensemble, image, label, config).path[-1, 0].item()
    found = regions(ensemble, image, label, config, extent=2 * size, points=5)
    end = attack(ensemble, image, labels[:1], config, MIXTURE).images
    before, after = (all_probabilities(ensemble, x)[:, 0] for x in (image, end))
    assert found.axis[2] == 0 and found.axis[3].item() == pytest.approx(size)
    for column, due, told in ((2, before, found.before), (3, after, found.after)):
        assert found.classes[:, 2, column].equal(due.argmax(1))
        assert torch.allclose(found.confidence[:, 2, column], due.max(1).values, atol=1e-4)
        assert torch.allclose(told, due, atol=1e-4)


@BOTH
def test_the_points_within_are_the_planes(
    config: AttackConfig, ensemble: Ensemble, images: Tensor
) -> None:
    found = regions(ensemble, images[:1], 3, config, extent=2 * config.eps, points=21)
    for i, b in enumerate(found.axis):
        for j, a in enumerate(found.axis):
            assert found.within[i, j] == found.plane.within(a.view(1), b.view(1))[0]
    assert 1 < found.within.sum() < 441


def test_the_plane_of_one_ensemble_shows_another(ensemble: Ensemble, images: Tensor) -> None:
    other = Ensemble(list(ensemble.members)[:2])
    plane = attack_plane(ensemble, images[:1], 3, LINF, Victim(2))  # the other has no such member
    here, there = (regions_on(plane, each, 3, extent=0.5, points=9) for each in (ensemble, other))
    assert there.classes.shape == (3, 9, 9)
    assert there.classes[:2].equal(here.classes[:2])


def made(plane: Plane, classes: list[list[list[int]]]) -> Regions:
    axis = torch.linspace(-1, 1, 3, dtype=torch.float64)
    said = torch.tensor(classes)
    sure = torch.arange(said.numel()).view(said.shape) / said.numel()
    within = torch.tensor([[0, 1, 0], [1, 1, 1], [0, 1, 0]], dtype=torch.bool)
    at_ends = torch.eye(10)[: len(said)]
    return Regions(plane, 6, 1.0, axis, said, sure, within, at_ends, at_ends.flip(1))


@pytest.fixture
def known(ensemble: Ensemble, images: Tensor) -> Regions:
    """Two models on nine points, five of them in the ball."""
    first, last = [[0, 6, 0], [6, 6, 1], [0, 0, 0]], [[6, 0, 6], [0, 6, 0], [6, 0, 6]]
    return made(attack_plane(ensemble, images[:1], 6, LINF, seed=4), [first, last])


def test_what_is_kept_counts_only_points_in_the_ball(known: Regions) -> None:
    assert known.kept().tolist() == pytest.approx([60, 20])
    due = torch.zeros(2, 10, dtype=torch.float64)
    due[0, [0, 1, 6]] = torch.tensor([20, 20, 60], dtype=torch.float64)
    due[1, [0, 6]] = torch.tensor([80, 20], dtype=torch.float64)
    assert torch.allclose(known.shares(), due)
    assert known.summary() == (
        "Within eps on this plane, the true class frog is kept on 60 % by submodel 1 and 20 % by "
        "the mixture."
    )
    three = made(known.plane, [known.classes[i].tolist() for i in (0, 1, 1)])
    assert "on 60 % by submodel 1, 20 % by submodel 2 and 20 % by the mixture." in three.summary()


def test_the_table_has_a_line_a_point_and_model(known: Regions) -> None:
    lines = list(csv.reader(io.StringIO(known.to_csv())))
    assert lines.pop(0) == ["a", "b", "model", "class", "confidence"]
    expected = iter(lines)
    for model, name in enumerate(["submodel 1", "mixture"]):
        for i, b in enumerate((-1, 0, 1)):
            for j, a in enumerate((-1, 0, 1)):
                line = next(expected)
                assert [float(line[0]), float(line[1])] == [a, b]
                assert line[2:4] == [name, CLASSES[int(known.classes[model, i, j])]]
                assert float(line[4]) == pytest.approx((9 * model + 3 * i + j) / 18, abs=1e-6)
    assert next(expected, None) is None


def test_the_record_is_json_of_all_settings_and_answers(known: Regions) -> None:
    record = json.loads(json.dumps(known.to_dict(), allow_nan=False))
    assert record["attack"]["eps"] == LINF.eps and record["attack"]["steps"] == 10
    assert (record["victim"], record["direction_seed"]) == ("mixture", 4)
    assert (record["true_class"], record["target_class"]) == ("frog", None)
    assert record["points_in_ball"] == 5
    assert record["a"] == record["b"] == [-1, 0, 1]
    assert record["path"][-1] == known.plane.path[-1].tolist()
    first, last = record["models"]
    assert (first["model"], last["model"]) == ("submodel 1", "mixture")
    assert first["kept_percent"] == pytest.approx(60)
    assert first["class"][1] == ["frog", "frog", "automobile"]
    assert last["confidence"][2][2] == pytest.approx(17 / 18, abs=1e-6)
    assert first["before"]["airplane"] == 1 and first["after"]["truck"] == 1


def test_a_target_is_told(ensemble: Ensemble, images: Tensor) -> None:
    config = pgd(Norm.LINF, 8 / 255, targeted=True)
    found = regions(ensemble, images[:1], 3, config, target=1, extent=0.1, points=3)
    assert found.to_dict()["target_class"] == "automobile"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"points": 4}, "points is 4; it must be odd"),
        ({"points": 1}, "points is 1; it must be a whole number from 3 to 301"),
        ({"points": 303}, "points is 303"),
        ({"extent": 0.0}, "extent is 0.0; it must be a number above 0"),
        ({"extent": float("nan")}, "extent is nan"),
        ({"extent": float("inf")}, "extent is inf"),
        ({"label": 10}, "true class is 10; classes are 0 to 9"),
        ({"target": 1}, "only a targeted one has it"),
        ({"victim": Victim(3)}, "victim is member 4"),
        ({"config": pgd(Norm.LINF, 0.0)}, "leaves the image as it is"),
    ],
)
def test_what_cannot_be_drawn_is_refused(
    more: dict[str, Any], words: str, ensemble: Ensemble, images: Tensor
) -> None:
    settings: dict[str, Any] = {"label": 3, "config": LINF, "extent": 0.1, "points": 5}
    with pytest.raises(ConfigError, match=words):
        regions(ensemble, images[:1], **(settings | more))
