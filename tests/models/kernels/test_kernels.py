"""The compiled kernels against torch's autograd, in float64."""

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
from dverge.models import LAYERS, Conv, Ensemble, flat_parameters, kernels, seeded_conv
from dverge.models.kernels import LANES, PARAMETERS, UNKNOWN, learning, network
from dverge.models.kernels.layout import IMAGE, PAD, Workspace

Array = np.ndarray[Any, Any]
PADDED_ROWS = {1: 28, 2: 10}  # layers whose gradients have PAD zeros on both sides of a row
FEATURES = {1: "conv1", 2: "conv2", 3: "fc1", 4: "fc2", 5: "fc3"}


def block(values: Tensor) -> Array:
    """Values of LANES images, LANES×…, as the kernels have them: …×LANES, flat."""
    return values.flatten(1).T.contiguous().flatten().numpy()


def unblock(values: Array, *shape: int) -> Tensor:
    """The inverse of block, copied."""
    return torch.from_numpy(values.copy()).view(-1, LANES).T.reshape(LANES, *shape)


def workspace() -> Workspace:
    return kernels.workspace(torch.float64)


def row_of(member: Conv) -> Array:
    """A member's parameters, a copy."""
    return flat_parameters([member])[0].numpy()


def assert_near(found: Tensor, due: Tensor, tolerance: float = 1e-12) -> None:
    """Within a share of the largest number that is due."""
    assert due.abs().max() > 0
    assert (found - due).abs().max() <= tolerance * due.abs().max()


@pytest.fixture
def member() -> Conv:
    return seeded_conv(0).double()


@pytest.fixture
def sixteen() -> Tensor:
    """A block of sample images, float64."""
    return load(Split.SAMPLE).pixels(slice(0, 960, 60)).double()


@pytest.fixture
def classes() -> Tensor:
    return torch.arange(LANES) % 10


@pytest.mark.parametrize("layer", range(1, LAYERS + 1))
def test_features(member: Conv, sixteen: Tensor, layer: int) -> None:
    s, due = workspace(), member.features(sixteen, layer).detach()
    network.forward(row_of(member), block(sixteen), s, layer)
    assert_near(unblock(getattr(s, FEATURES[layer]), *due.shape[1:]), due)


def set_gradient(s: Workspace, layer: int, gradient: Tensor) -> None:
    """Put the gradient of a layer's features where backward takes it from."""
    if layer in PADDED_ROWS:
        gradient = F.pad(gradient, (PAD, PAD))
    getattr(s, f"d_{FEATURES[layer]}")[:] = block(gradient)


@pytest.mark.parametrize("layer", range(1, LAYERS + 1))
def test_gradients_in_the_image(member: Conv, sixteen: Tensor, layer: int) -> None:
    """Of any function of a layer's features, twice in the same workspace."""
    s, w = workspace(), row_of(member)
    for seed in (0, 1):
        images = sixteen.roll(seed, 0).requires_grad_()
        features = member.features(images, layer)
        generator = torch.Generator().manual_seed(seed)
        above = torch.randn(features.shape, generator=generator, dtype=torch.float64)
        (due,) = torch.autograd.grad(features, images, above)
        network.forward(w, block(images.detach()), s, layer)
        set_gradient(s, layer, above)
        network.backward(w, s, layer, 0)
        assert_near(unblock(s.d_image, 3, 32, 32), due)


def test_gradients_in_the_parameters(member: Conv, sixteen: Tensor) -> None:
    """Of any function of the logits, summed over the images."""
    s, w, found = workspace(), row_of(member), np.full(PARAMETERS, np.nan)
    logits = member(sixteen)
    above = torch.randn(logits.shape, generator=torch.Generator().manual_seed(0)).double()
    due = torch.autograd.grad(logits, list(member.parameters()), above)
    network.forward(w, block(sixteen), s, 5)
    set_gradient(s, 5, above)
    network.backward(w, s, 5, 1)
    network.parameter_gradient(block(sixteen), s, found)
    parts = torch.from_numpy(found).split([each.numel() for each in due])
    for part, expected in zip(parts, due, strict=True):
        assert_near(part, expected.flatten())


def exact(member: Conv) -> Conv:
    """The member with parameters of so few digits that sums of their products are exact."""
    for parameter in member.parameters():
        parameter.detach().mul_(32).round_().div_(32)
    return member


def test_the_gradient_of_equal_numbers_goes_to_the_first_of_a_cell(member: Conv) -> None:
    """As in torch: of images of one colour, all features of a channel are the same."""
    member, s = exact(member), workspace()
    colours = (torch.arange(LANES).double() / LANES).view(-1, 1, 1, 1)
    images = colours.expand(LANES, 3, 32, 32).clone().requires_grad_()
    logits = member(images)
    (due,) = torch.autograd.grad(logits.square().sum(), images)
    network.forward(row_of(member), block(images.detach()), s, 5)
    first = unblock(s.conv1, 6, 28, 28)
    assert first.equal(first[:, :, :1, :1].expand_as(first))
    set_gradient(s, 5, 2 * logits.detach())
    network.backward(row_of(member), s, 5, 0)
    assert_near(unblock(s.d_image, 3, 32, 32), due)
    into_first = unblock(s.d_conv1, 6, 28, 36)[..., PAD:-PAD]
    assert into_first[:, :, ::2, ::2].any()
    assert not into_first[:, :, 1::2].any()
    assert not into_first[:, :, :, 1::2].any()


