"""How images, features and parameters lie in memory, and the workspace of a thread.

A block is LANES images laid out C×H×W×LANES, flat, so that one vector register holds the same
number of every image. Features and gradients of a block are laid out likewise. A member's
parameters are one flat vector in the order of Conv.parameters(). All arrays of a call have one
type, float32 or float64.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dverge.models.kernels.simd import LANES

Array = np.ndarray[Any, Any]
IMAGE = 3 * 32 * 32
PARAMETERS = 62_006
PAD = 4  # columns of zeros on both sides of a convolution's output gradient
UNKNOWN = -1  # the label of a lane that holds no image


class Workspace(NamedTuple):
    """The arrays that one thread computes in: features, their gradients (d_…) and scratch."""

    conv1: Array  # 6×28×28
    pool1: Array  # 6×14×14, after ReLU
    conv2: Array  # 16×10×10
    pool2: Array  # 400, after ReLU
    fc1: Array
    relu1: Array
    fc2: Array
    relu2: Array
    fc3: Array  # the logits
    d_conv1: Array  # 6×28×36, with PAD zeros on both sides of a row
    d_pool1: Array
    d_conv2: Array  # 16×10×18, with PAD zeros on both sides of a row
    d_pool2: Array
    d_fc1: Array
    d_fc2: Array
    d_fc3: Array
    d_image: Array  # 3×32×32
    velocity: Array  # 3×32×32, the momentum of an attack
    target: Array  # features of a distillation's target
    transposed: Array  # a layer's input with the image as its first dimension
    zero: Array  # a single zero


def workspace(dtype: torch.dtype) -> Workspace:
    """A new workspace for arrays of a type, filled with zeros.

    The memory is torch's, which is aligned to vectors as NumPy's is not. NumPy fills it, because
    torch would start a team of OpenMP threads for the calling thread, and a process with more of
    those than cores makes all its teams slower.
    """
    sizes = (6 * 784, 6 * 196, 1600, 400, 120, 120, 84, 84, 10)
    gradients = (6 * 28 * 36, 6 * 196, 16 * 10 * 18, 400, 120, 84, 10, IMAGE)
    scratch = (IMAGE, 6 * 784, 400)
    lengths = [*(size * LANES for size in sizes + gradients + scratch), 1]
    arrays = [torch.empty(length, dtype=dtype).numpy() for length in lengths]
    for array in arrays:
        array.fill(0)
    return Workspace(*arrays)


def to_lanes(values: Tensor) -> Tensor:
    """N×… numbers as B×(F·LANES): blocks of LANES images, the last one filled up with zeros."""
    count, blocks = len(values), -(-len(values) // LANES)
    flat = values.reshape(count, math.prod(values.shape[1:]))
    if count < blocks * LANES:
        flat = torch.cat([flat, flat.new_zeros(blocks * LANES - count, flat.shape[1])])
    width = flat.shape[1]
    return flat.view(blocks, LANES, width).transpose(1, 2).reshape(blocks, width * LANES)


def from_lanes(blocks: Tensor, count: int) -> Tensor:
    """The inverse of to_lanes for `count` images, as count×F."""
    width = blocks.shape[1] // LANES
    split = blocks.view(len(blocks), width, LANES).transpose(1, 2)
    return split.reshape(len(blocks) * LANES, width)[:count]
