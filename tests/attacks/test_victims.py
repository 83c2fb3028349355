"""The loss of each victim against its formula in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dverge.attacks import MIXTURE, AttackConfig, Norm, Through, Victim
from dverge.attacks.gradient import value_and_gradient, victim_loss, victim_objective
from dverge.models import Ensemble
from tests.attacks.case import Case

Array = np.ndarray[Any, Any]
MIXTURES = tuple(Victim(through=each) for each in Through if each is not Through.TEMPERED)
TEMPERED = Victim(
    through=Through.TEMPERED
)  # its gradient takes the spread as fixed: see test_strong.py
mixtures = pytest.mark.parametrize("victim", MIXTURES, ids=str)
CONFIG = AttackConfig(Norm.LINF, 0.01, 0.0025, 8)


@pytest.fixture
def case(case: Case) -> Case:
    """Members in float64 that differ in their confidence, so that all means differ."""
    with torch.no_grad():
        for i, member in enumerate(case.ensemble.members):
            member.get_parameter("fc3.weight").mul_(1 + i)
        precise = case.double()
        return Case(precise.ensemble, precise.images, precise.ensemble(precise.images).argmax(1))


def softmax(logits: Array) -> Array:
    exponentials = np.exp(logits)
    return exponentials / exponentials.sum(-1, keepdims=True)


def of_labels(probabilities: Array, labels: Tensor) -> Array:
    """The probabilities of the labels, …×N, of …×N×10."""
    return probabilities[..., np.arange(len(labels)), labels.numpy()]


FORMULAS: dict[Victim, Callable[[Array, Tensor], Array]] = {
    Victim(through=Through.PROBABILITY): lambda z, y: -np.log(of_labels(softmax(z).mean(0), y)),
    Victim(through=Through.LOGIT): lambda z, y: -np.log(of_labels(softmax(z.mean(0)), y)),
    Victim(through=Through.LOSS): lambda z, y: -np.log(of_labels(softmax(z), y)).mean(0),
    TEMPERED: lambda z, y: (
        -np.log(of_labels(softmax(7 * z / (z.max(2) - z.mean(2))[..., None]).mean(0), y))
    ),
    Victim(0): lambda z, y: -np.log(of_labels(softmax(z[0]), y)),
    Victim(2): lambda z, y: -np.log(of_labels(softmax(z[2]), y)),
    Victim(1, Through.LOGIT): lambda z, y: -np.log(of_labels(softmax(z[1]), y)),
    Victim(1, Through.LOSS): lambda z, y: -np.log(of_labels(softmax(z[1]), y)),
}


def member_logits(ensemble: Ensemble, images: Tensor) -> Array:
    with torch.no_grad():
        return np.stack([member(images).numpy() for member in ensemble.members])


def formula(case: Case, victim: Victim, images: Tensor, labels: Tensor) -> Array:
    return FORMULAS[victim](member_logits(case.ensemble, images), labels)


@pytest.mark.parametrize("victim", FORMULAS, ids=repr)
def test_the_loss_is_the_formula(case: Case, victim: Victim) -> None:
    labels = torch.arange(8)
    expected = formula(case, victim, case.images, labels)
    loss = victim_loss(case.ensemble, case.images, labels, victim).detach().numpy()
    np.testing.assert_allclose(loss, expected, rtol=1e-10)
    assert len({round(value, 6) for value in expected}) == 8


def test_the_three_losses_differ_and_obey_jensens_inequality(case: Case) -> None:
    """The mean of logarithms is at most the logarithm of the mean."""
    probability, logit, loss = (
        victim_loss(case.ensemble, case.images, case.labels, victim) for victim in MIXTURES
    )
    assert (probability < loss).all()
    assert (logit < loss).all()
    assert not probability.isclose(logit, rtol=1e-3).any()


@mixtures
def test_with_one_member_all_losses_are_its_cross_entropy(case: Case, victim: Victim) -> None:
    one = Ensemble(list(case.ensemble.members)[1:2])
    expected = victim_loss(case.ensemble, case.images, case.labels, Victim(1))
    loss = victim_loss(one, case.images, case.labels, victim)
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("victim", [*MIXTURES, Victim(2)], ids=str)
def test_gradients_by_finite_differences(case: Case, victim: Victim, targeted: bool) -> None:
    x, y, sign = case.images[:3], case.labels[:3], -1 if targeted else 1
    config = AttackConfig(Norm.LINF, 0.1, 0.1, 1, targeted=targeted)
    value, gradient = value_and_gradient(victim_objective(case.ensemble, y, config, victim), x)
    np.testing.assert_allclose(value.numpy(), sign * formula(case, victim, x, y), rtol=1e-10)
    generator, h = torch.Generator().manual_seed(0), 1e-6
    for _ in range(10):
        d = torch.randn(x.shape, generator=generator, dtype=torch.float64)
        d = d / d.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        up, down = (formula(case, victim, x + h * s * d, y) for s in (1, -1))
        slope = (gradient * d).flatten(1).sum(1).numpy()
        np.testing.assert_allclose(slope, sign * (up - down) / (2 * h), rtol=1e-4, atol=1e-6)
    assert (gradient.flatten(1).norm(dim=1) > 1e-3).all()


@mixtures
def test_there_is_a_gradient_if_all_are_sure_of_another_class(case: Case, victim: Victim) -> None:
    """Even if the label's probability is 0 in float64."""
    for member in case.ensemble.members:
        member.get_parameter("fc3.weight").detach().mul_(1e4)
    with torch.no_grad():
        labels = case.ensemble(case.images).argmin(1)
        assert (case.ensemble(case.images).exp().gather(1, labels[:, None]) == 0).all()
    objective = victim_objective(case.ensemble, labels, CONFIG, victim)
    value, gradient = value_and_gradient(objective, case.images)
    assert value.isfinite().all() and gradient.isfinite().all()
    assert (gradient != 0).flatten(1).any(1).all()


def test_each_attack_raises_its_own_loss_and_the_mixture_decides_its_success(case: Case) -> None:
    results = [case.attack(CONFIG, victim) for victim in MIXTURES]
    for victim, result in zip(MIXTURES, results, strict=True):
        after = formula(case, victim, result.images, case.labels)
        np.testing.assert_allclose(result.objective.numpy(), after, rtol=1e-10)
        assert (after > formula(case, victim, case.images, case.labels)).all()
        answers = softmax(member_logits(case.ensemble, result.images)).mean(0).argmax(-1)
        assert result.success.tolist() == (answers != case.labels.numpy()).tolist()
        assert result.success.any()
        losses = [formula(case, victim, each.images, case.labels).mean() for each in results]
        assert max(losses) == after.mean()  # no other attack raises this loss more
    for one, other in combinations(results, 2):
        assert not one.images.isclose(other.images).all()


def test_the_default_victim_is_the_mean_probability() -> None:
    assert Victim() == MIXTURE == MIXTURES[0]
