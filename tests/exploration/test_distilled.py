"""One pair's distilled features: each held against Eq. 1 alone, answers and counts by hand."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from dverge.attacks import REPORT_DISTILLATION, AttackConfig, Norm, distill
from dverge.data import ImageSet, Split, load
from dverge.errors import ConfigError
from dverge.evaluation.diversity import Pairs, diversity, draw_pairs
from dverge.exploration.distilled import Distilled, Says, distilled, one_pair
from dverge.models import Conv, Ensemble, compiled

FROG, CAT, DOG, SHIP = 6, 3, 5, 8
SHORT = AttackConfig(Norm.LINF, 0.1, 0.03, 4)
BOTH = pytest.mark.parametrize("fast", [False, True], ids=["plain", "compiled"])


def image(label: int, place: int = 0) -> ImageSet:
    """The place-th sample image of a class."""
    images = load(Split.SAMPLE)
    return images.subset([int((images.labels == label).nonzero()[place])])


@pytest.fixture
def pair() -> Pairs:
    return one_pair(image(FROG), image(CAT))


@BOTH
def test_each_is_what_distilling_it_alone_gives(
    fast: bool, ensemble: Ensemble, pair: Pairs
) -> None:
    asked = compiled(ensemble) if fast else ensemble
    found = distilled(asked, pair, SHORT)
    assert found.images.shape == (3, 5, 5, 3, 32, 32)
    source, target = pair.sources.pixels(), pair.targets.pixels()
    for i, member in enumerate(asked.members):
        assert isinstance(member, Conv) or fast
        for layer in range(1, 6):
            due = distill(member, source, target, layer, SHORT)  # type: ignore[arg-type]
            assert found.images[i, layer - 1, -1].equal(due[0])
            assert found.images[i, layer - 1, 0].equal(source[0])


def plain_distance(member: Conv, one: Tensor, target: Tensor, layer: int) -> float:
    with torch.no_grad():
        difference = member.features(one[None], layer) - member.features(target, layer)
    return sum(float(value) ** 2 for value in difference.flatten().double())


@BOTH
def test_distances_are_those_of_a_plain_loop_and_fall(
    fast: bool, ensemble: Ensemble, pair: Pairs
) -> None:
    found = distilled(compiled(ensemble) if fast else ensemble, pair)
    target = pair.targets.pixels()
    for i, member in enumerate(ensemble.members):
        assert isinstance(member, Conv)
        for layer in (1, 3, 5):
            course = [plain_distance(member, x, target, layer) for x in found.images[i, layer - 1]]
            assert found.distances[i, layer - 1].tolist() == pytest.approx(course, rel=1e-3)
            share = [100 * each / course[0] for each in course]
            assert found.course()[i, layer - 1].tolist() == pytest.approx(share, rel=1e-3)
    assert (found.distances.diff(dim=2)[:, :2] < 0).all()  # the logits' steps may overshoot
    assert (found.course()[:, :, -1] < 95).all()


@BOTH
def test_answers_are_every_members_and_their_mean(
    fast: bool, ensemble: Ensemble, pair: Pairs
) -> None:
    found = distilled(compiled(ensemble) if fast else ensemble, pair, SHORT)
    with torch.no_grad():
        for i, layer, step in ((0, 1, 0), (1, 3, 2), (2, 5, 4)):
            one = found.images[i, layer - 1, step][None]
            each = torch.stack([m(one)[0].double().softmax(0) for m in ensemble.members])
            said = found.log_probs[i, layer - 1, step].exp()
            torch.testing.assert_close(
                said, torch.cat([each, each.mean(0)[None]]), atol=1e-4, rtol=0
            )
        ends = torch.cat([pair.sources.pixels(), pair.targets.pixels()])
        each = torch.stack([m(ends).double().softmax(1) for m in ensemble.members], 1)
        torch.testing.assert_close(found.unchanged[:, :3].exp(), each, atol=1e-4, rtol=0)
    assert found.unchanged[0].equal(found.log_probs[0, 0, 0])
    assert found.classes(2).equal(found.log_probs[:, :, 2].argmax(3))
    assert found.classes().equal(found.classes(4))


def test_the_ensemble_is_left_as_it_is(ensemble: Ensemble, pair: Pairs) -> None:
    ensemble.train()
    before = [parameter.clone() for parameter in ensemble.parameters()]
    distilled(ensemble, pair, SHORT)
    assert ensemble.training
    assert all(a.equal(b) for a, b in zip(before, ensemble.parameters(), strict=True))
    assert all(parameter.grad is None for parameter in ensemble.parameters())


def made(pair: Pairs, answers: Callable[[int, int, int], int], members: int = 2) -> Distilled:
    """With two steps; at the last, model j says answers(i, layer, j), before it DOG."""
    log_probs = torch.full((members, 5, 3, members + 1, 10), -99.0, dtype=torch.float64)
    log_probs[..., :2, :, DOG] = -0.1
    for i in range(members):
        for layer in range(1, 6):
            for j in range(members + 1):
                log_probs[i, layer - 1, 2, j, answers(i, layer, j)] = -0.5 - i - 10 * j
    config = AttackConfig(Norm.LINF, 0.1, 0.05, 2)
    images = torch.zeros(members, 5, 3, 3, 32, 32)
    distances = torch.tensor([4.0, 2.0, 1.0]).double().expand(members, 5, 3)
    return Distilled(pair, config, images, distances, log_probs, log_probs[0, 0, :2])


def test_counts_by_hand(pair: Pairs) -> None:
    # Member 1: its own features but layer 1; member 2: none of its own, but layers 4 and 5 of 1.
    said = {(0, layer, 0): CAT for layer in (2, 3, 4, 5)} | {(0, 4, 1): CAT, (0, 5, 1): CAT}
    said |= {(1, 2, 0): CAT, (0, 5, 2): CAT, (1, 1, 1): FROG}
    found = made(pair, lambda i, layer, j: said.get((i, layer, j), SHIP))
    counts = found.counts()
    assert (counts.own, counts.own_of) == (4, 10)
    assert (counts.others, counts.others_of) == (3, 10)
    assert (counts.mixture, counts.mixture_of) == (1, 10)
    fifth = found.counts(layer=5)
    assert (fifth.own, fifth.own_of, fifth.others, fifth.others_of) == (1, 2, 1, 2)
    assert (fifth.mixture, fifth.mixture_of) == (1, 2)
    assert found.counts(step=1).own == found.counts(0).others == 0
    assert found.course()[0, 0].tolist() == [100, 50, 25]


def test_what_an_answer_is_of_the_pair(pair: Pairs) -> None:
    found = made(pair, lambda i, layer, j: SHIP)
    assert [found.says(each) for each in (CAT, FROG, SHIP)] == [
        Says.TARGET,
        Says.SOURCE,
        Says.OTHER,
    ]


def test_no_distance_from_the_start_is_none_of_it(pair: Pairs) -> None:
    found = made(pair, lambda i, layer, j: SHIP)
    still = Distilled(
        pair, found.config, found.images, found.distances * 0, found.log_probs, found.unchanged
    )
    assert still.course().eq(0).all()


@BOTH
def test_eq_2_is_what_diversity_finds_of_the_pair(
    fast: bool, ensemble: Ensemble, pair: Pairs
) -> None:
    asked = compiled(ensemble) if fast else ensemble
    found, due = distilled(asked, pair), diversity(asked, pair)
    own = found.diversity()
    assert own.loss.shape == due.loss.shape == (5, 3, 3, 1)
    torch.testing.assert_close(own.loss, due.loss, rtol=1e-6, atol=1e-9)
    assert own.sees_target.equal(due.sees_target)
    for layer in (None, 1, 5):
        torch.testing.assert_close(own.matrix(layer), due.matrix(layer), rtol=1e-6, atol=1e-9)
    matrix = due.matrix().tolist()
    mean = (matrix[0][1] + matrix[0][2] + matrix[1][2]) / 3
    assert found.loss() == pytest.approx(mean)


def test_eq_2_by_hand(pair: Pairs) -> None:
    """Loss of member j on member i's: 0.5 + i + 10 j, so d(1, 2) = ½ (10.5 + 1.5)."""
    found = made(pair, lambda i, layer, j: CAT)
    assert found.loss() == pytest.approx(6)
    assert found.diversity().matrix().flatten().tolist() == pytest.approx([0.5, 6, 6, 11.5])
    assert found.diversity(1).loss.eq(99).all()


