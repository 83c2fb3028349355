"""The stacked network against its members one by one, and the members as views of one tensor."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dverge.errors import ConfigError
from dverge.models import (
    LAYERS,
    Conv,
    StackedConv,
    bind_parameters,
    flat_parameters,
    seeded_conv,
)

PARAMETERS = 62_006


@pytest.fixture
def members() -> list[Conv]:
    return [seeded_conv(seed).double() for seed in range(3)]


@pytest.fixture
def batches(images: Tensor) -> Tensor:
    """A batch of its own for each member, 3×2×3×32×32."""
    return images.double()[:6].unflatten(0, (3, 2))


def stacked(members: list[Conv]) -> StackedConv:
    return StackedConv(flat_parameters(members))


@pytest.mark.parametrize("layer", range(1, LAYERS + 1))
@pytest.mark.parametrize("count", [1, 2, 3])
def test_features_are_the_members(
    members: list[Conv], batches: Tensor, count: int, layer: int
) -> None:
    found = stacked(members[:count]).features(batches[:count], layer)
    due = [
        member.features(batch, layer)
        for member, batch in zip(members[:count], batches[:count], strict=True)
    ]
    torch.testing.assert_close(found, torch.stack(due))


@pytest.mark.parametrize("layer", range(1, LAYERS + 1))
def test_gradients_are_the_members(members: list[Conv], batches: Tensor, layer: int) -> None:
    network, x = stacked(members), batches.clone().requires_grad_()
    used = network.parameters[: 2 * layer]
    loss = network.features(x, layer).square().sum()
    input_gradient, *gradients = torch.autograd.grad(loss, [x, *used])
    for i, member in enumerate(members):
        alone = batches[i].clone().requires_grad_()
        parameters = list(member.parameters())[: 2 * layer]
        own = member.features(alone, layer).square().sum()
        due_input, *due = torch.autograd.grad(own, [alone, *parameters])
        torch.testing.assert_close(input_gradient[i], due_input)
        for found, expected in zip(gradients, due, strict=True):
            torch.testing.assert_close(found[i], expected)


@pytest.mark.parametrize("layer", [0, 6, 2.0, None])
def test_other_layers_are_refused(members: list[Conv], batches: Tensor, layer: int) -> None:
    with pytest.raises(ConfigError, match=r"layer is .*; it must be a whole number from 1 to 5"):
        stacked(members).features(batches, layer)


def test_flat_parameters_are_a_copy_in_the_members_order(members: list[Conv]) -> None:
    flat = flat_parameters(members)
    assert flat.shape == (3, PARAMETERS)
    assert not flat.requires_grad
    for member, row in zip(members, flat, strict=True):
        due = torch.nn.utils.parameters_to_vector(member.parameters())
        assert row.equal(due)
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
