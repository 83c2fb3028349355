"""The report's own attacks against a slow loop, image by image, from their description."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dverge.attacks import MIXTURE, Attack, Norm, Victim, fgsm, report_attack
from dverge.attacks import attack as standard_attack
from dverge.models import Conv, Ensemble
from tests.attacks.case import Case

EPS, STEP = 0.03, 0.007
KINDS = {Norm.LINF: Attack.PGD_LINF, Norm.L2: Attack.PGD_L2}


def literal(model: torch.nn.Module, image: Tensor, label: int, norm: Norm) -> Tensor:
    """Five steps, each clipped or rescaled about the current iterate, not about the image."""
    current = image
    for _ in range(5):
        x = current.clone().requires_grad_()
        loss = -model(x[None]).log_softmax(1)[0, label]
        (gradient,) = torch.autograd.grad(loss, x)
        if norm is Norm.LINF:
            step = torch.clamp(STEP * gradient.sign(), -EPS, EPS)
        else:
            step = gradient / gradient.square().sum().sqrt() * EPS
        current = torch.clamp(current + step, 0, 1)
    return current


@pytest.mark.parametrize("norm", Norm)
@pytest.mark.parametrize("victim", [MIXTURE, Victim(1)], ids=str)
def test_it_is_the_literal_loop(precise: Case, norm: Norm, victim: Victim) -> None:
    result = report_attack(precise.ensemble, precise.images, precise.labels, KINDS[norm], victim)
    model = precise.model(victim)
    for image, label, end in zip(precise.images, precise.labels.tolist(), result, strict=True):
        torch.testing.assert_close(end, literal(model, image, label, norm), rtol=0, atol=1e-9)


def test_the_totals_pass_eps_and_end_at_five_steps(case: Case) -> None:
    linf, l2 = (
        report_attack(case.ensemble, case.images, case.labels, KINDS[norm]) - case.images
        for norm in (Norm.LINF, Norm.L2)
    )
    assert EPS < linf.abs().max() <= 5 * STEP + 1e-6
    lengths = l2.flatten(1).norm(dim=1)
    assert (lengths > EPS).all() and (lengths <= 5 * EPS + 1e-6).all()


def test_each_l2_step_is_exactly_eps_long(precise: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = 0.25 + precise.images / 2  # far from the box, which would shorten steps
    before = inner
    for steps in (1, 2, 3, 4, 5):
        monkeypatch.setattr("dverge.attacks.report.STEPS", steps)
        after = report_attack(precise.ensemble, inner, precise.labels, Attack.PGD_L2)
        length = (after - before).flatten(1).norm(dim=1)
        torch.testing.assert_close(length, torch.full_like(length, EPS))
        before = after


def test_pixels_stay_in_the_box(case: Case) -> None:
    extreme = torch.stack([torch.zeros(3, 32, 32), torch.ones(3, 32, 32)]).repeat(4, 1, 1, 1)
    for kind in KINDS.values():
        result = report_attack(case.ensemble, extreme, case.labels, kind)
        assert 0 <= result.min() <= result.max() <= 1


@pytest.mark.parametrize("victim", [MIXTURE, Victim(2)], ids=str)
def test_its_fgsm_is_one_linf_step_of_eps(precise: Case, victim: Victim) -> None:
    result = report_attack(precise.ensemble, precise.images, precise.labels, Attack.FGSM, victim)
    expected = precise.attack(fgsm(EPS), victim).images
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-9)


class Confident(Conv):
    """So confident of class 3 that float32 has no probability left for any other."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) + 200 * torch.eye(10)[3]


def test_a_gradient_that_float32_rounds_away_leaves_the_image_as_it_is(images: Tensor) -> None:
    confident = Ensemble([Confident(), Confident()]).eval()
    for label in (3, 5):  # the confident class, and a class of log 0
        labels = torch.full((len(images),), label)
        assert report_attack(confident, images, labels, Attack.PGD_LINF).equal(images)
    stable = standard_attack(confident, images, torch.full((len(images),), 5), fgsm(EPS)).images
    assert not stable.equal(images)
