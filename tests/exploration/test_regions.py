"""Decision regions: every point against a plain loop; summary, table and record by hand."""

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
from dverge.models import Ensemble

LINF, L2 = pgd(Norm.LINF, 8 / 255, random_start=False), pgd(Norm.L2, 1.0, random_start=False)
BOTH = pytest.mark.parametrize("config", [LINF, L2], ids=["linf", "l2"])


@BOTH
def test_every_point_is_the_prediction_of_a_plain_loop(
    config: AttackConfig, either: Ensemble, ensemble: Ensemble, images: Tensor
) -> None:
    result = regions(either, images[:1], 3, config, Victim(0), extent=40 * config.eps, points=5)
    axis = result.axis.tolist()
    assert axis == pytest.approx([x * config.eps for x in range(-40, 41, 20)])
    for i, b in enumerate(axis):
        for j, a in enumerate(axis):
            image = (images[:1] + a * result.plane.u + b * result.plane.v).clamp(0, 1)
            probabilities = all_probabilities(ensemble, image)[:, 0]
            expected = probabilities.max(1)
            assert result.classes[:, i, j].equal(expected.indices)
            assert torch.allclose(result.confidence[:, i, j], expected.values, atol=1e-4)
    assert len(result.classes.unique()) > 1


def test_more_points_than_one_batch_are_in_order(ensemble: Ensemble, images: Tensor) -> None:
    plane = attack_plane(ensemble, images[:1], 3, LINF)
    fine = regions_on(plane, ensemble, 3, extent=0.8, points=41)  # 1,681 in two batches
    coarse = regions_on(plane, ensemble, 3, extent=0.8, points=21)
    assert fine.classes[:, ::2, ::2].equal(coarse.classes)
    assert torch.allclose(fine.confidence[:, ::2, ::2], coarse.confidence, atol=1e-5)
    assert len(fine.classes.unique()) > 1


@BOTH
def test_centre_and_end_are_the_predictions_before_and_after(
    config: AttackConfig, ensemble: Ensemble, images: Tensor, labels: Tensor
) -> None:
    image, label = images[:1], int(labels[0])
    plane = attack_plane(ensemble, image, label, config)
    size = plane.path[-1, 0].item()
    result = regions_on(plane, ensemble, label, extent=2 * size, points=5)
    end = attack(ensemble, image, labels[:1], config, MIXTURE).images
    assert result.axis[2] == 0 and result.axis[3].item() == pytest.approx(size)
    for column, x, kept in ((2, image, result.before), (3, end, result.after)):
        expected = all_probabilities(ensemble, x)[:, 0]
        assert result.classes[:, 2, column].equal(expected.argmax(1))
        confidence = expected.max(1).values
        assert torch.allclose(result.confidence[:, 2, column], confidence, atol=1e-4)
        assert torch.allclose(kept, expected, atol=1e-4)


@BOTH
def test_the_points_within_are_the_planes(
    config: AttackConfig, ensemble: Ensemble, images: Tensor
) -> None:
    result = regions(ensemble, images[:1], 3, config, extent=2 * config.eps, points=21)
    for i, b in enumerate(result.axis):
        for j, a in enumerate(result.axis):
            assert result.within[i, j] == result.plane.within(a.view(1), b.view(1))[0]
    assert 1 < result.within.sum() < 441


def test_the_plane_of_one_ensemble_shows_another(ensemble: Ensemble, images: Tensor) -> None:
    other = Ensemble(list(ensemble.members)[:2])
    plane = attack_plane(ensemble, images[:1], 3, LINF, Victim(2))  # the other has no such member
    here, there = (regions_on(plane, each, 3, extent=0.5, points=9) for each in (ensemble, other))
    assert there.classes.shape == (3, 9, 9)
    assert there.classes[:2].equal(here.classes[:2])


def regions_by_hand(plane: Plane, *classes: list[list[int]]) -> Regions:
    axis = torch.linspace(-1, 1, 3, dtype=torch.float64)
    predicted = torch.tensor(classes)
    confidence = torch.arange(predicted.numel()).view(predicted.shape) / predicted.numel()
    within = torch.tensor([[0, 1, 0], [1, 1, 1], [0, 1, 0]], dtype=torch.bool)
    ends = torch.eye(10)[: len(predicted)]
    return Regions(plane, 6, 1.0, axis, predicted, confidence, within, ends, ends.flip(1))


@pytest.fixture(scope="module")
def known(ensemble: Ensemble, images: Tensor) -> Regions:
    """Two models on nine points, five of them in the ball."""
    first, last = [[0, 6, 0], [6, 6, 1], [0, 0, 0]], [[6, 0, 6], [0, 6, 0], [6, 0, 6]]
    return regions_by_hand(attack_plane(ensemble, images[:1], 6, LINF, seed=4), first, last)


def test_what_is_kept_counts_only_points_in_the_ball(known: Regions) -> None:
    assert known.kept().tolist() == pytest.approx([60, 20])
    expected = torch.zeros(2, 10, dtype=torch.float64)
    expected[0, [0, 1, 6]] = torch.tensor([20, 20, 60], dtype=torch.float64)
    expected[1, [0, 6]] = torch.tensor([80, 20], dtype=torch.float64)
    assert torch.allclose(known.shares(), expected)
    assert known.summary() == (
        "Within eps on this plane, the true class frog is kept on 60 % by submodel 1 and 20 % by "
        "the mixture."
    )
    three = regions_by_hand(known.plane, *(known.classes[i].tolist() for i in (0, 1, 1)))
    assert "on 60 % by submodel 1, 20 % by submodel 2 and 20 % by the mixture." in three.summary()


def test_the_table_has_a_line_for_each_model_and_point(known: Regions) -> None:
    head, *lines = csv.reader(io.StringIO(known.to_csv()))
    assert head == ["a", "b", "model", "class", "confidence"]
    assert len(lines) == 18
    for k, (a, b, name, predicted, confidence) in enumerate(lines):
        model, i, j = k // 9, k // 3 % 3, k % 3
        assert [float(a), float(b)] == [j - 1, i - 1]
        assert name == ["submodel 1", "mixture"][model]
        assert predicted == CLASSES[int(known.classes[model, i, j])]
        assert float(confidence) == pytest.approx(k / 18, abs=1e-6)


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


def test_the_record_names_a_target(ensemble: Ensemble, images: Tensor) -> None:
    config = pgd(Norm.LINF, 8 / 255, targeted=True)
    result = regions(ensemble, images[:1], 3, config, target=1, extent=0.1, points=3)
    assert result.to_dict()["target_class"] == "automobile"


@pytest.mark.parametrize(
    ("changed", "message"),
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
    changed: dict[str, Any], message: str, ensemble: Ensemble, images: Tensor
) -> None:
    settings: dict[str, Any] = {"label": 3, "config": LINF, "extent": 0.1, "points": 5}
    with pytest.raises(ConfigError, match=message):
        regions(ensemble, images[:1], **(settings | changed))
