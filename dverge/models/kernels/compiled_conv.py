"""Conv on a CPU through the compiled kernels: the same functions, several times as fast.

The weights are fixed: gradients are of images only, which is all that an attack needs.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from dverge.errors import require_integer
from dverge.models.conv import IMAGE_SHAPE, LAYERS, Conv
from dverge.models.ensemble import Ensemble
from dverge.models.kernels import network
from dverge.models.kernels.layout import from_lanes, to_lanes
from dverge.models.kernels.simd import LANES
from dverge.models.kernels.workers import WorkerPool
from dverge.models.stacked import flat_parameters

FEATURE_SHAPES = {1: (6, 28, 28), 2: (16, 10, 10), 3: (120,), 4: (84,), 5: (10,)}
"""The shape of each layer's features of one image."""


def compiled(ensemble: Ensemble) -> Ensemble:
    """The same ensemble made fast, with the weights as they are now.

    Only Conv members on a CPU can be compiled: an ensemble with any other member or device is
    returned as it is. Results differ in the last digits, because sums are taken in another order.
    """
    weights = next(ensemble.parameters(), torch.empty(0, device="meta"))
    convs = [member for member in ensemble.members if isinstance(member, Conv)]
    if len(convs) < len(ensemble) or weights.device.type != "cpu":
        return ensemble
    pool = WorkerPool()
    return Ensemble([CompiledConv(member, pool) for member in convs]).eval()


class CompiledConv(nn.Module):
    """A drop-in for a Conv on the CPU, where no gradients in its weights are needed."""

    weights: Tensor

    def __init__(self, member: Conv, pool: WorkerPool) -> None:
        super().__init__()
        self.register_buffer("weights", flat_parameters([member])[0])
        self._pool = pool

    def features(self, images: Tensor, layer: int) -> Tensor:
        """Features of one layer, before its ReLU; see Conv.features."""
        require_integer("layer", layer, 1, LAYERS)
        features: Tensor = _Features.apply(images, self.weights, layer, self._pool)
        return features

    def forward(self, images: Tensor) -> Tensor:
        """Logits N×10 of images N×3×32×32 in [0, 1]."""
        return self.features(images, LAYERS)


class _Features(torch.autograd.Function):
    """A layer's features of images; its backward pass computes the features again."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, weights: Tensor, layer: int, pool: WorkerPool) -> Tensor:
        blocks = to_lanes(images)
        ctx.save_for_backward(blocks, weights)
        ctx.layer, ctx.pool = layer, pool
        out = blocks.new_empty(len(blocks), math.prod(FEATURE_SHAPES[layer]) * LANES)
        w, inputs, outputs = weights.numpy(), blocks.numpy(), out.numpy()

        def task(b: int) -> None:
            network.features(w, inputs[b], pool.workspace(weights.dtype), layer, outputs[b])

        pool.map(task, ((b,) for b in range(len(blocks))))
        return from_lanes(out, len(images)).view(len(images), *FEATURE_SHAPES[layer])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,) = gradients
        blocks, weights = ctx.saved_tensors
        above, out = to_lanes(gradient).numpy(), torch.empty_like(blocks)
        w, inputs, outputs = weights.numpy(), blocks.numpy(), out.numpy()
        layer, pool = ctx.layer, ctx.pool

        def task(b: int) -> None:
            s = pool.workspace(weights.dtype)
            network.image_gradient(w, inputs[b], above[b], s, layer, outputs[b])

        pool.map(task, ((b,) for b in range(len(blocks))))
        return from_lanes(out, len(gradient)).view(len(gradient), *IMAGE_SHAPE), None, None, None
