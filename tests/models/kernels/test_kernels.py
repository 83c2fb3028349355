"""The compiled kernels against torch's autograd, in float64.

Features and gradients in the image are compared in test_compiled_conv.py.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dverge.attacks import AttackConfig, Norm, Victim
from dverge.attacks import attack as attack_by_autograd
from dverge.data import Split, load
from dverge.models import Conv, Ensemble, flat_parameters, kernels, seeded_conv
from dverge.models.kernels import LANES, PARAMETERS, UNKNOWN, learning, network
from dverge.models.kernels.layout import PAD, Workspace

Array = np.ndarray[Any, Any]


def block(values: Tensor) -> Array:
    """Values of LANES images, LANES×…, in the layout of the kernels: …×LANES, flat."""
    return values.flatten(1).T.contiguous().flatten().numpy()


def unblock(values: Array, *shape: int) -> Tensor:
    """The inverse of block, copied."""
    return torch.from_numpy(values.copy()).view(-1, LANES).T.reshape(LANES, *shape)


def parameters(*members: Any) -> Array:
    """A row of parameters for each member, a copy."""
    return flat_parameters(members).numpy()


def assert_near(result: Tensor, expected: Tensor, tolerance: float = 1e-12) -> None:
    """Near, relative to the largest number."""
    assert expected.abs().max() > 0
    assert (result - expected).abs().max() <= tolerance * expected.abs().max()


@pytest.fixture
def s() -> Workspace:
    return kernels.workspace(torch.float64)


@pytest.fixture
def member() -> Conv:
    return seeded_conv(0).double()


@pytest.fixture
def images() -> Tensor:
    """A block of sample images, float64."""
    return load(Split.SAMPLE).pixels(slice(0, 960, 60)).double()


@pytest.fixture
def labels() -> Tensor:
    return torch.arange(LANES) % 10


def test_the_gradient_of_equal_numbers_goes_to_the_first_of_a_cell(
    s: Workspace, member: Conv
) -> None:
    """As in torch: in an image of one colour, all features of a channel are equal."""
    for parameter in member.parameters():  # so few digits that sums of products are exact
        parameter.detach().mul_(32).round_().div_(32)
    (w,) = parameters(member)
    colours = (torch.arange(LANES).double() / LANES).view(-1, 1, 1, 1)
    x = colours.expand(LANES, 3, 32, 32).clone().requires_grad_()
    logits = member(x)
    (expected,) = torch.autograd.grad(logits.square().sum(), x)
    network.forward(w, block(x.detach()), s, 5)
    conv1 = unblock(s.conv1, 6, 28, 28)
    assert conv1.equal(conv1[:, :, :1, :1].expand_as(conv1))
    s.d_fc3[:] = block(2 * logits.detach())
    network.backward(w, s, 5, 0)
    assert_near(unblock(s.d_image, 3, 32, 32), expected)
    gradient = unblock(s.d_conv1, 6, 28, 36)[..., PAD:-PAD]
    assert gradient[:, :, ::2, ::2].any()
    assert not gradient[:, :, 1::2].any()
    assert not gradient[:, :, :, 1::2].any()


def test_relu_has_no_gradient_at_zero(s: Workspace, images: Tensor) -> None:
    zero = np.zeros(PARAMETERS)
    network.forward(zero, block(images), s, 5)
    s.d_fc3[:] = 1
    network.backward(zero, s, 5, 0)
    assert not s.d_fc2.any() and not s.d_image.any()


# --- cross-entropy ---


def cross_entropy(
    logits: Tensor, labels: Tensor, scale: float = 1.0, cap: float = math.inf
) -> tuple[float, Tensor]:
    """The kernel's loss and gradient."""
    d = np.full(10 * LANES, np.nan)
    loss = learning.cross_entropy(block(logits), labels.numpy(), scale, cap, d)
    return loss, unblock(d, 10)


def middle(values: Tensor) -> float:
    """A number between the lower and the upper half of the values."""
    half = len(values) // 2
    return values.sort().values[half - 1 : half + 1].mean().item()


@pytest.fixture
def logits() -> Tensor:
    return 3 * torch.randn(LANES, 10, generator=torch.Generator().manual_seed(0)).double()


