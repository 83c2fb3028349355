"""The compiled Conv against Conv itself, with gradients by autograd."""

from __future__ import annotations

import copy
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor, nn

from dverge.data import Split, load
from dverge.errors import ConfigError
from dverge.models import LAYERS, CompiledConv, Conv, Ensemble, compiled, seeded_conv
from dverge.models.kernels import WorkerPool

PRECISE = {torch.float64: 1e-12, torch.float32: 1e-4}  # shares of the largest number that is due


def pictures(count: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return load(Split.SAMPLE).pixels(slice(0, 20 * count, 20)).to(dtype)


def noise(like: Tensor) -> Tensor:
    drawn = torch.randn(like.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return drawn.to(like.dtype)


def assert_near(found: Tensor, due: Tensor) -> None:
    assert found.dtype == due.dtype and found.shape == due.shape
    assert due.abs().max() > 0
    assert (found - due).abs().max() <= PRECISE[due.dtype] * due.abs().max()


@pytest.fixture
def precise(ensemble: Ensemble) -> Ensemble:
    return ensemble.double()


@pytest.fixture
def member(precise: Ensemble) -> Conv:
    first = precise.members[0]
    assert isinstance(first, Conv)
    return first


def compiled_member(member: Conv) -> CompiledConv:
    (found,) = compiled(Ensemble([member])).members
    assert isinstance(found, CompiledConv)
    return found


@pytest.mark.parametrize("dtype", PRECISE, ids=str)
@pytest.mark.parametrize("layer", range(1, LAYERS + 1))
@pytest.mark.parametrize("count", [1, 15, 16, 17, 40])
def test_features_and_the_gradient_of_any_function_of_them(
    member: Conv, count: int, layer: int, dtype: torch.dtype
) -> None:
    member = member.to(dtype)
    x, fast = pictures(count, dtype).requires_grad_(), compiled_member(member)
    due, found = member.features(x, layer), fast.features(x, layer)
    assert_near(found.detach(), due.detach())
    above = noise(due)
    (gradient,) = torch.autograd.grad(due, x, above)
    assert_near(torch.autograd.grad(found, x, above)[0], gradient)


def test_a_gradient_that_is_no_block_of_memory(member: Conv) -> None:
    """That of a sum is one number seen many times; so may the images be turned about."""
    turned = pictures(5).transpose(2, 3).requires_grad_()
    for layer in range(1, LAYERS + 1):
        (due,) = torch.autograd.grad(member.features(turned, layer).sum(), turned)
        found = compiled_member(member).features(turned, layer)
        assert_near(torch.autograd.grad(found.sum(), turned)[0], due)


def test_no_images(member: Conv) -> None:
    nothing = pictures(1)[:0].requires_grad_()
    found = compiled_member(member)(nothing)
    assert found.shape == member(nothing).shape == (0, 10)
    assert torch.autograd.grad(found.sum(), nothing)[0].shape == nothing.shape


@pytest.mark.parametrize("layer", [0, 6, 2.0, "1"])
def test_a_layer_that_is_not_there(member: Conv, layer: int) -> None:
    with pytest.raises(ConfigError, match=r"layer is .*a whole number from 1 to 5"):
        compiled_member(member).features(pictures(1), layer)


# --- ensembles ---


@pytest.mark.parametrize("dtype", PRECISE, ids=str)
@pytest.mark.parametrize("count", [1, 21])
def test_the_mixture_and_its_gradient(ensemble: Ensemble, count: int, dtype: torch.dtype) -> None:
    ensemble = ensemble.to(dtype)
    fast, x = compiled(ensemble), pictures(count, dtype).requires_grad_()
    assert len(fast) == len(ensemble)
    assert_near(fast.member_log_probs(x).detach(), ensemble.member_log_probs(x).detach())
    due, found = ensemble(x), fast(x)
    assert_near(found.detach(), due.detach())
    above = noise(due)
    (gradient,) = torch.autograd.grad(due, x, above)
    assert_near(torch.autograd.grad(found, x, above)[0], gradient)


def test_no_gradient_is_made_for_weights(precise: Ensemble) -> None:
    fast, x = compiled(precise), pictures(3).requires_grad_()
    assert list(fast.parameters()) == []
    fast(x).sum().backward()
    assert x.grad is not None
    assert all(p.grad is None for p in precise.parameters())
    assert not any(buffer.requires_grad for buffer in fast.buffers())
    assert not fast(x.detach()).requires_grad  # nothing to differentiate in


@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode])
def test_without_gradients(precise: Ensemble, off: type[torch.no_grad]) -> None:
    fast, x = compiled(precise), pictures(3).requires_grad_()
    with off():
        found = fast(x)
    assert not found.requires_grad
    assert found.equal(fast(x).detach())


def test_the_source_stays_as_it_is_and_is_not_followed(precise: Ensemble) -> None:
    precise.train()
    before = copy.deepcopy(precise.state_dict())
    fast, x = compiled(precise), pictures(3)
    found = fast(x)
    assert not fast.training and precise.training
    assert all(member.training for member in precise.members)
    assert all(p.requires_grad for p in precise.parameters())
    assert all(value.equal(before[name]) for name, value in precise.state_dict().items())
    with torch.no_grad():
        for p in precise.parameters():
            p.mul_(1.1)
    assert fast(x).equal(found)


class Other(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(3072, 10)

    def forward(self, images: Tensor) -> Tensor:
        return self.line(images.flatten(1))


@pytest.mark.parametrize(
    "other",
    [
        Ensemble([Other()]),
        Ensemble([seeded_conv(0), Other()]),
        Ensemble([nn.Flatten()]),
        Ensemble([seeded_conv(0)]).to("meta"),
    ],
    ids=["other members", "mixed", "no weights", "another device"],
)
def test_what_cannot_be_compiled_is_returned(other: Ensemble) -> None:
    assert compiled(other) is other


def test_compiling_twice_changes_nothing(precise: Ensemble) -> None:
    once = compiled(precise)
    assert compiled(once) is once


# --- threads ---


@pytest.mark.parametrize("helpers", [1, 4])
def test_two_threads_may_use_it_at_once(precise: Ensemble, helpers: int) -> None:
    pool = WorkerPool(helpers)
    convs = [member for member in precise.members if isinstance(member, Conv)]
    fast = Ensemble([CompiledConv(member, pool) for member in convs])
    together = threading.Barrier(2, timeout=30)

    def work(x: Tensor, wait: bool) -> list[Tensor]:
        found = []
        for _ in range(10 if wait else 1):
            if wait:
                together.wait()
            out = fast(x.requires_grad_())
            found += [out.detach(), torch.autograd.grad(out[:, 3].sum(), x)[0]]
        return found

    inputs = [pictures(37), pictures(50).flip(0)]
    alone = [work(x.clone(), wait=False) for x in inputs]
    with ThreadPoolExecutor(2) as pool:
        at_once = [pool.submit(work, x.clone(), wait=True) for x in inputs]
        for due, one in zip(alone, at_once, strict=True):
            assert all(found.equal(due[i % 2]) for i, found in enumerate(one.result()))


def test_as_many_threads_as_torch_uses(precise: Ensemble) -> None:
    torch.set_num_threads(3)
    try:
        fast = compiled(precise)
    finally:
        torch.set_num_threads(1)
    x = pictures(40)
    assert_near(fast(x), precise(x).detach())