def test_one_member_has_no_others(pair: Pairs) -> None:
    found = made(pair, lambda i, layer, j: CAT, members=1)
    counts = found.counts()
    assert (counts.own, counts.own_of, counts.others, counts.others_of) == (5, 5, 0, 0)
    assert found.loss() != found.loss()  # NaN


def test_everything_is_plain_json(ensemble: Ensemble, pair: Pairs) -> None:
    found = distilled(ensemble, pair, SHORT)
    record = json.loads(json.dumps(found.to_dict()))
    assert record["distillation"]["eps"] == 0.1 and record["distillation"]["steps"] == 4
    assert record["source"]["class"] == "frog" and record["target"]["class"] == "cat"
    assert record["source"]["number"] == int(pair.sources.indices[0])
    assert record["target"]["digest"] == pair.targets.digest
    assert record["models"] == ["submodel 1", "submodel 2", "submodel 3", "mixture"]
    assert len(record["features"]) == 15
    feature = record["features"][7]  # the second submodel's third layer
    assert (feature["distilled_on"], feature["layer"]) == ("submodel 2", 3)
    assert feature["squared_distance"] == found.distances[1, 2].tolist()
    said = torch.tensor(feature["probabilities"]).double()
    torch.testing.assert_close(said, found.log_probs[1, 2].exp(), atol=1e-6, rtol=0)
    assert feature["says"] == [str(found.says(c)) for c in found.classes()[1, 2].tolist()]
    assert record["eq2_nats"] == found.diversity().matrix().tolist()