@pytest.mark.parametrize("height", [1.0, 1e3, 1e30])
@pytest.mark.parametrize("scale", [1.0, -0.25])
def test_cross_entropy(logits: Tensor, labels: Tensor, scale: float, height: float) -> None:
    x = (logits * height).requires_grad_()
    expected = F.cross_entropy(x, labels, reduction="sum")
    loss, gradient = cross_entropy(x.detach(), labels, scale)
    assert loss == pytest.approx(expected.item(), rel=1e-13)
    assert_near(gradient, torch.autograd.grad(scale * expected, x)[0])


def test_images_above_the_cap_count_as_the_cap_and_have_no_gradient(
    logits: Tensor, labels: Tensor
) -> None:
    losses = F.cross_entropy(logits, labels, reduction="none")
    cap = middle(losses)
    _, uncapped = cross_entropy(logits, labels)
    loss, gradient = cross_entropy(logits, labels, cap=cap)
    above = losses > cap
    assert above.sum() == LANES / 2
    assert loss == pytest.approx(losses.clamp(max=cap).sum().item(), rel=1e-13)
    assert not gradient[above].any()
    assert gradient[~above].equal(uncapped[~above])


def test_lanes_without_an_image_count_for_nothing(logits: Tensor, labels: Tensor) -> None:
    logits[11:] = math.nan
    known = torch.where(torch.arange(LANES) < 11, labels, UNKNOWN)
    loss, gradient = cross_entropy(logits, known)
    expected = F.cross_entropy(logits[:11], labels[:11], reduction="sum")
    assert loss == pytest.approx(expected.item(), rel=1e-13)
    assert not gradient[11:].any()
    assert gradient[:11].isfinite().all()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("cap", [math.inf, 2.0])
@pytest.mark.parametrize("column", [0, 4])
def test_a_cap_does_not_hide_numbers_that_are_not_finite(
    logits: Tensor, labels: Tensor, column: int, cap: float, bad: float
) -> None:
    logits[4, column] = bad
    loss, gradient = cross_entropy(logits, labels, cap=cap)
    assert math.isnan(loss)
    assert gradient[4].isnan().any()
    assert gradient[:4].isfinite().all() and gradient[5:].isfinite().all()


def test_an_impossible_label_has_an_infinite_loss(logits: Tensor, labels: Tensor) -> None:
    logits[4, labels[4]] = -math.inf
    assert cross_entropy(logits, labels)[0] == math.inf
    losses = F.cross_entropy(logits, labels, reduction="none")
    loss, _ = cross_entropy(logits, labels, cap=2.0)
    assert loss == pytest.approx(losses.clamp(max=2.0).sum().item(), rel=1e-13)


# --- whole steps ---


def test_learn(s: Workspace, member: Conv, images: Tensor, labels: Tensor) -> None:
    known = torch.where(torch.arange(LANES) < 13, labels, UNKNOWN)
    losses = F.cross_entropy(member(images[:13]), labels[:13], reduction="none")
    cap, scale = middle(losses.detach()), 0.3
    capped = losses.clamp(max=cap)
    share = torch.linspace(0.1, 2, LANES, dtype=torch.float64)
    expected = torch.autograd.grad(scale * (share[:13] * capped).sum(), list(member.parameters()))
    (w,), result = parameters(member), np.full(PARAMETERS, np.nan)
    loss = kernels.learn(w, block(images), known.numpy(), scale, cap, share.numpy(), s, result)
    assert loss == pytest.approx(capped.sum().item(), rel=1e-12)
    parts = torch.from_numpy(result).split([each.numel() for each in expected])
    for part, each in zip(parts, expected, strict=True):
        assert_near(part, each.flatten())


