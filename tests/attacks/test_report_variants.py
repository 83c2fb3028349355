"""The report's own "PGD" against a slow loop, image by image, from the words of the field notes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dverge.attacks import MIXTURE, Attack, Norm, Victim, fgsm, report_attack
from dverge.attacks import attack as standard_attack
from dverge.models import Conv, Ensemble

EPS, STEP = 0.03, 0.007
KINDS = {Norm.LINF: Attack.PGD_LINF, Norm.L2: Attack.PGD_L2}


def literal(model: torch.nn.Module, image: Tensor, label: int, norm: Norm) -> Tensor:
    """Five steps, each clipped or rescaled about the current iterate; none about the image."""
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
def test_it_is_the_literal_loop(
    ensemble: Ensemble, images: Tensor, labels: Tensor, norm: Norm, victim: Victim
) -> None:
    ensemble, images = ensemble.double(), images.double()
    found = report_attack(ensemble, images, labels, KINDS[norm], victim)
    model = ensemble if victim.member is None else ensemble.members[victim.member]
    for image, label, one in zip(images, labels.tolist(), found, strict=True):
        expected = literal(model, image, label, norm)
        torch.testing.assert_close(one, expected, rtol=0, atol=1e-9)


def test_the_linf_total_passes_eps_and_ends_at_five_steps(
    ensemble: Ensemble, images: Tensor, labels: Tensor
) -> None:
    moved = (report_attack(ensemble, images, labels, Attack.PGD_LINF) - images).abs()
    assert EPS < moved.max() <= 5 * STEP + 1e-6


def test_the_l2_total_passes_eps_and_ends_at_five_of_it(
    ensemble: Ensemble, images: Tensor, labels: Tensor
) -> None:
    moved = (report_attack(ensemble, images, labels, Attack.PGD_L2) - images).flatten(1).norm(dim=1)
    assert (moved > EPS).all()
    assert (moved <= 5 * EPS + 1e-6).all()


def test_each_l2_step_is_exactly_eps_long(
    ensemble: Ensemble, images: Tensor, labels: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = (0.25 + images / 2).double()  # far from the box, which would shorten steps
    before = inner
    for steps in (1, 2, 3, 4, 5):
        monkeypatch.setattr("dverge.attacks.report.STEPS", steps)
        after = report_attack(ensemble.double(), inner, labels, Attack.PGD_L2)
        length = (after - before).flatten(1).norm(dim=1)
        torch.testing.assert_close(length, torch.full_like(length, EPS))
        before = after


def test_pixels_stay_in_the_box(ensemble: Ensemble, labels: Tensor) -> None:
    extreme = torch.stack([torch.zeros(3, 32, 32), torch.ones(3, 32, 32)]).repeat(4, 1, 1, 1)
    for norm in Norm:
        found = report_attack(ensemble, extreme, labels, KINDS[norm])
        assert 0 <= found.min() <= found.max() <= 1


@pytest.mark.parametrize("victim", [MIXTURE, Victim(2)], ids=str)
def test_its_fgsm_is_one_linf_step_of_eps(
    ensemble: Ensemble, images: Tensor, labels: Tensor, victim: Victim
) -> None:
    ensemble, images = ensemble.double(), images.double()
    found = report_attack(ensemble, images, labels, Attack.FGSM, victim)
    due = standard_attack(ensemble, images, labels, fgsm(EPS), victim).images
    torch.testing.assert_close(found, due, rtol=0, atol=1e-9)


class Sure(Conv):
    """So sure of class 3 that float32 has no probability left for any other."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) + 200 * torch.eye(10)[3]


def test_a_gradient_that_float32_rounds_away_leaves_the_image_as_it_was(images: Tensor) -> None:
    sure = Ensemble([Sure(), Sure()]).eval()
    for label in (3, 5):  # the class it is sure of, and log 0
        labels = torch.full((len(images),), label)
        found = report_attack(sure, images, labels, Attack.PGD_LINF)
        assert found.equal(images)
    stably = standard_attack(sure, images, torch.full((len(images),), 5), fgsm(EPS)).images
    assert not stably.equal(images)
