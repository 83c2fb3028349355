"""The stacked network against its members, and the members as views of one tensor."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dverge.errors import ConfigError
from dverge.models import LAYERS, Conv, StackedConv, bind_parameters, flat_parameters, seeded_conv

PARAMETERS = 62_006


@pytest.fixture
def members() -> list[Conv]:
    return [seeded_conv(seed).double() for seed in range(3)]


@pytest.fixture
def batches(images: Tensor) -> Tensor:
    """A batch of its own for each member, 3×2×3×32×32."""
    return images.double()[:6].unflatten(0, (3, 2))


@pytest.mark.parametrize("layer", range(1, LAYERS + 1))
@pytest.mark.parametrize("count", [1, 2, 3])
def test_features_and_gradients_are_the_members(
    members: list[Conv], batches: Tensor, count: int, layer: int
) -> None:
    members, x = members[:count], batches[:count].clone().requires_grad_()
    network = StackedConv(flat_parameters(members))
    features = network.features(x, layer)
    used = network.parameters[: 2 * layer]
    gradients = torch.autograd.grad(features.square().sum(), [x, *used])
    for i, member in enumerate(members):
        alone = batches[i].clone().requires_grad_()
        expected = member.features(alone, layer)
        torch.testing.assert_close(features[i], expected)
        own = [alone, *list(member.parameters())[: 2 * layer]]
        each_expected = torch.autograd.grad(expected.square().sum(), own)
        for gradient, each in zip(gradients, each_expected, strict=True):
            torch.testing.assert_close(gradient[i], each)


@pytest.mark.parametrize("layer", [0, 6, 2.0, None])
def test_other_layers_are_refused(members: list[Conv], batches: Tensor, layer: int) -> None:
    with pytest.raises(ConfigError, match=r"layer is .*; it must be a whole number from 1 to 5"):
        StackedConv(flat_parameters(members)).features(batches, layer)


def test_flat_parameters_are_a_copy_in_the_members_order(members: list[Conv]) -> None:
    flat = flat_parameters(members)
    assert flat.shape == (3, PARAMETERS)
    assert not flat.requires_grad
    for member, row in zip(members, flat, strict=True):
        assert row.equal(torch.nn.utils.parameters_to_vector(member.parameters()))
    flat.zero_()
    assert all(bool(parameter.any()) for member in members for parameter in member.parameters())


def test_bound_members_follow_the_flat_parameters(members: list[Conv], batches: Tensor) -> None:
    flat = flat_parameters(members)
    network = StackedConv(flat)
    before = network.features(batches, LAYERS).detach()
    bind_parameters(members, flat)
    for i, member in enumerate(members):
        torch.testing.assert_close(member(batches[i]), before[i])

    flat.mul_(1.5)  # as a step of SGD changes them, in place
    after = network.features(batches, LAYERS).detach()
    assert not after.isclose(before).any()
    for i, member in enumerate(members):
        torch.testing.assert_close(member(batches[i]), after[i])


def test_what_is_loaded_into_a_bound_member_is_in_the_flat_parameters(
    members: list[Conv],
) -> None:
    flat = flat_parameters(members)
    bind_parameters(members, flat)
    other = seeded_conv(9).double()
    members[1].load_state_dict(other.state_dict())
    assert flat[1].equal(flat_parameters([other])[0])
    assert flat[0].equal(flat_parameters([seeded_conv(0).double()])[0])
