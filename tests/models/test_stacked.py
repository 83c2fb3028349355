"""The stacked network against its members one by one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dverge.models import Conv, StackedConv, seeded_conv


@pytest.fixture
def members() -> list[Conv]:
    return [seeded_conv(seed).double() for seed in range(3)]


@pytest.fixture
def batches(images: Tensor) -> Tensor:
    """A batch of its own for each member, 3×2×3×32×32."""
    return images.double()[:6].unflatten(0, (3, 2))


def test_logits_are_the_members(members: list[Conv], batches: Tensor) -> None:
    found = StackedConv(members)(batches)
    assert found.shape == (3, 2, 10)
    for i, member in enumerate(members):
        torch.testing.assert_close(found[i], member(batches[i]))


def test_a_single_member(members: list[Conv], batches: Tensor) -> None:
    found = StackedConv(members[:1])(batches[:1])
    torch.testing.assert_close(found[0], members[0](batches[0]))


def test_gradients_are_the_members(members: list[Conv], batches: Tensor) -> None:
    stacked, x = StackedConv(members), batches.clone().requires_grad_()
    stacked(x).square().sum().backward()
    for i, member in enumerate(members):
        alone = batches[i].clone().requires_grad_()
        member(alone).square().sum().backward()
        assert x.grad is not None
        torch.testing.assert_close(x.grad[i], alone.grad)
        for name, parameter in member.named_parameters():
            gradient = stacked.get_parameter(name.replace(".", "_")).grad
            assert gradient is not None
            torch.testing.assert_close(gradient[i], parameter.grad)


def test_stacking_copies_and_copy_to_writes_back(members: list[Conv], batches: Tensor) -> None:
    before = [member(batches[0]).clone() for member in members]
    stacked = StackedConv(members)
    with torch.no_grad():
        for parameter in stacked.parameters():
            parameter.mul_(1.5)
    for member, logits in zip(members, before, strict=True):
        assert member(batches[0]).equal(logits)  # not shared

    stacked.copy_to(members)

    found = stacked(batches)
    for i, member in enumerate(members):
        torch.testing.assert_close(member(batches[i]), found[i])
        assert not member(batches[0]).equal(before[i])
        assert all(parameter.requires_grad for parameter in member.parameters())