def test_descend_is_torchs_sgd(member: Conv) -> None:
    (w,), velocity = parameters(member), np.zeros(PARAMETERS)
    parameter = torch.nn.Parameter(torch.from_numpy(w.copy()))
    optimizer = torch.optim.SGD([parameter], momentum=0.8, weight_decay=0.01)
    generator = torch.Generator().manual_seed(0)
    for rate in (0.1, 0.02, 0.3):
        rows = torch.randn(3, PARAMETERS, generator=generator, dtype=torch.float64)
        optimizer.param_groups[0]["lr"] = rate
        parameter.grad = rows.sum(0)
        optimizer.step()
        kernels.descend(w, velocity, rows.numpy(), rate, 0.8, 0.01)
    assert_near(torch.from_numpy(w), parameter.detach(), 1e-14)


# --- attacks ---


@pytest.fixture
def ensemble() -> Ensemble:
    """Members that differ in their confidence, so that the mixture weights them differently."""
    members = [seeded_conv(seed).double() for seed in range(3)]
    for i, member in enumerate(members):
        member.fc3.weight.detach().mul_(5 * (i + 1))
    return Ensemble(members)


def attack(
    s: Workspace, ensemble: Ensemble, images: Tensor, labels: Tensor, config: AttackConfig
) -> Tensor:
    image, origin = block(images).copy(), block(images)
    numbers = float(config.eps), float(config.step_size), config.steps, float(config.momentum)
    w = parameters(*ensemble.members)
    kernels.attack(w, origin, labels.numpy(), image, s, *numbers)
    return unblock(image, 3, 32, 32)


def test_a_mixture_that_is_confident_of_another_class_still_has_a_gradient(
    s: Workspace, ensemble: Ensemble, images: Tensor
) -> None:
    """The label's probability is 0 in float64, but the members' shares in it are not."""
    for member in ensemble.members:
        member.get_parameter("fc3.weight").detach().mul_(1e5)
    x, labels = images.clone().requires_grad_(), ensemble(images).argmin(1)
    assert (ensemble(images).exp().gather(1, labels[:, None]) == 0).all()
    (gradient,) = torch.autograd.grad(F.nll_loss(ensemble(x), labels, reduction="sum"), x)
    expected = gradient / gradient.abs().sum((1, 2, 3), keepdim=True)
    # After one step with momentum, the velocity is the gradient at L1 length one.
    attack(s, ensemble, images, labels, AttackConfig(Norm.LINF, 1, 0.1, 1, momentum=1))
    for velocity, each in zip(unblock(s.velocity, 3, 32, 32), expected, strict=True):
        assert_near(velocity, each, 1e-10)


def test_shares_in_the_mixture(
    s: Workspace, ensemble: Ensemble, images: Tensor, labels: Tensor
) -> None:
    known = torch.where(torch.arange(LANES) < 13, labels, UNKNOWN)
    share = np.full((3, LANES), np.nan)
    w = parameters(*ensemble.members)
    loss = kernels.shares(w, block(images), known.numpy(), s, share)
    of_label = ensemble.member_log_probs(images)[:, torch.arange(13), labels[:13]].exp()
    assert_near(torch.from_numpy(share[:, :13]), of_label / of_label.sum(0))
    assert loss == pytest.approx(-of_label.mean(0).log().sum().item(), rel=1e-12)


@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("momentum", [0, 0.5, 1])
def test_attacks_are_those_by_autograd(
    s: Workspace,
    ensemble: Ensemble,
    images: Tensor,
    labels: Tensor,
    members: int,
    momentum: float,
) -> None:
    ensemble = Ensemble(list(ensemble.members)[:members])
    config = AttackConfig(Norm.LINF, 0.03, 0.007, 8, momentum=momentum)
    victim = Victim(0) if members == 1 else Victim()
    expected = attack_by_autograd(ensemble, images, labels, config, victim).images
    for _ in range(2):  # values that the first leaves in the workspace do not change the second
        result = attack(s, ensemble, images, labels, config)
        torch.testing.assert_close(result, expected, rtol=0, atol=1e-12)


def test_an_image_without_a_gradient_stays_and_has_no_velocity(
    s: Workspace, images: Tensor
) -> None:
    image, target = block(images).copy(), block(images.roll(1, 0))
    kernels.distill(np.zeros(PARAMETERS), image, target, image, s, 3, 0.07, 0.007, 3, 1.0)
    assert unblock(image, 3, 32, 32).equal(images)
    assert not s.velocity.any()