def test_there_is_no_gradient_where_relu_stands_at_zero(sixteen: Tensor) -> None:
    nothing, s = np.zeros(PARAMETERS), workspace()
    network.forward(nothing, block(sixteen), s, 5)
    set_gradient(s, 5, torch.ones(LANES, 10).double())
    network.backward(nothing, s, 5, 0)
    assert not s.d_fc2.any() and not s.d_image.any()


def middle(values: Tensor) -> float:
    """A number with half of the values below it, and none near it."""
    half = len(values) // 2
    return values.sort().values[half - 1 : half + 1].mean().item()


# --- cross-entropy ---


def cross_entropy(
    logits: Tensor, labels: Tensor, scale: float = 1.0, cap: float = math.inf
) -> tuple[float, Tensor]:
    """The kernel's loss and gradient."""
    d = np.full(10 * LANES, np.nan)
    loss = learning.cross_entropy(block(logits), labels.numpy(), scale, cap, d)
    return loss, unblock(d, 10)


@pytest.fixture
def logits() -> Tensor:
    return 3 * torch.randn(LANES, 10, generator=torch.Generator().manual_seed(0)).double()


@pytest.mark.parametrize("height", [1.0, 1e3, 1e30])
@pytest.mark.parametrize("scale", [1.0, -0.25])
def test_cross_entropy(logits: Tensor, classes: Tensor, scale: float, height: float) -> None:
    x = (logits * height).requires_grad_()
    due = F.cross_entropy(x, classes, reduction="sum")
    (gradient,) = torch.autograd.grad(scale * due, x)
    loss, found = cross_entropy(x.detach(), classes, scale)
    assert loss == pytest.approx(due.item(), rel=1e-13)
    assert_near(found, gradient)


def test_images_above_the_cap_count_as_the_cap_and_teach_nothing(
    logits: Tensor, classes: Tensor
) -> None:
    each = F.cross_entropy(logits, classes, reduction="none")
    cap = middle(each)
    _, free = cross_entropy(logits, classes)
    loss, found = cross_entropy(logits, classes, cap=cap)
    above = each > cap
    assert above.sum() == LANES / 2
    assert loss == pytest.approx(each.clamp(max=cap).sum().item(), rel=1e-13)
    assert not found[above].any()
    assert found[~above].equal(free[~above])


def test_lanes_without_an_image_count_for_nothing(logits: Tensor, classes: Tensor) -> None:
    logits[11:] = math.nan  # whatever they hold
    labels = torch.where(torch.arange(LANES) < 11, classes, UNKNOWN)
    loss, found = cross_entropy(logits, labels)
    due = F.cross_entropy(logits[:11], classes[:11], reduction="sum")
    assert loss == pytest.approx(due.item(), rel=1e-13)
    assert not found[11:].any()
    assert found[:11].isfinite().all()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("cap", [math.inf, 2.0])
@pytest.mark.parametrize("column", [0, 4])
def test_what_is_not_finite_is_carried_on_to_be_noticed(
    logits: Tensor, classes: Tensor, column: int, cap: float, bad: float
) -> None:
    """A cap does not hide it."""
    logits[4, column] = bad
    loss, found = cross_entropy(logits, classes, cap=cap)
    assert math.isnan(loss)
    assert found[4].isnan().any()
    assert found[:4].isfinite().all() and found[5:].isfinite().all()


def test_a_label_that_is_impossible_has_an_infinite_loss(logits: Tensor, classes: Tensor) -> None:
    logits[4, classes[4]] = -math.inf
    assert cross_entropy(logits, classes)[0] == math.inf
    each = F.cross_entropy(logits, classes, reduction="none")
    loss, _ = cross_entropy(logits, classes, cap=2.0)
    assert loss == pytest.approx(each.clamp(max=2.0).sum().item(), rel=1e-13)


# --- whole steps ---


def test_learn(member: Conv, sixteen: Tensor, classes: Tensor) -> None:
    labels = torch.where(torch.arange(LANES) < 13, classes, UNKNOWN)
    each = F.cross_entropy(member(sixteen[:13]), labels[:13], reduction="none")
    cap, scale = middle(each.detach()), 0.3
    capped = each.clamp(max=cap)
    share = torch.linspace(0.1, 2, LANES, dtype=torch.float64)
    due = torch.autograd.grad(scale * (share[:13] * capped).sum(), list(member.parameters()))
    found = np.full(PARAMETERS, np.nan)
    weights, images, own = row_of(member), block(sixteen), workspace()
    loss = kernels.learn(weights, images, labels.numpy(), scale, cap, share.numpy(), own, found)
    assert loss == pytest.approx(capped.sum().item(), rel=1e-12)
    assert_near(torch.from_numpy(found), torch.cat([part.flatten() for part in due]))


