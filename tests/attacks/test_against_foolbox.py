"""The attack loop against foolbox 3.3.4, image for image."""

from __future__ import annotations

from dataclasses import replace

import eagerpy as ep
import foolbox
import pytest
import torch
from foolbox.attacks.gradient_descent_base import BaseGradientDescent, normalize_lp_norms
from foolbox.criteria import Misclassification, TargetedMisclassification
from torch import Tensor, nn

from dverge.attacks import MIXTURE, AttackConfig, Norm, Victim, attack, fgsm, pgd
from dverge.models import Ensemble

VICTIMS = (MIXTURE, Victim(0), Victim(2))
LINF, L2 = Norm.LINF, Norm.L2


class LiteralMixture(nn.Module):
    """The mixture as the formula says it, for float64, where it need not be stable."""

    def __init__(self, members: nn.ModuleList) -> None:
        super().__init__()
        self.members = members

    def forward(self, images: Tensor) -> Tensor:
        return torch.stack([member(images).softmax(1) for member in self.members]).mean(0).log()


def with_foolbox(module: nn.Module, images: Tensor, labels: Tensor, config: AttackConfig) -> Tensor:
    """The same attack by foolbox; its raw result, before foolbox clips it about the image."""
    model = foolbox.PyTorchModel(module, bounds=(0, 1), device="cpu")
    kind = {LINF: foolbox.attacks.LinfPGD, L2: foolbox.attacks.L2PGD}[config.norm]
    oracle: BaseGradientDescent = kind(
        abs_stepsize=config.step_size, steps=config.steps, random_start=False
    )
    criterion = (TargetedMisclassification if config.targeted else Misclassification)(labels)
    return oracle.run(model, images, criterion, epsilon=config.eps)


def module_of(ensemble: Ensemble, victim: Victim) -> nn.Module:
    return ensemble if victim.member is None else ensemble.members[victim.member]


@pytest.mark.parametrize("victim", VICTIMS, ids=str)
@pytest.mark.parametrize("eps", [0.001, 0.03, 8 / 255, 1.0])
def test_fgsm_is_foolbox_fgsm(
    ensemble: Ensemble, images: Tensor, labels: Tensor, victim: Victim, eps: float
) -> None:
    model = foolbox.PyTorchModel(module_of(ensemble, victim), bounds=(0, 1), device="cpu")
    expected = foolbox.attacks.LinfFastGradientAttack().run(model, images, labels, epsilon=eps)
    assert attack(ensemble, images, labels, fgsm(eps), victim).images.equal(expected)


@pytest.mark.parametrize("victim", VICTIMS, ids=str)
@pytest.mark.parametrize(
    ("eps", "step_size", "steps", "targeted"),
    [
        (0.03, 0.007, 10, False),
        (8 / 255, 2 / 255, 7, False),
        (0.001, 0.5, 2, False),
        (0.3, 0.01, 5, False),
        (0.03, 0.007, 5, True),
    ],
)
def test_pgd_linf_is_foolbox_pgd_bit_for_bit(
    ensemble: Ensemble,
    images: Tensor,
    labels: Tensor,
    victim: Victim,
    eps: float,
    step_size: float,
    steps: int,
    targeted: bool,
) -> None:
    aim = (labels + 1) % 10 if targeted else labels
    config = AttackConfig(LINF, eps, step_size, steps, targeted=targeted)
    expected = with_foolbox(module_of(ensemble, victim), images, aim, config)
    found = attack(ensemble, images, aim, config, victim)
    assert found.images.equal(expected)
    assert not found.images.equal(images)


@pytest.mark.parametrize("victim", VICTIMS, ids=str)
@pytest.mark.parametrize(
    "config",
    [
        AttackConfig(L2, 0.5, 0.125, 10),
        AttackConfig(L2, 0.5, 0.125, 10, targeted=True),
        AttackConfig(L2, 0.03, 1.0, 3),
        AttackConfig(L2, 5.0, 0.3, 25),
        AttackConfig(L2, 55.0, 20.0, 4),
        AttackConfig(LINF, 0.03, 0.003, 25),
    ],
    ids=lambda c: f"{c.norm}-{c.eps}-{c.step_size}-{c.steps}{'-targeted' * c.targeted}",
)
def test_in_float64_it_is_foolbox_to_the_ninth_digit(
    ensemble: Ensemble, images: Tensor, labels: Tensor, victim: Victim, config: AttackConfig
) -> None:
    ensemble, images = ensemble.double(), images.double()
    aim = (labels + 3) % 10 if config.targeted else labels
    module = LiteralMixture(ensemble.members) if victim is MIXTURE else module_of(ensemble, victim)
    expected = with_foolbox(module.eval(), images, aim, config)
    found = attack(ensemble, images, aim, config, victim).images
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


class L1Length:
    """The gradient at L1 length one, as Dong et al. 2018 have it: foolbox takes its sign or its
    unit vector before it adds it up."""

    def normalize(self, gradients: ep.Tensor, *, x: ep.Tensor, bounds: object) -> ep.Tensor:
        return normalize_lp_norms(gradients, p=1)


class LinfMomentum(L1Length, foolbox.attacks.LinfMomentumIterativeFastGradientMethod):
    pass


class L2Momentum(L1Length, foolbox.attacks.L2MomentumIterativeFastGradientMethod):
    pass


@pytest.mark.parametrize("victim", VICTIMS, ids=str)
@pytest.mark.parametrize("momentum", [0.3, 1.0])
@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize(("norm", "eps", "step_size"), [(LINF, 0.05, 0.007), (L2, 1.0, 0.2)])
def test_momentum_is_foolbox_momentum(
    ensemble: Ensemble,
    images: Tensor,
    labels: Tensor,
    victim: Victim,
    momentum: float,
    targeted: bool,
    norm: Norm,
    eps: float,
    step_size: float,
) -> None:
    ensemble, images = ensemble.double(), images.double()
    aim = (labels + 3) % 10 if targeted else labels
    module = LiteralMixture(ensemble.members) if victim is MIXTURE else module_of(ensemble, victim)
    model = foolbox.PyTorchModel(module.eval(), bounds=(0, 1), device="cpu")
    kind = {LINF: LinfMomentum, L2: L2Momentum}[norm]
    oracle = kind(momentum=momentum, abs_stepsize=step_size, steps=10)
    criterion = (TargetedMisclassification if targeted else Misclassification)(aim)
    expected = oracle.run(model, images, criterion, epsilon=eps)
    config = AttackConfig(norm, eps, step_size, 10, targeted=targeted, momentum=momentum)
    found = attack(ensemble, images, aim, config, victim).images
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)
    plain = attack(ensemble, images, aim, replace(config, momentum=0), victim).images
    assert not found.isclose(plain).all()


def test_the_step_size_of_pgd_is_two_and_a_half_eps_over_steps(
    ensemble: Ensemble, images: Tensor, labels: Tensor
) -> None:
    config = pgd(LINF, 0.04, steps=5, random_start=False)
    expected = with_foolbox(ensemble, images, labels, AttackConfig(LINF, 0.04, 0.02, 5))
    torch.testing.assert_close(attack(ensemble, images, labels, config).images, expected)
