"""One pair's distilled features, compared with Eq. 1 alone; predictions and counts by hand."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import replace
from math import isnan
from typing import Any

import pytest
import torch
from torch import Tensor

from dverge.attacks import REPORT_DISTILLATION, AttackConfig, Norm, distill
from dverge.data import Split, load
from dverge.errors import ConfigError
from dverge.evaluation.diversity import Pairs, diversity, draw_pairs
from dverge.exploration.distilled import Distilled, Says, distilled, one_pair
from dverge.models import Conv, Ensemble
from tests.exploration.examples import CAT, DOG, FROG, SHIP, distilled_by_hand, sample_image


@pytest.fixture(scope="module")
def result(either: Ensemble, pair: Pairs) -> Distilled:
    return distilled(either, pair)


def test_every_feature_is_distilled_as_if_alone(
    either: Ensemble, pair: Pairs, result: Distilled
) -> None:
    assert result.config == REPORT_DISTILLATION
    assert result.images.shape == (3, 5, 11, 3, 32, 32)
    source, target = pair.sources.pixels(), pair.targets.pixels()
    for i, member in enumerate(either.members):
        for layer in range(1, 6):
            alone = distill(member, source, target, layer)  # type: ignore[arg-type]
            assert result.images[i, layer - 1, -1].equal(alone[0])
            assert result.images[i, layer - 1, 0].equal(source[0])


def plain_distance(member: Conv, one: Tensor, target: Tensor, layer: int) -> float:
    with torch.no_grad():
        difference = member.features(one[None], layer) - member.features(target, layer)
    return sum(float(value) ** 2 for value in difference.flatten().double())


def test_distances_are_those_of_a_plain_loop_and_fall(
    ensemble: Ensemble, pair: Pairs, result: Distilled
) -> None:
    target = pair.targets.pixels()
    for i, member in enumerate(ensemble.members):
        assert isinstance(member, Conv)
        for layer in (1, 3, 5):
            expected = [
                plain_distance(member, x, target, layer) for x in result.images[i, layer - 1]
            ]
            assert result.distances[i, layer - 1].tolist() == pytest.approx(expected, rel=1e-3)
            share = [100 * each / expected[0] for each in expected]
            assert result.course()[i, layer - 1].tolist() == pytest.approx(share, rel=1e-3)
    assert (result.distances.diff(dim=2)[:, :2] < 0).all()  # the logits' steps may overshoot
    assert (result.course()[:, :, -1] < 95).all()


def test_predictions_are_every_members_and_their_mean(
    ensemble: Ensemble, pair: Pairs, result: Distilled
) -> None:
    ends = torch.cat([pair.sources.pixels(), pair.targets.pixels()])
    steps = ((0, 1, 0), (1, 3, 2), (2, 5, 10))
    features = torch.stack([result.images[i, layer - 1, step] for i, layer, step in steps])
    log_probs = [result.log_probs[i, layer - 1, step] for i, layer, step in steps]
    with torch.no_grad():
        x = torch.cat([ends, features])
        members = torch.stack([m(x).double().softmax(1) for m in ensemble.members], 1)
    expected = torch.cat([members, members.mean(1, keepdim=True)], 1)
    actual = torch.cat([result.unchanged, torch.stack(log_probs)]).exp()
    torch.testing.assert_close(actual, expected, atol=1e-4, rtol=0)
    assert result.unchanged[0].equal(result.log_probs[0, 0, 0])
    assert result.classes(2).equal(result.log_probs[:, :, 2].argmax(3))
    assert result.classes().equal(result.classes(10))


def test_eq_2_equals_the_diversity_of_the_pair(
    either: Ensemble, pair: Pairs, result: Distilled
) -> None:
    actual, expected = result.diversity(), diversity(either, pair)
    assert actual.loss.shape == expected.loss.shape == (5, 3, 3, 1)
    torch.testing.assert_close(actual.loss, expected.loss, rtol=1e-6, atol=1e-9)
    assert actual.sees_target.equal(expected.sees_target)
    for layer in (None, 1, 5):
        matrices = actual.matrix(layer), expected.matrix(layer)
        torch.testing.assert_close(*matrices, rtol=1e-6, atol=1e-9)
    matrix = expected.matrix().tolist()
    assert result.loss() == pytest.approx((matrix[0][1] + matrix[0][2] + matrix[1][2]) / 3)


def test_a_pair_is_correct_if_every_member_classifies_both_images_correctly(
    result: Distilled,
) -> None:
    right = torch.zeros_like(result.unchanged)
    right[0, :, result.source], right[1, :, result.target] = 1, 1
    assert replace(result, unchanged=right).is_correct
    for end, member in ((0, 0), (0, 2), (1, 1)):
        one_wrong = right.clone()
        one_wrong[end, member, DOG] = 2
        assert not replace(result, unchanged=one_wrong).is_correct


def test_everything_is_plain_json(pair: Pairs, result: Distilled) -> None:
    record = json.loads(json.dumps(result.to_dict()))
    assert record["distillation"]["eps"] == 0.07 and record["distillation"]["steps"] == 10
    assert record["source"]["class"] == "frog" and record["target"]["class"] == "cat"
    assert record["source"]["number"] == int(pair.sources.indices[0])
    assert record["target"]["digest"] == pair.targets.digest
    assert record["models"] == ["submodel 1", "submodel 2", "submodel 3", "mixture"]
    assert len(record["features"]) == 15
    feature = record["features"][7]  # the second submodel's third layer
    assert (feature["distilled_on"], feature["layer"]) == ("submodel 2", 3)
    assert feature["squared_distance"] == result.distances[1, 2].tolist()
    probabilities = torch.tensor(feature["probabilities"]).double()
    torch.testing.assert_close(probabilities, result.log_probs[1, 2].exp(), atol=1e-6, rtol=0)
    assert feature["says"] == [str(result.says(c)) for c in result.classes()[1, 2].tolist()]
    assert record["eq2_nats"] == result.diversity().matrix().tolist()


def test_the_ensemble_is_left_as_it_is(ensemble: Ensemble, pair: Pairs) -> None:
    own = deepcopy(ensemble).train()
    distilled(own, pair, AttackConfig(Norm.LINF, 0.1, 0.05, 2))
    assert own.training
    assert all(a.equal(b) for a, b in zip(own.parameters(), ensemble.parameters(), strict=True))
    assert all(parameter.grad is None for parameter in own.parameters())


def test_counts_by_hand() -> None:
    # Member 1: its own features but layer 1; member 2: none of its own, but layers 4 and 5 of 1.
    target = {
        (0, 2, 0),
        (0, 3, 0),
        (0, 4, 0),
        (0, 5, 0),
        (0, 4, 1),
        (0, 5, 1),
        (1, 2, 0),
        (0, 5, 2),
    }
    result = distilled_by_hand(lambda *at: CAT if at in target else FROG if at[1] == 1 else SHIP)
    counts = result.counts()
    assert (counts.own, counts.own_of) == (4, 10)
    assert (counts.others, counts.others_of) == (3, 10)
    assert (counts.mixture, counts.mixture_of) == (1, 10)
    fifth = result.counts(layer=5)
    assert (fifth.own, fifth.own_of, fifth.others, fifth.others_of) == (1, 2, 1, 2)
    assert (fifth.mixture, fifth.mixture_of) == (1, 2)
    assert result.counts(step=1).own == result.counts(0).others == 0
    assert result.course()[0, 0].tolist() == [100, 50, 25]
    assert replace(result, distances=result.distances * 0).course().eq(0).all()  # no way to go
    assert [result.says(c) for c in (CAT, FROG, SHIP)] == [Says.TARGET, Says.SOURCE, Says.OTHER]


def test_eq_2_by_hand() -> None:
    """The loss of member j on member i's feature is 0.5 + i + 10 j: d(1, 2) = ½ (10.5 + 1.5)."""
    result = distilled_by_hand(lambda i, layer, j: CAT)
    assert result.loss() == pytest.approx(6)
    assert result.diversity().matrix().flatten().tolist() == pytest.approx([0.5, 6, 6, 11.5])
    assert result.diversity(1).loss.eq(99).all()


