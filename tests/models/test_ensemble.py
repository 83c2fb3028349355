"""The mixture against its formula, and where the formula overflows."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from dverge.errors import ConfigError
from dverge.models import Ensemble, mix, seeded_conv


class Fixed(nn.Module):
    """A member that adds the images' first ten pixels to logits of its own."""

    def __init__(self, *logits: float) -> None:
        super().__init__()
        self.logits = torch.tensor(logits)

    def forward(self, images: Tensor) -> Tensor:
        return self.logits + images.flatten(1)[:, :10]


@pytest.mark.parametrize("members", [1, 2, 3, 7])
def test_the_mixture_is_the_log_of_the_mean_softmax(images: Tensor, members: int) -> None:
    ensemble = Ensemble([seeded_conv(seed) for seed in range(members)]).double()
    images = images.double()
    each = [member(images).softmax(1) for member in ensemble.members]
    expected = torch.log(sum(each, start=torch.zeros(())) / members)
    torch.testing.assert_close(ensemble(images), expected)
    assert len(ensemble) == members
    torch.testing.assert_close(ensemble.member_log_probs(images).exp(), torch.stack(each))


def test_the_mixture_of_a_hand_computed_case() -> None:
    members = torch.tensor([[[0.9, 0.1]], [[0.5, 0.5]], [[0.1, 0.9]]]).double()
    torch.testing.assert_close(mix(members.log()).exp(), torch.tensor([[0.5, 0.5]]).double())


def test_no_members_are_refused() -> None:
    with pytest.raises(ConfigError, match="members is 0; it must be at least one member"):
        Ensemble([])


@pytest.mark.parametrize(("height", "rounding"), [(200.0, 1e-4), (1e4, 1e-3), (1e30, 1.0)])
def test_huge_logits_give_finite_values_and_gradients(height: float, rounding: float) -> None:
    """Both members are so confident of class 0 that the plain softmax of all others is 0."""
    ensemble = Ensemble([Fixed(height, *[0.0] * 9), Fixed(height, 0.0, *[-1.0] * 8)])
    images = torch.zeros(1, 3, 32, 32, requires_grad=True)
    plain = torch.stack([member(images).softmax(1) for member in ensemble.members]).mean(0).log()
    assert plain[0, 1] == -math.inf

    log_probs = ensemble(images)
    assert log_probs.isfinite().all()
    assert log_probs[0, 0] == 0
    assert log_probs[0, 1].item() == pytest.approx(-height, rel=1e-6)
    (gradient,) = torch.autograd.grad(log_probs[0, 1], images)
    assert gradient.isfinite().all()
    # Raising the second pixel raises the second logit of both members, and so the log-probability.
    assert gradient.flatten()[:2].tolist() == pytest.approx([-1, 1], rel=rounding)


def test_members_are_registered() -> None:
    ensemble = Ensemble([seeded_conv(0), seeded_conv(1)])
    assert sum(parameter.numel() for parameter in ensemble.parameters()) == 2 * 62_006
    assert not ensemble.eval().members[1].training
