"""Conv on a CPU through the compiled kernels: the same functions, several times as fast.

Gradients are of images only, which is all that an attack needs.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from dverge.errors import require_integer
from dverge.models.conv import IMAGE_SHAPE, LAYERS, Conv
from dverge.models.ensemble import Ensemble
from dverge.models.kernels import passes as kernels
from dverge.models.kernels.workers import Crew, from_lanes, to_lanes
from dverge.models.stacked import flat_parameters

SHAPES = {1: (6, 28, 28), 2: (16, 10, 10), 3: (120,), 4: (84,), 5: (10,)}
"""Of each layer's features."""


def compiled(ensemble: Ensemble) -> Ensemble:
    """An ensemble of the same functions, fast where it can be: Conv members on a CPU.

    It has the weights as they are now. Numbers differ in the last bits, as sums are taken in
    another order.
    """
    weights = next(ensemble.parameters(), torch.empty(0, device="meta"))
    convs = [member for member in ensemble.members if isinstance(member, Conv)]
    if len(convs) < len(ensemble) or weights.device.type != "cpu":
        return ensemble
    crew = Crew()
    return Ensemble([CompiledConv(member, crew) for member in convs]).eval()


class CompiledConv(nn.Module):
    """A drop-in for a Conv of the CPU, where no gradients in its weights are needed."""

    weights: Tensor

    def __init__(self, member: Conv, crew: Crew) -> None:
        super().__init__()
        self.register_buffer("weights", flat_parameters([member])[0])
        self._crew = crew

    def features(self, images: Tensor, layer: int) -> Tensor:
        """Features of one layer, before its ReLU; see Conv.features."""
        require_integer("layer", layer, 1, LAYERS)
        features: Tensor = _Features.apply(images, self.weights, layer, self._crew)
        return features

    def forward(self, images: Tensor) -> Tensor:
        """Logits N×10 of images N×3×32×32 in [0, 1]."""
        return self.features(images, LAYERS)


class _Features(torch.autograd.Function):
    """A layer's features; going backward, the image's gradient, from the images alone."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, weights: Tensor, layer: int, crew: Crew) -> Tensor:
        blocks = to_lanes(images)
        ctx.save_for_backward(blocks, weights)
        ctx.layer, ctx.crew = layer, crew
        out = blocks.new_empty(len(blocks), math.prod(SHAPES[layer]) * kernels.L)
        inputs, outputs, w = blocks.numpy(), out.numpy(), weights.numpy()

        def task(b: int) -> None:
            kernels.features(w, inputs[b], crew.workspace(weights.dtype), layer, outputs[b])

        crew.each(task, ((b,) for b in range(len(blocks))))
        return from_lanes(out, len(images)).view(len(images), *SHAPES[layer])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,) = gradients
        blocks, weights = ctx.saved_tensors
        due, out = to_lanes(gradient), torch.empty_like(blocks)
        inputs, given, outputs = blocks.numpy(), due.numpy(), out.numpy()
        w, layer, crew = weights.numpy(), ctx.layer, ctx.crew

        def task(b: int) -> None:
            own = crew.workspace(weights.dtype)
            kernels.image_gradient(w, inputs[b], given[b], own, layer, outputs[b])

        crew.each(task, ((b,) for b in range(len(blocks))))
        return from_lanes(out, len(gradient)).view(len(gradient), *IMAGE_SHAPE), None, None, None
