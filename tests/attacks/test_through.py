"""What of the mixture an attack follows: each loss by its formula, in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dverge.attacks import MIXTURE, AttackConfig, Norm, Through, Victim, attack, parse_victim
from dverge.attacks.gradient import value_and_gradient, victim_loss, victim_objective
from dverge.errors import ConfigError
from dverge.models import Ensemble

Array = np.ndarray[Any, Any]
MIXTURES = tuple(Victim(through=through) for through in Through)


@pytest.fixture
def unlike(ensemble: Ensemble) -> Ensemble:
    """Members in float64 that differ in how sure they are, so that no two means are alike."""
    with torch.no_grad():
        for i, member in enumerate(ensemble.members):
            member.get_parameter("fc3.weight").mul_(1 + i)
    return ensemble.double()


@pytest.fixture
def images(images: Tensor) -> Tensor:
    return images.double()


@pytest.fixture
def labels(unlike: Ensemble, images: Tensor) -> Tensor:
    with torch.no_grad():
        return unlike(images).argmax(1)


def logits_of(ensemble: Ensemble, images: Tensor) -> Array:
    with torch.no_grad():
        return np.stack([member(images).numpy() for member in ensemble.members])


def softmax(logits: Array) -> Array:
    shares = np.exp(logits)
    return shares / shares.sum(-1, keepdims=True)


def of_true(shares: Array, labels: Tensor) -> Array:
    """Of …×N×10 the numbers of the true classes, …×N."""
    return shares[..., np.arange(len(labels)), labels.numpy()]


FORMULAS: dict[Victim, Callable[[Array, Tensor], Array]] = {
    Victim(through=Through.PROBABILITY): lambda z, y: -np.log(of_true(softmax(z).mean(0), y)),
    Victim(through=Through.LOGIT): lambda z, y: -np.log(of_true(softmax(z.mean(0)), y)),
    Victim(through=Through.LOSS): lambda z, y: -np.log(of_true(softmax(z), y)).mean(0),
    Victim(0): lambda z, y: -np.log(of_true(softmax(z[0]), y)),
    Victim(2): lambda z, y: -np.log(of_true(softmax(z[2]), y)),
    Victim(1, Through.LOGIT): lambda z, y: -np.log(of_true(softmax(z[1]), y)),
    Victim(1, Through.LOSS): lambda z, y: -np.log(of_true(softmax(z[1]), y)),
}


@pytest.mark.parametrize("victim", FORMULAS, ids=repr)
def test_the_loss_is_the_formula(unlike: Ensemble, images: Tensor, victim: Victim) -> None:
    labels = torch.arange(8)
    due = FORMULAS[victim](logits_of(unlike, images), labels)
    found = victim_loss(unlike, images, labels, victim).detach().numpy()
    np.testing.assert_allclose(found, due, rtol=1e-10)
    assert len({round(v, 6) for v in due}) == 8


def test_the_three_are_different_and_in_the_order_of_jensen(
    unlike: Ensemble, images: Tensor, labels: Tensor
) -> None:
    """The mean of logs is never above the log of the mean."""
    probability, logit, loss = (victim_loss(unlike, images, labels, v) for v in MIXTURES)
    assert (probability < loss).all()
    assert (logit < loss).all()
    assert not probability.isclose(logit, rtol=1e-3).any()


@pytest.mark.parametrize("victim", MIXTURES, ids=str)
def test_of_one_member_all_are_its_cross_entropy(
    unlike: Ensemble, images: Tensor, labels: Tensor, victim: Victim
) -> None:
    one = Ensemble(list(unlike.members)[1:2])
    due = victim_loss(unlike, images, labels, Victim(1))
    torch.testing.assert_close(victim_loss(one, images, labels, victim), due)


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("victim", [*MIXTURES, Victim(2)], ids=str)
def test_gradients_by_finite_differences(
    unlike: Ensemble, images: Tensor, labels: Tensor, victim: Victim, targeted: bool
) -> None:
    x, y = images[:3], labels[:3]
    config = AttackConfig(Norm.LINF, 0.1, 0.1, 1, targeted=targeted)
    objective = victim_objective(unlike, y, config, victim)
    value, gradient = value_and_gradient(objective, x)
    due = FORMULAS[victim](logits_of(unlike, x), y) * (-1 if targeted else 1)
    np.testing.assert_allclose(value.numpy(), due, rtol=1e-10)
    generator, h = torch.Generator().manual_seed(0), 1e-6
    for _ in range(10):
        d = torch.randn(x.shape, generator=generator, dtype=torch.float64)
        d = d / d.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        ends = [FORMULAS[victim](logits_of(unlike, x + h * s * d), y) for s in (1, -1)]
        slope = (ends[0] - ends[1]) / (2 * h) * (-1 if targeted else 1)
        found = (gradient * d).flatten(1).sum(1).numpy()
        np.testing.assert_allclose(found, slope, rtol=1e-4, atol=1e-6)
    assert (gradient.flatten(1).norm(dim=1) > 1e-3).all()


@pytest.mark.parametrize("victim", MIXTURES, ids=str)
def test_where_all_are_sure_of_another_class_there_is_a_gradient(
    unlike: Ensemble, images: Tensor, victim: Victim
) -> None:
    """Also where the label's probability is no number above 0 any more."""
    for member in unlike.members:
        member.get_parameter("fc3.weight").detach().mul_(1e4)
    with torch.no_grad():
        labels = unlike(images).argmin(1)
        assert (unlike(images).exp().gather(1, labels[:, None]) == 0).all()
    config = AttackConfig(Norm.LINF, 0.1, 0.1, 1)
    value, gradient = value_and_gradient(victim_objective(unlike, labels, config, victim), images)
    assert value.isfinite().all() and gradient.isfinite().all()
    assert (gradient != 0).flatten(1).any(1).all()


