"""Properties of every attack and of its recorded trace."""

from __future__ import annotations

from dataclasses import replace
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
from tests.attacks.case import Case

LINF, L2 = Norm.LINF, Norm.L2
CONFIGS = {
    "fgsm": fgsm(0.03),
    "linf": AttackConfig(LINF, 0.03, 0.007, 5),
    "linf random": AttackConfig(LINF, 0.03, 0.007, 5, random_start=True),
    "linf restarts": AttackConfig(LINF, 0.004, 0.001, 4, random_start=True, restarts=4),
    "linf huge step": AttackConfig(LINF, 0.1, 1.0, 3),
    "l2": AttackConfig(L2, 0.5, 0.1, 5),
    "l2 random": AttackConfig(L2, 0.5, 0.1, 5, random_start=True),
    "l2 restarts": AttackConfig(L2, 2.0, 1.0, 3, random_start=True, restarts=3),
    "l2 huge": AttackConfig(L2, 20.0, 30.0, 3),
    "targeted": AttackConfig(L2, 0.5, 0.1, 5, targeted=True),
    "targeted restarts": AttackConfig(L2, 0.3, 0.1, 4, True, restarts=4, targeted=True),
    "best iterate": AttackConfig(LINF, 0.03, 0.03, 5, best_iterate=True),
    "momentum": AttackConfig(LINF, 0.03, 0.007, 5, random_start=True, restarts=2, momentum=1),
    "l2 momentum": AttackConfig(L2, 0.5, 0.2, 5, momentum=0.5),
}
all_configs = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
both_norms = pytest.mark.parametrize("norm", Norm)
RANDOM = AttackConfig(LINF, 0.004, 0.001, 2, random_start=True)


def cross_entropy(case: Case, victim: Victim, images: Tensor, config: AttackConfig) -> Tensor:
    with torch.no_grad():
        return F.cross_entropy(case.model(victim)(images), case.aim(config), reduction="none")


@all_configs
@pytest.mark.parametrize("victim", [MIXTURE, Victim(1)], ids=str)
def test_the_result_is_in_the_ball_and_the_box_and_evaluated_correctly(
    case: Case, config: AttackConfig, victim: Victim
) -> None:
    images, labels = case.images.clone(), case.labels.clone()
    result = case.attack(config, victim)
    assert result.images.shape == images.shape and result.images.dtype == images.dtype
    delta = (result.images.double() - images.double()).flatten(1)
    length = delta.abs().amax(1) if config.norm is LINF else delta.square().sum(1).sqrt()
    assert length.max() <= config.eps * (1 + 1e-5) + 1e-7
    assert 0 <= result.images.min() <= result.images.max() <= 1

    loss = cross_entropy(case, victim, result.images, config)
    torch.testing.assert_close(result.objective, -loss if config.targeted else loss)
    with torch.no_grad():
        is_label = case.model(victim)(result.images).argmax(1) == case.aim(config)
    assert result.success.equal(is_label if config.targeted else ~is_label)
    assert result.trace is None
    assert not result.images.requires_grad and not result.objective.requires_grad
    assert case.images.equal(images) and case.labels.equal(labels)


@all_configs
def test_a_trace_has_every_iterate_with_its_objective_and_probabilities(
    case: Case, config: AttackConfig
) -> None:
    victim, silent = Victim(2), case.attack(config, Victim(2))
    result = case.attack(config, victim, record=True)
    assert result.images.equal(silent.images)
    assert result.success.equal(silent.success)
    trace = result.trace
    assert trace is not None
    assert trace.images.shape == (config.steps + 1, 8, 3, 32, 32)
    assert trace.objective.shape == (config.steps + 1, 8)
    assert trace.probabilities.shape == (config.steps + 1, 4, 8, 10)
    assert trace.images[-1].equal(result.images)
    assert trace.objective[-1].equal(result.objective)
    assert trace.images[0].equal(case.images) is not config.random_start
    for iterate, objective, probabilities in zip(
        trace.images, trace.objective, trace.probabilities, strict=True
    ):
        loss = cross_entropy(case, victim, iterate, config)
        torch.testing.assert_close(objective, -loss if config.targeted else loss)
        with torch.no_grad():
            members = [member(iterate).softmax(1) for member in case.ensemble.members]
        torch.testing.assert_close(probabilities, torch.stack([*members, sum(members) / 3]))
        torch.testing.assert_close(all_probabilities(case.ensemble, iterate), probabilities)