def test_both_of_one_class_are_refused() -> None:
    with pytest.raises(ConfigError, match="are both of class frog; choose a target of another"):
        one_pair(image(FROG), image(FROG, 1))


def test_a_pair_is_of_two_images() -> None:
    two = load(Split.SAMPLE).subset([0, 1])
    with pytest.raises(ConfigError, match="the number of targets is 2; it must be 1"):
        one_pair(image(FROG), two)


def test_several_pairs_are_refused(ensemble: Ensemble) -> None:
    with pytest.raises(ConfigError, match="the number of pairs is 2; it must be 1"):
        distilled(ensemble, draw_pairs(load(Split.SAMPLE), 2, 0))


def test_more_than_one_restart_is_refused(ensemble: Ensemble, pair: Pairs) -> None:
    config = AttackConfig(Norm.LINF, 0.1, 0.03, 4, random_start=True, restarts=2)
    with pytest.raises(ConfigError, match="restarts is 2"):
        distilled(ensemble, pair, config)


@pytest.mark.parametrize("step", [-1, 3, 1.0])
def test_other_steps_are_refused(pair: Pairs, step: int) -> None:
    found = made(pair, lambda i, layer, j: CAT)
    for asked in (found.classes, found.counts, found.diversity):
        with pytest.raises(ConfigError, match=r"step is .*; it must be a whole number from 0 to 2"):
            asked(step)


@pytest.mark.parametrize("layer", [0, 6])
def test_other_layers_are_refused(pair: Pairs, layer: int) -> None:
    with pytest.raises(ConfigError, match="layer is"):
        made(pair, lambda i, layer, j: CAT).counts(layer=layer)


def test_the_reports_settings_are_the_default(ensemble: Ensemble, pair: Pairs) -> None:
    assert distilled(ensemble, pair).config == REPORT_DISTILLATION
