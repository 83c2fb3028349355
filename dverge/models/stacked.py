"""All Conv members of an ensemble as one network, for a GPU.

A network of this size keeps a GPU waiting for kernel launches: one launch for all members of a
layer takes less time than one for each member.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from dverge.errors import require_integer
from dverge.models.conv import LAYERS, Conv


def flat_parameters(members: Sequence[Conv]) -> Tensor:
    """M×62,006: each member's parameters in the order of Conv.parameters(), a copy."""
    rows = [torch.cat([p.detach().flatten() for p in member.parameters()]) for member in members]
    return torch.stack(rows)


def bind_parameters(members: Sequence[Conv], flat: Tensor) -> None:
    """Make the members' parameters views of the rows of `flat`, M×62,006: both change together."""
    for member, row in zip(members, flat, strict=True):
        parameters = list(member.parameters())
        parts = row.split([parameter.numel() for parameter in parameters])
        for parameter, part in zip(parameters, parts, strict=True):
            parameter.data = part.view(parameter.shape)


class StackedConv:
    """M Conv members as grouped convolutions and batched products.

    Args:
        flat: M×62,006 parameters; the attribute `parameters` has views of it, for gradients.
    """

    def __init__(self, flat: Tensor) -> None:
        self.count = len(flat)
        with torch.device("meta"):
            shapes = [parameter.shape for parameter in Conv().parameters()]
        parts = flat.detach().split([shape.numel() for shape in shapes], 1)
        self.parameters = [
            part.view(self.count, *shape).requires_grad_()
            for part, shape in zip(parts, shapes, strict=True)
        ]

    def features(self, images: Tensor, layer: int) -> Tensor:
        """Features of a layer before its ReLU, M×N×…, of images M×N×3×32×32 in [0, 1].

        Each member has its own batch of N images.

        Raises:
            ConfigError: layer is not 1–5.
        """
        require_integer("layer", layer, 1, LAYERS)
        x = self._convolution(images, 0)
        if layer == 1:
            return x
        x = self._convolution(F.relu(F.max_pool2d(x.flatten(0, 1), 2)).unflatten(0, x.shape[:2]), 1)
        if layer == 2:
            return x
        x = F.relu(F.max_pool2d(x.flatten(0, 1), 2)).unflatten(0, x.shape[:2]).flatten(2)
        for i in range(2, layer):
            weight, bias = self.parameters[2 * i], self.parameters[2 * i + 1]
            x = torch.baddbmm(bias.unsqueeze(1), x, weight.transpose(1, 2))
            x = x if i == layer - 1 else F.relu(x)
        return x

    def _convolution(self, x: Tensor, i: int) -> Tensor:
        """The i-th convolution of M×N×C×H×W, to M×N×C'×H'×W': each member is one group."""
        weight, bias = self.parameters[2 * i], self.parameters[2 * i + 1]
        grouped = x.transpose(0, 1).flatten(1, 2)
        out = F.conv2d(grouped, weight.flatten(0, 1), bias.flatten(), groups=self.count)
        return out.unflatten(1, (self.count, -1)).transpose(0, 1)
