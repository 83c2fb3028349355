"""What must hold of every attack, whatever it finds."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dverge.attacks import (
    MIXTURE,
    AttackConfig,
    AttackResult,
    Norm,
    Victim,
    all_probabilities,
    attack,
    fgsm,
    pgd,
)
from dverge.models import Ensemble

LINF, L2 = Norm.LINF, Norm.L2
CONFIGS = {
    "fgsm": fgsm(0.03),
    "linf": AttackConfig(LINF, 0.03, 0.007, 5),
    "linf random": AttackConfig(LINF, 0.03, 0.007, 5, random_start=True),
    "linf restarts": AttackConfig(LINF, 0.03, 0.007, 3, random_start=True, restarts=3),
    "linf huge step": AttackConfig(LINF, 0.1, 1.0, 3),
    "l2": AttackConfig(L2, 0.5, 0.1, 5),
    "l2 random": AttackConfig(L2, 0.5, 0.1, 5, random_start=True),
    "l2 restarts": AttackConfig(L2, 2.0, 1.0, 3, random_start=True, restarts=3),
    "l2 huge": AttackConfig(L2, 20.0, 30.0, 3),
    "targeted": AttackConfig(L2, 0.5, 0.1, 5, targeted=True),
    "best iterate": AttackConfig(LINF, 0.03, 0.03, 5, best_iterate=True),
    "momentum": AttackConfig(LINF, 0.03, 0.007, 5, random_start=True, restarts=2, momentum=1),
    "l2 momentum": AttackConfig(L2, 0.5, 0.2, 5, momentum=0.5),
}
all_configs = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
RANDOM = AttackConfig(LINF, 0.004, 0.001, 2, random_start=True)


def distances(result: AttackResult, images: Tensor, norm: Norm) -> Tensor:
    delta = (result.images.double() - images.double()).flatten(1)
    return delta.abs().amax(1) if norm is LINF else delta.square().sum(1).sqrt()


@all_configs
@pytest.mark.parametrize("victim", [MIXTURE, Victim(1)], ids=str)
def test_in_the_ball_and_in_the_box(
    ensemble: Ensemble, images: Tensor, labels: Tensor, config: AttackConfig, victim: Victim
) -> None:
    aim = (labels + 1) % 10
    result = attack(ensemble, images, aim, config, victim)
    assert distances(result, images, config.norm).max() <= config.eps * (1 + 1e-5) + 1e-7
    assert 0 <= result.images.min() <= result.images.max() <= 1
    assert result.images.shape == images.shape
    assert result.images.dtype == images.dtype


@all_configs
def test_the_result_says_what_a_direct_forward_says(
    ensemble: Ensemble, images: Tensor, labels: Tensor, config: AttackConfig
) -> None:
    aim = (labels + 1) % 10 if config.targeted else labels
    result = attack(ensemble, images, aim, config, Victim(1))
    with torch.no_grad():
        logits = ensemble.members[1](result.images)
    loss = F.cross_entropy(logits, aim, reduction="none")
    torch.testing.assert_close(result.objective, -loss if config.targeted else loss)
    says = logits.argmax(1) == aim
    assert result.success.equal(says if config.targeted else ~says)
    assert result.trace is None


@pytest.mark.parametrize(
    "config",
    [
        fgsm(0),
        AttackConfig(LINF, 0, 0.1, 3, random_start=True),
        AttackConfig(LINF, 0, 0.1, 3, random_start=True, restarts=2),
        AttackConfig(L2, 0, 0.1, 3),
        pgd(L2, 0),
        AttackConfig(LINF, 0.03, 0, 3),
        AttackConfig(L2, 0.5, 0, 3),
    ],
    ids=str,
)
def test_no_budget_or_no_step_gives_the_image_back(
    ensemble: Ensemble, images: Tensor, labels: Tensor, config: AttackConfig
) -> None:
    assert attack(ensemble, images, labels, config).images.equal(images)


@pytest.mark.parametrize("norm", Norm)
def test_without_a_gradient_the_image_stays(
    ensemble: Ensemble, images: Tensor, labels: Tensor, norm: Norm
) -> None:
    for parameter in ensemble.parameters():
        parameter.data.zero_()
    for momentum in (0, 1):
        config = AttackConfig(norm, 0.5, 0.1, 3, momentum=momentum)
        assert attack(ensemble, images, labels, config).images.equal(images)


@pytest.mark.parametrize(("norm", "eps", "step_size"), [(LINF, 0.03, 0.03), (L2, 0.5, 0.5)])
@pytest.mark.parametrize("targeted", [False, True])
def test_the_best_iterate_is_the_highest_of_the_course_and_never_falls_with_more_steps(
    ensemble: Ensemble,
    images: Tensor,
    labels: Tensor,
    norm: Norm,
    eps: float,
    step_size: float,
    targeted: bool,
) -> None:
    aim = (labels + 1) % 10 if targeted else labels
    before = torch.full((len(images),), -torch.inf)
    last_was_beaten = False
    for steps in (1, 2, 3, 5, 8, 12):
        course = AttackConfig(norm, eps, step_size, steps, targeted=targeted)
        trace = attack(ensemble, images, aim, course, record=True).trace
        assert trace is not None
        best = AttackConfig(norm, eps, step_size, steps, targeted=targeted, best_iterate=True)
        result = attack(ensemble, images, aim, best)
        assert result.objective.equal(trace.objective.amax(0))
        assert (result.objective >= before - 1e-6).all()
        before = result.objective
        last_was_beaten |= bool((trace.objective[-1] < result.objective).any())
        where = trace.objective.argmax(0)
        assert result.images.equal(trace.images[where, torch.arange(len(images))])
    assert last_was_beaten  # else this test would pass without the option


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize(("norm", "eps", "step_size"), [(LINF, 0.004, 0.002), (L2, 0.1, 0.04)])
def test_more_restarts_never_lower_the_worst_case(
    ensemble: Ensemble,
    images: Tensor,
    labels: Tensor,
    norm: Norm,
    eps: float,
    step_size: float,
    targeted: bool,
) -> None:
    aim = (labels + 1) % 10 if targeted else labels
    results = [
        attack(ensemble, images, aim, AttackConfig(norm, eps, step_size, 2, True, n, targeted))
        for n in (1, 2, 4, 8)
    ]
    for few, more in pairwise(results):
        assert (more.success >= few.success).all()
        same = more.success == few.success
        assert (more.objective >= few.objective)[same].all()
    assert (results[-1].objective > results[0].objective).any()


@pytest.mark.parametrize("norm", Norm)
def test_a_targeted_attack_raises_the_probability_of_its_class(
    ensemble: Ensemble, images: Tensor, labels: Tensor, norm: Norm
) -> None:
    target = (labels + 5) % 10
    eps = {LINF: 0.05, L2: 2.0}[norm]
    config = pgd(norm, eps, steps=20, random_start=False, targeted=True)
    result = attack(ensemble, images, target, config)
    each = torch.arange(len(images))
    before = all_probabilities(ensemble, images)[-1, each, target]
    after = all_probabilities(ensemble, result.images)[-1, each, target]
    assert (after > before).all()
    assert result.success.any()


class TwoFaced(nn.Module):
    """Of bright images it says class 1 by a hair; of dark ones class 0, surely of nothing else.

    So the dark ones have the higher loss for class 0, but only the bright ones are fooled.
    """

    def forward(self, images: Tensor) -> Tensor:
        bright = torch.tensor([0.45, 0.55, *[1e-9] * 8])
        dark = torch.tensor([0.4, *[0.6 / 9] * 9])
        mean = images.flatten(1).mean(1, keepdim=True)
        return torch.where(mean > 0.5, bright, dark).log() + 0 * mean


def test_being_fooled_counts_more_than_a_high_loss() -> None:
    grey, true = torch.full((8, 3, 32, 32), 0.5), torch.zeros(8, dtype=torch.int64)
    config = AttackConfig(LINF, 0.01, 0.0, 1, random_start=True, restarts=12)
    result = attack(Ensemble([TwoFaced()]), grey, true, config)
    assert result.success.all()  # one of the 12 random starts is bright, for each image
    assert (result.images.flatten(1).mean(1) > 0.5).all()


@pytest.mark.parametrize("norm", Norm)
def test_the_seed_alone_decides_the_random_start(
    ensemble: Ensemble, images: Tensor, labels: Tensor, norm: Norm
) -> None:
    def run(seed: int) -> AttackResult:
        return attack(ensemble, images, labels, pgd(norm, 0.03, steps=2, restarts=2, seed=seed))

    torch.manual_seed(1)
    first, state = run(7), torch.get_rng_state()
    torch.manual_seed(2)
    assert run(7).images.equal(first.images)
    assert not run(8).images.equal(first.images)
    torch.manual_seed(1)
    assert torch.get_rng_state().equal(state)  # the global generator is never drawn from


@all_configs
def test_the_ensemble_is_left_as_it_was(
    ensemble: Ensemble, images: Tensor, labels: Tensor, config: AttackConfig
) -> None:
    ensemble.members[0].train()
    ensemble.members[1].requires_grad_(False)
    kept = next(ensemble.members[2].parameters())
    kept.grad = torch.ones_like(kept)
    weights = {name: value.clone() for name, value in ensemble.state_dict().items()}
    modes = [module.training for module in ensemble.modules()]
    needs = [parameter.requires_grad for parameter in ensemble.parameters()]

    attack(ensemble, images, labels, config, record=True)

    assert all(weights[name].equal(value) for name, value in ensemble.state_dict().items())
    assert [module.training for module in ensemble.modules()] == modes
    assert [parameter.requires_grad for parameter in ensemble.parameters()] == needs
    assert kept.grad.equal(torch.ones_like(kept))
    assert all(p.grad is None for p in ensemble.parameters() if p is not kept)


@all_configs
def test_the_arguments_are_left_as_they_were(
    ensemble: Ensemble, images: Tensor, labels: Tensor, config: AttackConfig
) -> None:
    pixels, classes = images.clone(), labels.clone()
    result = attack(ensemble, images, labels, config, record=True)
    assert images.equal(pixels)
    assert labels.equal(classes)
    assert not images.requires_grad
    assert not result.images.requires_grad
    assert not result.objective.requires_grad


def test_the_grad_mode_of_the_caller_does_not_matter(
    ensemble: Ensemble, images: Tensor, labels: Tensor
) -> None:
    with torch.no_grad():
        inside = attack(ensemble, images, labels, RANDOM, record=True)
        assert not torch.is_grad_enabled()
    outside = attack(ensemble, images, labels, RANDOM, record=True)
    assert torch.is_grad_enabled()
    assert inside.images.equal(outside.images)
    assert inside.objective.equal(outside.objective)


def test_an_image_that_needs_a_gradient_is_no_trouble(
    ensemble: Ensemble, images: Tensor, labels: Tensor
) -> None:
    expected = attack(ensemble, images, labels, RANDOM).images
    leaf = images.clone().requires_grad_()
    result = attack(ensemble, leaf, labels, RANDOM)
    assert result.images.equal(expected)
    assert not result.images.requires_grad
    assert leaf.grad is None


@pytest.mark.parametrize(
    "config",
    [
        AttackConfig(LINF, 0.03, 0.007, 5),
        AttackConfig(L2, 0.5, 0.1, 5, best_iterate=True),
        AttackConfig(LINF, 0.03, 0.007, 5, momentum=1),
    ],
    ids=["linf", "l2", "momentum"],
)
def test_a_batch_is_its_images_one_by_one(
    ensemble: Ensemble, images: Tensor, labels: Tensor, config: AttackConfig
) -> None:
    ensemble, images = ensemble.double(), images.double()
    together = attack(ensemble, images, labels, config)
    for i in range(len(images)):
        alone = attack(ensemble, images[i : i + 1], labels[i : i + 1], config)
        torch.testing.assert_close(alone.images[0], together.images[i], rtol=0, atol=1e-9)
        assert alone.success[0] == together.success[i]


def test_an_empty_batch_gives_an_empty_result(ensemble: Ensemble) -> None:
    images, labels = torch.zeros(0, 3, 32, 32), torch.zeros(0, dtype=torch.int64)
    result = attack(ensemble, images, labels, CONFIGS["l2 restarts"], record=True)
    assert result.images.shape == images.shape
    assert result.success.shape == (0,)


def test_all_probabilities_are_the_members_and_last_their_mean(
    ensemble: Ensemble, images: Tensor
) -> None:
    ensemble, images = ensemble.double(), images.double()
    found = all_probabilities(ensemble, images)
    assert found.shape == (4, len(images), 10)
    with torch.no_grad():
        members = [member(images).softmax(1) for member in ensemble.members]
    for i, expected in enumerate([*members, sum(members) / 3]):
        torch.testing.assert_close(found[i], expected)
