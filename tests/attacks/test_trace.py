"""The course of an attack, as recorded."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dverge.attacks import AttackConfig, Norm, Trace, Victim, all_probabilities, attack
from dverge.models import Ensemble

LINF, L2 = Norm.LINF, Norm.L2
STEPS = 4
CONFIGS = {
    "linf": AttackConfig(LINF, 0.01, 0.004, STEPS),
    "l2": AttackConfig(L2, 0.3, 0.1, STEPS),
    "random start": AttackConfig(L2, 0.3, 0.1, STEPS, random_start=True),
    "restarts": AttackConfig(LINF, 0.004, 0.001, STEPS, random_start=True, restarts=4),
    "targeted restarts": AttackConfig(L2, 0.3, 0.1, STEPS, True, restarts=4, targeted=True),
    "best iterate": AttackConfig(LINF, 0.03, 0.03, STEPS, best_iterate=True),
}
all_configs = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())


def recorded(ensemble: Ensemble, images: Tensor, labels: Tensor, config: AttackConfig) -> Trace:
    trace = attack(ensemble, images, labels, config, Victim(2), record=True).trace
    assert trace is not None
    return trace


@all_configs
def test_shapes_and_ends(
    ensemble: Ensemble, images: Tensor, labels: Tensor, config: AttackConfig
) -> None:
    result = attack(ensemble, images, labels, config, Victim(2), record=True)
    trace = result.trace
    assert trace is not None
    count = len(images)
    assert trace.images.shape == (STEPS + 1, count, 3, 32, 32)
    assert trace.objective.shape == (STEPS + 1, count)
    assert trace.probabilities.shape == (STEPS + 1, 4, count, 10)
    assert trace.images[-1].equal(result.images)
    assert trace.objective[-1].equal(result.objective)
    assert trace.images[0].equal(images) is not config.random_start


@all_configs
def test_recording_changes_nothing(
    ensemble: Ensemble, images: Tensor, labels: Tensor, config: AttackConfig
) -> None:
    silent = attack(ensemble, images, labels, config, Victim(2))
    loud = attack(ensemble, images, labels, config, Victim(2), record=True)
    assert silent.images.equal(loud.images)
    assert silent.success.equal(loud.success)


@all_configs
def test_objective_and_probabilities_are_those_of_the_recorded_images(
    ensemble: Ensemble, images: Tensor, labels: Tensor, config: AttackConfig
) -> None:
    trace = recorded(ensemble, images, labels, config)
    sign = -1 if config.targeted else 1
    for iterate, objective, probabilities in zip(
        trace.images, trace.objective, trace.probabilities, strict=True
    ):
        with torch.no_grad():
            logits = ensemble.members[2](iterate)
        expected = sign * F.cross_entropy(logits, labels, reduction="none")
        torch.testing.assert_close(objective, expected)
        torch.testing.assert_close(probabilities, all_probabilities(ensemble, iterate))
        torch.testing.assert_close(probabilities[2], logits.softmax(1))


@pytest.mark.parametrize("name", ["linf", "l2", "restarts", "targeted restarts"])
def test_each_iterate_follows_from_the_one_before(
    ensemble: Ensemble, images: Tensor, labels: Tensor, name: str
) -> None:
    """A trace put together from several restarts would break this chain somewhere."""
    config, ensemble, images = CONFIGS[name], ensemble.double(), images.double()
    trace = recorded(ensemble, images, labels, config)
    for before, after in pairwise(trace.images):
        for x, found, origin, label in zip(before, after, images, labels, strict=True):
            expected = one_step(ensemble, x, origin, label, config)
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


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


def test_each_image_keeps_the_trace_of_its_own_worst_restart(
    ensemble: Ensemble, images: Tensor, labels: Tensor
) -> None:
    kept = recorded(ensemble, images, labels, CONFIGS["restarts"])
    one = AttackConfig(LINF, 0.004, 0.001, STEPS, random_start=True)
    first = recorded(ensemble, images, labels, one)
    same = [kept.images[:, i].equal(first.images[:, i]) for i in range(len(images))]
    assert not all(same)
    changed = torch.tensor([not each for each in same])
    assert (kept.objective[-1] > first.objective[-1])[changed].any()
    assert kept.images[0, changed].ne(first.images[0, changed]).flatten(1).any(1).all()