@pytest.mark.parametrize("name", ["linf", "l2", "linf restarts", "targeted restarts"])
def test_each_iterate_of_an_image_follows_from_the_one_before(precise: Case, name: str) -> None:
    """A trace with iterates of several restarts, or of other images, would break this chain."""
    config = CONFIGS[name]
    trace = precise.attack(config, Victim(2), record=True).trace
    assert trace is not None
    for before, after in pairwise(trace.images):
        for x, end, origin, label in zip(
            before, after, precise.images, precise.aim(config), strict=True
        ):
            expected = one_step(precise.ensemble, x, origin, label, config)
            torch.testing.assert_close(end, expected, rtol=0, atol=1e-9)


def one_step(
    ensemble: Ensemble, x: Tensor, origin: Tensor, label: Tensor, config: AttackConfig
) -> Tensor:
    """One step of one image, written out."""
    x = x.clone().requires_grad_()
    loss = F.cross_entropy(ensemble.members[2](x[None]), label[None])
    (gradient,) = torch.autograd.grad(-loss if config.targeted else loss, x)
    if config.norm is LINF:
        moved = x.detach() + config.step_size * gradient.sign()
        near = torch.minimum(torch.maximum(moved, origin - config.eps), origin + config.eps)
    else:
        moved = x.detach() + config.step_size * gradient / gradient.square().sum().sqrt()
        length = (moved - origin).square().sum().sqrt().item()
        near = moved
        if length > config.eps:
            near = origin + (moved - origin) * config.eps / length
    return near.clamp(0, 1)


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
def test_without_a_budget_or_a_step_the_image_stays(case: Case, config: AttackConfig) -> None:
    assert case.attack(config).images.equal(case.images)


@both_norms
def test_without_a_gradient_the_image_stays(case: Case, norm: Norm) -> None:
    for parameter in case.ensemble.parameters():
        parameter.data.zero_()
    for momentum in (0, 1):
        config = AttackConfig(norm, 0.5, 0.1, 3, momentum=momentum)
        assert case.attack(config).images.equal(case.images)


@pytest.mark.parametrize(
    ("norm", "size", "targeted"), [(LINF, 0.03, False), (L2, 0.5, False), (L2, 0.5, True)]
)
def test_the_best_iterate_is_the_highest_of_the_trace_and_never_falls_with_more_steps(
    case: Case, norm: Norm, size: float, targeted: bool
) -> None:
    config = AttackConfig(norm, size, size, 12, targeted=targeted)
    trace = case.attack(config, record=True).trace
    assert trace is not None
    before = torch.full((8,), -torch.inf)
    for steps in (1, 2, 3, 5, 8, 12):
        best = case.attack(replace(config, steps=steps, best_iterate=True))
        highest, where = trace.objective[: steps + 1].max(0)
        assert best.objective.equal(highest)
        assert best.images.equal(trace.images[where, torch.arange(8)])
        assert (best.objective >= before - 1e-6).all()
        before = best.objective
    assert (trace.objective[-1] < before).any()  # else the option would make no difference


@pytest.mark.parametrize(
    ("norm", "eps", "step_size", "targeted"),
    [(LINF, 0.004, 0.002, False), (LINF, 0.004, 0.002, True), (L2, 0.1, 0.04, False)],
)
def test_more_restarts_never_lower_the_worst_case(
    case: Case, norm: Norm, eps: float, step_size: float, targeted: bool
) -> None:
    results = [
        case.attack(AttackConfig(norm, eps, step_size, 2, True, n, targeted), record=True)
        for n in (1, 2, 4, 8)
    ]
    for few, more in pairwise(results):
        assert (more.success >= few.success).all()
        same = more.success == few.success
        assert (more.objective >= few.objective)[same].all()
    first, last = results[0], results[-1]
    assert (last.objective > first.objective).any()
    assert first.trace is not None and last.trace is not None
    changed = last.images.ne(first.images).flatten(1).any(1)
    assert changed.any()
    starts = last.trace.images[0].ne(first.trace.images[0]).flatten(1).any(1)
    assert starts.equal(changed)  # each image keeps the trace of its own worst restart


