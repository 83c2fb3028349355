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

TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-4}  # relative to the largest number
dtypes = pytest.mark.parametrize("dtype", TOLERANCE, ids=str)


def pictures(count: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return load(Split.SAMPLE).pixels(slice(0, 20 * count, 20)).to(dtype)


def assert_near(result: Tensor, expected: Tensor) -> None:
    assert result.dtype == expected.dtype and result.shape == expected.shape
    assert expected.abs().max() > 0
    largest = expected.abs().max()
    assert (result - expected).abs().max() <= TOLERANCE[expected.dtype] * largest


def assert_same_function(fast: Tensor, slow: Tensor, x: Tensor) -> None:
    """Two outputs for x are near, and so are the gradients of a random function of each."""
    assert_near(fast.detach(), slow.detach())
    above = torch.randn(slow.shape, generator=torch.Generator().manual_seed(0)).to(slow.dtype)
    (gradient,) = torch.autograd.grad(slow, x, above)
    assert_near(torch.autograd.grad(fast, x, above)[0], gradient)


@pytest.fixture
def precise(ensemble: Ensemble) -> Ensemble:
    return ensemble.double()


@pytest.fixture
def member(precise: Ensemble) -> Conv:
    first = precise.members[0]
    assert isinstance(first, Conv)
    return first


def compiled_member(member: Conv) -> CompiledConv:
    (fast,) = compiled(Ensemble([member])).members
    assert isinstance(fast, CompiledConv)
    return fast


@dtypes
@pytest.mark.parametrize("layer", range(1, LAYERS + 1))
@pytest.mark.parametrize("count", [1, 15, 16, 17, 40])
def test_features_and_their_gradients(
    member: Conv, count: int, layer: int, dtype: torch.dtype
) -> None:
    member = member.to(dtype)
    x, fast = pictures(count, dtype).requires_grad_(), compiled_member(member)
    assert_same_function(fast.features(x, layer), member.features(x, layer), x)


def test_images_and_gradients_that_are_not_contiguous(member: Conv) -> None:
    """The gradient of a sum is one number, expanded."""
    x = pictures(5).transpose(2, 3).requires_grad_()
    for layer in range(1, LAYERS + 1):
        (expected,) = torch.autograd.grad(member.features(x, layer).sum(), x)
        total = compiled_member(member).features(x, layer).sum()
        assert_near(torch.autograd.grad(total, x)[0], expected)


def test_no_images(member: Conv) -> None:
    empty = pictures(1)[:0].requires_grad_()
    logits = compiled_member(member)(empty)
    assert logits.shape == member(empty).shape == (0, 10)
    assert torch.autograd.grad(logits.sum(), empty)[0].shape == empty.shape


@pytest.mark.parametrize("layer", [0, 6, 2.0, "1"])
def test_other_layers_are_refused(member: Conv, layer: int) -> None:
    with pytest.raises(ConfigError, match=r"layer is .*a whole number from 1 to 5"):
        compiled_member(member).features(pictures(1), layer)


# --- ensembles ---


@dtypes
@pytest.mark.parametrize("count", [1, 21])
def test_the_mixture_and_its_gradient(ensemble: Ensemble, count: int, dtype: torch.dtype) -> None:
    ensemble = ensemble.to(dtype)
    fast, x = compiled(ensemble), pictures(count, dtype).requires_grad_()
    assert len(fast) == len(ensemble)
    assert_near(fast.member_log_probs(x).detach(), ensemble.member_log_probs(x).detach())
    assert_same_function(fast(x), ensemble(x), x)
    assert compiled(fast) is fast


def test_weights_get_no_gradient(precise: Ensemble) -> None:
    fast, x = compiled(precise), pictures(3).requires_grad_()
    assert list(fast.parameters()) == []
    fast(x).sum().backward()
    assert x.grad is not None
    assert all(p.grad is None for p in precise.parameters())
    assert not any(buffer.requires_grad for buffer in fast.buffers())
    assert not fast(x.detach()).requires_grad
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            output = fast(x)
        assert not output.requires_grad
        assert output.equal(fast(x).detach())


def test_the_source_stays_as_it_is_and_later_changes_have_no_effect(precise: Ensemble) -> None:
    precise.train()
    before = copy.deepcopy(precise.state_dict())
    fast, x = compiled(precise), pictures(3)
    output = fast(x)
    assert not fast.training and precise.training
    assert all(member.training for member in precise.members)
    assert all(p.requires_grad for p in precise.parameters())
    assert all(value.equal(before[name]) for name, value in precise.state_dict().items())
    with torch.no_grad():
        for p in precise.parameters():
            p.mul_(1.1)
    assert fast(x).equal(output)


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
def test_an_ensemble_that_cannot_be_compiled_is_returned(other: Ensemble) -> None:
    assert compiled(other) is other


# --- threads ---


@pytest.mark.parametrize("helpers", [1, 4])
def test_two_threads_may_use_it_at_once(precise: Ensemble, helpers: int) -> None:
    pool = WorkerPool(helpers)
    convs = [member for member in precise.members if isinstance(member, Conv)]
    fast = Ensemble([CompiledConv(member, pool) for member in convs])
    together = threading.Barrier(2, timeout=30)

    def evaluate(x: Tensor) -> list[Tensor]:
        log_probs = fast(x.requires_grad_())
        return [log_probs.detach(), torch.autograd.grad(log_probs[:, 3].sum(), x)[0]]

    def evaluate_together(x: Tensor) -> list[list[Tensor]]:
        results = []
        for _ in range(10):
            together.wait()
            results.append(evaluate(x))
        return results

    inputs = [pictures(37), pictures(50).flip(0)]
    alone = [evaluate(x.clone()) for x in inputs]
    with ThreadPoolExecutor(2) as threads:
        at_once = threads.map(evaluate_together, (x.clone() for x in inputs))
        for expected, results in zip(alone, at_once, strict=True):
            for result in results:
                assert all(one.equal(other) for one, other in zip(result, expected, strict=True))


def test_it_uses_as_many_threads_as_torch(precise: Ensemble) -> None:
    torch.set_num_threads(3)
    try:
        fast = compiled(precise)
    finally:
        torch.set_num_threads(1)
    x = pictures(40)
    assert_near(fast(x), precise(x).detach())
