"""The attack loop against foolbox 3.3.4, image for image."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import eagerpy as ep
import foolbox
import pytest
import torch
from foolbox.attacks.gradient_descent_base import BaseGradientDescent, normalize_lp_norms
from foolbox.criteria import Misclassification, TargetedMisclassification
from torch import Tensor, nn

from dverge.attacks import MIXTURE, AttackConfig, Norm, Victim, fgsm
from tests.attacks.case import Case

LINF, L2 = Norm.LINF, Norm.L2
victims = pytest.mark.parametrize("victim", [MIXTURE, Victim(0), Victim(2)], ids=str)


class LiteralMixture(nn.Module):
    """The formula of the mixture; in float64 it need not be stable."""

    def __init__(self, members: nn.ModuleList) -> None:
        super().__init__()
        self.members = members

    def forward(self, images: Tensor) -> Tensor:
        return torch.stack([member(images).softmax(1) for member in self.members]).mean(0).log()


class L1Length:
    """Adds up gradients of L1 length one, as Dong et al. (2018) do.

    foolbox takes the sign or the unit vector of each gradient before it adds them up.
    """

    def normalize(self, gradients: ep.Tensor, *, x: ep.Tensor, bounds: object) -> ep.Tensor:
        return normalize_lp_norms(gradients, p=1)


class LinfMomentum(L1Length, foolbox.attacks.LinfMomentumIterativeFastGradientMethod):
    pass


class L2Momentum(L1Length, foolbox.attacks.L2MomentumIterativeFastGradientMethod):
    pass


def by_foolbox(case: Case, module: nn.Module, config: AttackConfig) -> Tensor:
    """The same attack by foolbox; its raw result, before foolbox clips it about the image."""
    steps: dict[str, Any] = {"abs_stepsize": config.step_size, "steps": config.steps}
    oracle: BaseGradientDescent
    if config.steps == 1:
        oracle = foolbox.attacks.LinfFastGradientAttack()
    elif config.momentum:
        momentum = LinfMomentum if config.norm is LINF else L2Momentum
        oracle = momentum(momentum=config.momentum, **steps)
    else:
        pgd = foolbox.attacks.LinfPGD if config.norm is LINF else foolbox.attacks.L2PGD
        oracle = pgd(random_start=False, **steps)
    criterion = TargetedMisclassification if config.targeted else Misclassification
    model = foolbox.PyTorchModel(module, bounds=(0, 1), device="cpu")
    return oracle.run(model, case.images, criterion(case.aim(config)), epsilon=config.eps)


@victims
@pytest.mark.parametrize(
    "config",
    [
        fgsm(0.001),
        fgsm(0.03),
        fgsm(8 / 255),
        fgsm(1.0),
        AttackConfig(LINF, 0.03, 0.007, 10),
        AttackConfig(LINF, 8 / 255, 2 / 255, 7),
        AttackConfig(LINF, 0.001, 0.5, 2),
        AttackConfig(LINF, 0.3, 0.01, 5),
        AttackConfig(LINF, 0.03, 0.007, 5, targeted=True),
    ],
    ids=lambda c: f"{c.eps:.3f}-{c.step_size:.3f}-{c.steps}{'-targeted' * c.targeted}",
)
def test_linf_attacks_are_foolbox_bit_for_bit(
    case: Case, victim: Victim, config: AttackConfig
) -> None:
    result = case.attack(config, victim).images
    assert result.equal(by_foolbox(case, case.model(victim), config))
    assert not result.equal(case.images)


@victims
@pytest.mark.parametrize(
    "config",
    [
        AttackConfig(L2, 0.5, 0.125, 10),
        AttackConfig(L2, 0.5, 0.125, 10, targeted=True),
        AttackConfig(L2, 0.03, 1.0, 3),
        AttackConfig(L2, 5.0, 0.3, 25),
        AttackConfig(L2, 55.0, 20.0, 4),
        AttackConfig(LINF, 0.03, 0.003, 25),
        AttackConfig(LINF, 0.05, 0.007, 10, momentum=0.3),
        AttackConfig(LINF, 0.05, 0.007, 10, momentum=1, targeted=True),
        AttackConfig(L2, 1.0, 0.2, 10, momentum=1),
        AttackConfig(L2, 1.0, 0.2, 10, momentum=0.3, targeted=True),
    ],
    ids=lambda c: f"{c.norm}-{c.eps}-{c.steps}-{c.momentum}{'-targeted' * c.targeted}",
)
def test_in_float64_attacks_are_foolbox_to_the_ninth_digit(
    precise: Case, victim: Victim, config: AttackConfig
) -> None:
    literal = LiteralMixture(precise.ensemble.members).eval()
    module = literal if victim is MIXTURE else precise.model(victim)
    result = precise.attack(config, victim).images
    torch.testing.assert_close(result, by_foolbox(precise, module, config), rtol=0, atol=1e-9)
    if config.momentum:
        plain = precise.attack(replace(config, momentum=0), victim).images
        assert not result.isclose(plain).all()