def test_descend_is_torchs_sgd(member: Conv) -> None:
    w, velocity = row_of(member), np.zeros(PARAMETERS)
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
def several() -> Ensemble:
    """Members that differ in how sure they are, so that the mixture weights them differently."""
    members = [seeded_conv(seed).double() for seed in range(3)]
    for i, each in enumerate(members):
        each.fc3.weight.detach().mul_(5 * (i + 1))
    return Ensemble(members)


def attacked(
    ensemble: Ensemble, images: Tensor, labels: Tensor, config: AttackConfig, s: Workspace
) -> Tensor:
    rows = flat_parameters([each for each in ensemble.members if isinstance(each, Conv)]).numpy()
    found, origin = block(images).copy(), block(images)
    numbers = float(config.eps), float(config.step_size), config.steps, float(config.momentum)
    kernels.attack(rows, origin, labels.numpy(), found, s, *numbers)
    return unblock(found, 3, 32, 32)


def assert_gradient(ensemble: Ensemble, images: Tensor, labels: Tensor) -> None:
    """After one step with momentum, the velocity is the gradient at L1 length one."""
    s, x = workspace(), images.clone().requires_grad_()
    attacked(ensemble, images, labels, AttackConfig(Norm.LINF, 1, 0.1, 1, momentum=1), s)
    (due,) = torch.autograd.grad(F.nll_loss(ensemble(x), labels, reduction="sum"), x)
    due = due / due.abs().sum((1, 2, 3), keepdim=True)
    for found, expected in zip(unblock(s.velocity, 3, 32, 32), due, strict=True):
        assert_near(found, expected, 1e-10)


@pytest.mark.parametrize("members", [1, 2, 3])
def test_the_gradient_of_the_mixtures_cross_entropy(
    several: Ensemble, sixteen: Tensor, classes: Tensor, members: int
) -> None:
    assert_gradient(Ensemble(list(several.members)[:members]), sixteen, classes)


def test_a_mixture_that_is_sure_of_another_class_has_a_gradient_all_the_same(
    several: Ensemble, sixteen: Tensor
) -> None:
    """Where the label's probability is 0 in float64, the members' shares in it still are not."""
    for each in several.members:
        assert isinstance(each, Conv)
        each.fc3.weight.detach().mul_(1e5)
    least = several(sixteen).argmin(1)
    assert (several(sixteen).exp().gather(1, least[:, None]) == 0).all()
    assert_gradient(several, sixteen, least)


def test_shares_in_the_mixture(several: Ensemble, sixteen: Tensor, classes: Tensor) -> None:
    known = torch.where(torch.arange(LANES) < 13, classes, UNKNOWN)
    rows = flat_parameters([each for each in several.members if isinstance(each, Conv)]).numpy()
    found = np.full((3, LANES), np.nan)
    loss = kernels.shares(rows, block(sixteen), known.numpy(), workspace(), found)
    of_label = several.member_log_probs(sixteen)[:, torch.arange(13), classes[:13]].exp()
    assert_near(torch.from_numpy(found[:, :13]), of_label[:, :13] / of_label.sum(0))
    assert loss == pytest.approx(-of_label.mean(0).log().sum().item(), rel=1e-12)


@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("momentum", [0, 0.5, 1])
def test_attacks_are_those_by_autograd(
    several: Ensemble, sixteen: Tensor, classes: Tensor, members: int, momentum: float
) -> None:
    ensemble = Ensemble(list(several.members)[:members])
    config = AttackConfig(Norm.LINF, 0.03, 0.007, 8, momentum=momentum)
    victim = Victim(0) if members == 1 else Victim()
    due = attack_by_autograd(ensemble, sixteen, classes, config, victim).images
    s = workspace()
    for _ in range(2):  # the second is not moved by what the first left in the workspace
        found = attacked(ensemble, sixteen, classes, config, s)
        torch.testing.assert_close(found, due, rtol=0, atol=1e-12)


def test_an_image_without_a_gradient_stays_and_has_no_velocity(sixteen: Tensor) -> None:
    s, image = workspace(), block(sixteen).copy()
    target = block(sixteen.roll(1, 0))
    kernels.distill(np.zeros(PARAMETERS), image, target, image, s, 3, 0.07, 0.007, 3, 1.0)
    assert unblock(image, 3, 32, 32).equal(sixteen)
    assert not s.velocity.any()


def test_workspace_arrays_are_of_whole_vectors() -> None:
    sizes = {name: array.size for name, array in workspace()._asdict().items() if name != "zero"}
    assert all(size % LANES == 0 for size in sizes.values())
    assert sizes["d_image"] == IMAGE * LANES