def test_one_member_has_no_others() -> None:
    result = distilled_by_hand(lambda i, layer, j: CAT, members=1)
    counts = result.counts()
    assert (counts.own, counts.own_of, counts.others, counts.others_of) == (5, 5, 0, 0)
    assert isnan(result.loss())


@pytest.mark.parametrize("step", [-1, 3, 1.0])
def test_other_steps_are_refused(step: Any) -> None:
    result = distilled_by_hand(lambda i, layer, j: CAT)
    for method in (result.classes, result.counts, result.diversity):
        with pytest.raises(ConfigError, match=r"step is .*; it must be a whole number from 0 to 2"):
            method(step)


@pytest.mark.parametrize("layer", [0, 6])
def test_other_layers_are_refused(layer: int) -> None:
    with pytest.raises(ConfigError, match="layer is"):
        distilled_by_hand(lambda i, layer, j: CAT).counts(layer=layer)


def test_what_is_no_pair_or_has_restarts_is_refused(ensemble: Ensemble, pair: Pairs) -> None:
    two = load(Split.SAMPLE).subset([0, 1])
    with pytest.raises(ConfigError, match="are both of class frog; choose a target of another"):
        one_pair(sample_image(FROG), sample_image(FROG, 1))
    with pytest.raises(ConfigError, match="the number of targets is 2; it must be 1"):
        one_pair(sample_image(FROG), two)
    with pytest.raises(ConfigError, match="the number of pairs is 2; it must be 1"):
        distilled(ensemble, draw_pairs(load(Split.SAMPLE), 2, 0))
    restarts = AttackConfig(Norm.LINF, 0.1, 0.03, 4, random_start=True, restarts=2)
    with pytest.raises(ConfigError, match="restarts is 2"):
        distilled(ensemble, pair, restarts)