class TwoFaced(nn.Module):
    """Gives bright images a narrow class 1, and dark ones class 0 with a lower probability.

    So dark images have the higher loss for class 0, but only bright ones are misclassified.
    """

    def forward(self, images: Tensor) -> Tensor:
        bright = torch.tensor([0.45, 0.55, *[1e-9] * 8])
        dark = torch.tensor([0.4, *[0.6 / 9] * 9])
        mean = images.flatten(1).mean(1, keepdim=True)
        return torch.where(mean > 0.5, bright, dark).log() + 0 * mean


def test_a_success_counts_more_than_a_high_loss() -> None:
    grey, true = torch.full((8, 3, 32, 32), 0.5), torch.zeros(8, dtype=torch.int64)
    config = AttackConfig(LINF, 0.01, 0.0, 1, random_start=True, restarts=12)
    result = attack(Ensemble([TwoFaced()]), grey, true, config)
    assert result.success.all()  # one of the 12 random starts is bright, for each image
    assert (result.images.flatten(1).mean(1) > 0.5).all()


@both_norms
def test_a_targeted_attack_raises_the_probability_of_its_class(case: Case, norm: Norm) -> None:
    eps = {LINF: 0.05, L2: 2.0}[norm]
    config = pgd(norm, eps, steps=20, random_start=False, targeted=True)
    result = case.attack(config)
    each, target = torch.arange(8), case.aim(config)
    before = all_probabilities(case.ensemble, case.images)[-1, each, target]
    after = all_probabilities(case.ensemble, result.images)[-1, each, target]
    assert (after > before).all()
    assert result.success.any()


@both_norms
def test_the_seed_alone_decides_the_random_start(case: Case, norm: Norm) -> None:
    def run(seed: int) -> AttackResult:
        return case.attack(pgd(norm, 0.03, steps=2, restarts=2, seed=seed))

    torch.manual_seed(1)
    first, state = run(7), torch.get_rng_state()
    torch.manual_seed(2)
    assert run(7).images.equal(first.images)
    assert not run(8).images.equal(first.images)
    torch.manual_seed(1)
    assert torch.get_rng_state().equal(state)  # the global generator is not used


@all_configs
def test_the_ensemble_stays_as_it_is(case: Case, config: AttackConfig) -> None:
    ensemble = case.ensemble
    ensemble.members[0].train()
    ensemble.members[1].requires_grad_(False)
    with_gradient = next(ensemble.members[2].parameters())
    with_gradient.grad = torch.ones_like(with_gradient)
    weights = {name: value.clone() for name, value in ensemble.state_dict().items()}
    modes = [module.training for module in ensemble.modules()]
    flags = [parameter.requires_grad for parameter in ensemble.parameters()]

    case.attack(config, record=True)

    assert all(weights[name].equal(value) for name, value in ensemble.state_dict().items())
    assert [module.training for module in ensemble.modules()] == modes
    assert [parameter.requires_grad for parameter in ensemble.parameters()] == flags
    assert with_gradient.grad.equal(torch.ones_like(with_gradient))
    assert all(p.grad is None for p in ensemble.parameters() if p is not with_gradient)


def test_the_callers_grad_mode_and_leaf_images_make_no_difference(case: Case) -> None:
    expected = case.attack(RANDOM, record=True)
    with torch.no_grad():
        inside = case.attack(RANDOM, record=True)
        assert not torch.is_grad_enabled()
    assert torch.is_grad_enabled()
    assert inside.images.equal(expected.images)
    assert inside.objective.equal(expected.objective)
    leaf = case.images.clone().requires_grad_()
    result = attack(case.ensemble, leaf, case.labels, RANDOM)
    assert result.images.equal(expected.images)
    assert not result.images.requires_grad
    assert leaf.grad is None


def test_an_empty_batch_gives_an_empty_result(ensemble: Ensemble) -> None:
    images, labels = torch.zeros(0, 3, 32, 32), torch.zeros(0, dtype=torch.int64)
    result = attack(ensemble, images, labels, CONFIGS["l2 restarts"], record=True)
    assert result.images.shape == images.shape
    assert result.success.shape == (0,)