@pytest.mark.parametrize("victim", MIXTURES, ids=str)
def test_an_attack_raises_what_it_follows_and_is_judged_by_the_mixture(
    unlike: Ensemble, images: Tensor, labels: Tensor, victim: Victim
) -> None:
    config = AttackConfig(Norm.LINF, 0.01, 0.0025, 8)
    found = attack(unlike, images, labels, config, victim)
    after = FORMULAS[victim](logits_of(unlike, found.images), labels)
    np.testing.assert_allclose(found.objective.numpy(), after, rtol=1e-10)
    assert (after > FORMULAS[victim](logits_of(unlike, images), labels)).all()
    says = softmax(logits_of(unlike, found.images)).mean(0).argmax(-1)
    assert found.success.tolist() == (says != labels.numpy()).tolist()
    assert found.success.any()


def test_the_attacks_go_different_ways(unlike: Ensemble, images: Tensor, labels: Tensor) -> None:
    config = AttackConfig(Norm.LINF, 0.01, 0.0025, 8)
    found = [attack(unlike, images, labels, config, victim) for victim in MIXTURES]
    for i, j in product(range(3), repeat=2):
        assert i == j or not found[i].images.isclose(found[j].images).all()
    # each is the best of the three at its own objective, on the whole
    for i, victim in enumerate(MIXTURES):
        mine = [victim_loss(unlike, each.images, labels, victim).mean().item() for each in found]
        assert max(mine) == mine[i]


# --- names ---

NAMES = {
    "mixture": MIXTURE,
    "mixture-logit": Victim(through=Through.LOGIT),
    "mixture-loss": Victim(through=Through.LOSS),
    "member-1": Victim(0),
    "member-2": Victim(1),
    "member-16": Victim(15),
}


@pytest.mark.parametrize("name", NAMES)
def test_names_there_and_back(name: str) -> None:
    assert str(NAMES[name]) == name
    assert parse_victim(name) == NAMES[name]


def test_every_way_has_a_name() -> None:
    assert {str(Victim(through=through)) for through in Through} <= NAMES.keys()


@pytest.mark.parametrize(
    "name", ["mixture-probability", "mixture-", "mixture-Loss", "mixture-logits", "logit", "loss"]
)
def test_names_of_no_way(name: str) -> None:
    with pytest.raises(ConfigError, match=f"victim is '{name}'; it must be mixture"):
        parse_victim(name)
