"""Attempts of the strong attack, against a plain loop and a case that can be solved by hand."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dverge import checkpoints
from dverge.attacks import (
    MIXTURE,
    AttackConfig,
    Norm,
    StrongConfig,
    Through,
    Victim,
    all_probabilities,
    image_starts,
)
from dverge.attacks.gradient import value_and_gradient
from dverge.attacks.margins import margin_attack, members_attack
from dverge.attacks.stepping import AdaptiveSteps
from dverge.attacks.strong import MEMBER_WAYS, MIXTURE_WAYS, strong_attack, strong_attempt
from dverge.data import Split, load
from dverge.errors import ConfigError
from dverge.models import Ensemble, seeded_conv

SHIPPED = Path(__file__).parents[2] / "checkpoints"
BUDGETS = [(Norm.LINF, 0.02), (Norm.L2, 0.5)]
VICTIMS = [Victim(1), *(Victim(through=t) for t in Through if t is not Through.LOSS)]


def scores(ensemble: Ensemble, images: Tensor, victim: Victim) -> Tensor:
    """N×10, by their definitions."""
    logits = [member(images) for member in ensemble.members]
    if victim.member is not None:
        return logits[victim.member]
    if victim.through is Through.LOGIT:
        return sum(logits) / len(logits)
    if victim.through is Through.TEMPERED:
        logits = [7 * each for each in at_one_spread(logits)]
    return (sum(each.softmax(1) for each in logits) / len(logits)).log()


def at_one_spread(logits: list[Tensor]) -> list[Tensor]:
    return [z / (z.max(1, True).values - z.mean(1, True)).detach() for z in logits]


def answer(ensemble: Ensemble, image: Tensor, victim: Victim) -> int:
    deployed = Victim(victim.member)
    return int(scores(ensemble, image, deployed).argmax())


def plain(
    ensemble: Ensemble, image: Tensor, label: int, config: AttackConfig, victim: Victim, rank: int
) -> Tensor:
    """One image, 1×3×32×32, step by step until the victim is fooled."""
    order = scores(ensemble, image, victim)[0].argsort(descending=True).tolist()
    wrong = [each for each in order if each != label]

    def margin(x: Tensor) -> Tensor:
        score = scores(ensemble, x, victim)[:, wrong]
        ahead = score.max(1).values if rank == 0 else score[:, rank - 1]
        return ahead - scores(ensemble, x, victim)[:, label]

    steps, x = AdaptiveSteps(image, config), image
    for _ in range(config.steps):
        if answer(ensemble, x, victim) != label:
            break
        x = steps.next(x, *value_and_gradient(margin, x))
    return x


@pytest.mark.parametrize("rank", [0, 1, 3])
@pytest.mark.parametrize("victim", VICTIMS, ids=str)
@pytest.mark.parametrize(("norm", "eps"), BUDGETS)
def test_a_batch_is_its_images_one_by_one(
    norm: Norm,
    eps: float,
    victim: Victim,
    rank: int,
    ensemble: Ensemble,
    images: Tensor,
    labels: Tensor,
) -> None:
    network, pixels = ensemble.double(), images.double()
    config = AttackConfig(norm, eps, 0.0, 12)
    found = margin_attack(network, pixels, labels, config, victim, rank).images
    for image, label, x in zip(pixels.split(1), labels.tolist(), found.split(1), strict=True):
        expected = plain(network, image, label, config, victim, rank)
        assert x.allclose(expected, rtol=0, atol=1e-9)
        delta = x - image
        length = delta.abs().max() if norm is Norm.LINF else delta.norm()
        assert length <= eps + 1e-12 and x.min() >= 0 and x.max() <= 1
    fooled = [answer(network, x, victim) for x in found.split(1)] != labels.tolist()
    assert fooled or rank == 3


def plain_members(
    ensemble: Ensemble, image: Tensor, label: int, config: AttackConfig, clipped: bool
) -> Tensor:
    """One image, 1×3×32×32, step by step until all members are wrong."""

    def value(x: Tensor) -> Tensor:
        logits = at_one_spread([member(x) for member in ensemble.members])
        if not clipped:
            return -torch.stack([(7 * z).softmax(1)[:, label] for z in logits]).sum(0).log()
        wrong = [each for each in range(10) if each != label]
        margins = [z[:, wrong].max(1).values - z[:, label] for z in logits]
        return torch.stack(margins).clamp(max=0.02).sum(0)

    steps, x, best, fewest = AdaptiveSteps(image, config), image, image, len(ensemble)
    for number in range(config.steps + 1):
        right = members_right(ensemble, x, label)
        if right <= fewest:
            best, fewest = x, right
        if not right or number == config.steps:
            return best
        x = steps.next(x, *value_and_gradient(value, x))
    raise AssertionError


def members_right(ensemble: Ensemble, image: Tensor, label: int) -> int:
    return sum(int(member(image).argmax()) == label for member in ensemble.members)


@pytest.mark.parametrize("clipped", [False, True])
@pytest.mark.parametrize(("norm", "eps"), [(Norm.LINF, 0.01), (Norm.L2, 0.25)])
def test_an_attack_on_all_members_is_a_plain_loop(norm: Norm, eps: float, clipped: bool) -> None:
    network = checkpoints.load(checkpoints.read(SHIPPED / "vanilla-3xconv-s0")).double()
    sample = load(Split.SAMPLE).balanced(20)
    pixels, labels = sample.pixels().double(), sample.labels
    config = AttackConfig(norm, eps, 0.0, 12)
    found = members_attack(network, pixels, labels, config, clipped).images
    before, after = [], []
    for image, label, x in zip(pixels.split(1), labels.tolist(), found.split(1), strict=True):
        expected = plain_members(network, image, label, config, clipped)
        assert x.allclose(expected, rtol=0, atol=1e-9)
        before.append(members_right(network, image, label))
        after.append(members_right(network, x, label))
    assert sum(after) < sum(before) and set(after) == {0, 1, 2, 3}


@pytest.mark.parametrize("clipped", [False, True])
def test_the_scale_of_members_logits_changes_nothing_in_an_attack_on_all(
    clipped: bool, images: Tensor, labels: Tensor, ensemble: Ensemble
) -> None:
    config, other = AttackConfig(Norm.LINF, 0.02, 0.0, 12), copy.deepcopy(ensemble)
    for factor, member in zip((1024, 1 / 64, 8), other.members, strict=True):
        member.get_parameter("fc3.weight").data *= factor
        member.get_parameter("fc3.bias").data *= factor
    found = members_attack(ensemble, images, labels, config, clipped).images
    assert found.equal(members_attack(other, images, labels, config, clipped).images)
    assert not found.equal(images)


@pytest.mark.parametrize("rank", [1, 2, 9])
@pytest.mark.parametrize(("norm", "dual"), [(Norm.LINF, 1), (Norm.L2, 2)])
def test_a_linear_network_is_attacked_as_well_as_can_be(norm: Norm, dual: int, rank: int) -> None:
    """The best margin is that of the image, and eps times the dual norm of the weights."""
    generator = torch.Generator().manual_seed(rank)
    linear = nn.Linear(3072, 10, dtype=torch.float64)
    linear.weight.data = torch.randn(10, 3072, dtype=torch.float64, generator=generator) / 100
    network = Ensemble([nn.Sequential(nn.Flatten(), linear)])
    image, eps = torch.full((1, 3, 32, 32), 0.5, dtype=torch.float64), 1e-4
    order = network.members[0](image)[0].argsort(descending=True)
    label, target = order[:1], order[rank]
    x = margin_attack(network, image, label, AttackConfig(norm, eps, 0.0, 100), rank=rank).images
    weight = linear.weight[target] - linear.weight[label[0]]
    moved = (weight * (x - image).flatten()).sum()
    assert moved.item() == pytest.approx((eps * weight.norm(dual)).item(), rel=1e-6)


@pytest.mark.parametrize("victim", [Victim(0), Victim()], ids=str)
@pytest.mark.parametrize(("norm", "eps"), BUDGETS)
def test_the_scale_of_a_networks_logits_changes_no_bit(
    norm: Norm, eps: float, victim: Victim, images: Tensor
) -> None:
    member = seeded_conv(3)
    scaled = copy.deepcopy(member)
    scaled.fc3.weight.data *= 1024
    scaled.fc3.bias.data *= 1024
    labels = member(images).argmax(1)
    config = AttackConfig(norm, eps, 0.0, 20)
    for rank in range(3):
        one, other = (
            margin_attack(Ensemble([each]).eval(), images, labels, config, victim, rank).images
            for each in (member, scaled)
        )
        assert one.equal(other) and not one.equal(images)


NUMBERS = list(range(40, 48))


@pytest.mark.parametrize("victim", [Victim(1), MIXTURE], ids=str)
@pytest.mark.parametrize("config", [StrongConfig(Norm.LINF, 0.004, 3), StrongConfig(Norm.L2, 0.1)])
def test_attempts_go_on_until_one_fools(
    config: StrongConfig, victim: Victim, ensemble: Ensemble, images: Tensor, labels: Tensor
) -> None:
    """An image alone, attempt by attempt, each from its own random start."""
    network, pixels = ensemble.double(), images.double()
    result = strong_attack(network, pixels, labels, NUMBERS, config, victim)
    deployed = Victim(victim.member)
    for i, number in enumerate(NUMBERS):
        image, label = pixels[i : i + 1], labels[i : i + 1]
        for attempt, way in enumerate(MIXTURE_WAYS if victim == MIXTURE else MEMBER_WAYS):
            ball = AttackConfig(config.norm, config.eps, 0.0, way.steps, seed=config.seed)
            start = image_starts(image, [number], ball, attempt)
            through = Victim(victim.member, way.through)
            one = margin_attack(network, image, label, ball, through, way.rank, start)
            if answer(network, one.images, deployed) != int(label):
                break
        assert bool(result.success[i]) is bool(one.success)
        assert int(result.attempt[i]) == attempt
        assert result.images[i : i + 1].allclose(one.images, rtol=0, atol=1e-9)
    assert result.success.sum() > 0 and result.attempt.max() > 0


@pytest.mark.parametrize("attempt", [0, 7])
def test_a_recorded_attempt_is_its_course(
    attempt: int, ensemble: Ensemble, images: Tensor, labels: Tensor
) -> None:
    config = StrongConfig(Norm.LINF, 0.01)
    args = (ensemble, images, labels, NUMBERS, config, MIXTURE, attempt)
    plain, recorded = strong_attempt(*args), strong_attempt(*args, record=True)
    course = recorded.trace
    assert plain.trace is None and course is not None
    assert recorded.images.equal(plain.images) and course.images[-1].equal(plain.images)
    assert course.objective[-1].equal(plain.objective)
    assert len(course.images) == len(course.objective) == len(course.probabilities)
    assert (course.images - images).abs().max() <= 0.01 + 1e-6
    for at in range(len(course.images)):
        assert course.probabilities[at].allclose(all_probabilities(ensemble, course.images[at]))
    fooled = course.probabilities[:, -1].argmax(2) != labels
    for i, ended in enumerate(fooled.T.tolist()):  # it stops at the first iterate that fools
        assert ended == sorted(ended) and ended[-1] == bool(plain.success[i])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"victim": Victim(through=Through.LOSS)}, "victim is 'mixture-loss'"),
        ({"victim": Victim(3)}, "victim is member 4"),
        ({"rank": 10}, "rank is 10"),
        ({"labels": torch.zeros(7).long()}, "labels have shape"),
    ],
)
def test_what_cannot_be_attacked_is_refused(
    ensemble: Ensemble, images: Tensor, labels: Tensor, change: dict[str, Any], message: str
) -> None:
    config = AttackConfig(Norm.LINF, 0.02, 0.0, 1)
    about: dict[str, Any] = {"labels": labels, "config": config} | change
    with pytest.raises(ConfigError, match=message):
        margin_attack(ensemble, images, **about)


@pytest.mark.parametrize("through", [each for each in Through if each is not Through.PROBABILITY])
def test_the_mixture_is_attacked_through_all_of_its_scores(
    through: Through, ensemble: Ensemble, images: Tensor, labels: Tensor
) -> None:
    config = StrongConfig(Norm.LINF, 0.02)
    with pytest.raises(ConfigError, match="follows the tempered and the mean probability"):
        strong_attack(ensemble, images, labels, NUMBERS, config, Victim(through=through))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"norm": "linf"}, "norm is 'linf'"),
        ({"eps": 1.1}, "eps is 1.1"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_settings_out_of_range(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        StrongConfig(**{"norm": Norm.LINF, "eps": 0.1, **values})
