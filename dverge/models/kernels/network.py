"""Conv's forward and backward pass for a block of images; see layout.py for the layout.

In all kernels, w is the vector of a member's parameters, s the workspace, and a name d_… is the
gradient of a scalar in the array of that name. Layers are 1 to 5, as in Conv.features.
"""

from __future__ import annotations

import numpy as np

from dverge.models.kernels.compiling import kernel, subroutine
from dverge.models.kernels.layout import PAD, Array
from dverge.models.kernels.simd import LANES as L
from dverge.models.kernels.simd import (
    add,
    lane_products,
    lane_sum,
    load,
    maximum,
    multiply_add,
    store,
    where_equal,
    where_positive,
    zeros,
)

# Where each parameter begins in a member's flat vector.
CONV1, CONV1_BIAS, CONV2, CONV2_BIAS = 0, 450, 456, 2_856
FC1, FC1_BIAS, FC2, FC2_BIAS, FC3, FC3_BIAS = 2_872, 50_872, 50_992, 61_072, 61_156, 61_996


def _offsets(*steps: tuple[int, int]) -> Array:
    """Sums of all combinations of (count, step), the first slowest."""
    sums = np.zeros(1, np.int64)
    for count, step in steps:
        sums = (sums[:, None] + np.arange(count) * step).ravel()
    return sums.astype(np.int32)


# Taps of each operation: the offsets of its factors from the first one. Kernel rows come first, so
# that the rows outside of an image are a range at one end.
CONV1_X = _offsets((5, 32 * L), (3, 1024 * L), (5, L))
CONV1_W = _offsets((5, 5), (3, 25), (5, 1))
CONV2_X = _offsets((5, 14 * L), (6, 196 * L), (5, L))
CONV2_W = _offsets((5, 5), (6, 25), (5, 1))
D_CONV1_X = PAD * L + _offsets((5, -36 * L), (6, 28 * 36 * L), (5, -L))
D_CONV1_W = _offsets((5, 5), (6, 75), (5, 1))
D_CONV2_X = PAD * L + _offsets((5, -18 * L), (16, 10 * 18 * L), (5, -L))
D_CONV2_W = _offsets((5, 5), (16, 150), (5, 1))
IMAGE_POSITIONS = _offsets((28, 32 * L), (28, L))
D_CONV1_POSITIONS = _offsets((28, 36 * L), (28, L))
POOL1_POSITIONS = _offsets((10, 14 * L), (10, L))
D_CONV2_POSITIONS = _offsets((10, 18 * L), (10, L))
UNITS, UNIT_VECTORS = _offsets((400, 1)), _offsets((400, L))
FC1_COLUMN, FC2_COLUMN, FC3_COLUMN = _offsets((120, 400)), _offsets((84, 120)), _offsets((10, 84))
TRANSPOSED_ROWS = _offsets((L, 400))


@subroutine
def forward(w, image, s, layer):
    """Compute the features of a block of images up to a layer, into the workspace."""
    for y in range(28):
        for x in range(0, 28, 4):
            multiply_add(4, 6, image, (y * 32 + x) * L, L, CONV1_X, w, CONV1, 75, CONV1_W, 0, 75,
                         w, CONV1_BIAS, 1, s.conv1, (y * 28 + x) * L, L, 784 * L)  # fmt: skip
    if layer == 1:
        return
    _pool(s.conv1, s.pool1, 6, 28)
    for c in range(0, 16, 4):
        for y in range(10):
            for x in range(0, 10, 5):
                multiply_add(5, 4, s.pool1, (y * 14 + x) * L, L, CONV2_X,
                             w, CONV2 + c * 150, 150, CONV2_W, 0, 150, w, CONV2_BIAS + c, 1,
                             s.conv2, (c * 100 + y * 10 + x) * L, L, 100 * L)  # fmt: skip
    if layer == 2:
        return
    _pool(s.conv2, s.pool2, 16, 10)
    for o in range(0, 120, 12):
        multiply_add(1, 12, s.pool2, 0, 0, UNIT_VECTORS, w, FC1 + o * 400, 400, UNITS, 0, 400,
                     w, FC1_BIAS + o, 1, s.fc1, o * L, 0, L)  # fmt: skip
    if layer == 3:
        return
    _relu(s.fc1, s.relu1)
    for o in range(0, 84, 12):
        multiply_add(1, 12, s.relu1, 0, 0, UNIT_VECTORS, w, FC2 + o * 120, 120, UNITS, 0, 120,
                     w, FC2_BIAS + o, 1, s.fc2, o * L, 0, L)  # fmt: skip
    if layer == 4:
        return
    _relu(s.fc2, s.relu2)
    multiply_add(1, 10, s.relu2, 0, 0, UNIT_VECTORS, w, FC3, 84, UNITS, 0, 84,
                 w, FC3_BIAS, 1, s.fc3, 0, 0, L)  # fmt: skip


@subroutine
def backward(w, s, layer, first):
    """Propagate the gradient in a layer's d_ array down to layer `first`, or the image if 0.

    The image's gradient is then in s.d_image. The workspace holds the features of the forward.
    """
    if layer >= 5:
        for k in range(0, 84, 12):
            multiply_add(1, 12, s.d_fc3, 0, 0, UNIT_VECTORS, w, FC3 + k, 1, FC3_COLUMN, 0, 10,
                         s.zero, 0, 0, s.d_fc2, k * L, 0, L)  # fmt: skip
        _relu_gradient(s.fc2, s.d_fc2)
    if layer >= 4:
        for k in range(0, 120, 12):
            multiply_add(1, 12, s.d_fc2, 0, 0, UNIT_VECTORS, w, FC2 + k, 1, FC2_COLUMN, 0, 84,
                         s.zero, 0, 0, s.d_fc1, k * L, 0, L)  # fmt: skip
        _relu_gradient(s.fc1, s.d_fc1)
    if layer >= 3:
        for k in range(0, 400, 16):
            multiply_add(1, 16, s.d_fc1, 0, 0, UNIT_VECTORS, w, FC1 + k, 1, FC1_COLUMN, 0, 120,
                         s.zero, 0, 0, s.d_pool2, k * L, 0, L)  # fmt: skip
        _unpool(s.conv2, s.pool2, s.d_pool2, s.d_conv2, 16, 10)
    if layer >= 2:
        for y in range(14):
            rows = max(0, y - 9) * 80, (min(4, y) + 1) * 80
            for x in range(0, 14, 7):
                for c in range(0, 6, 3):
                    multiply_add(7, 3, s.d_conv2, (y * 18 + x) * L, L, D_CONV2_X,
                                 w, CONV2 + c * 25, 25, D_CONV2_W, rows[0], rows[1], s.zero, 0, 0,
                                 s.d_pool1, (c * 196 + y * 14 + x) * L, L, 196 * L)  # fmt: skip
        _unpool(s.conv1, s.pool1, s.d_pool1, s.d_conv1, 6, 28)
    if first == 0:
        for y in range(32):
            rows = max(0, y - 27) * 30, (min(4, y) + 1) * 30
            for x in range(0, 32, 4):
                multiply_add(4, 3, s.d_conv1, (y * 36 + x) * L, L, D_CONV1_X,
                             w, CONV1, 25, D_CONV1_W, rows[0], rows[1], s.zero, 0, 0,
                             s.d_image, (y * 32 + x) * L, L, 1024 * L)  # fmt: skip


@subroutine
def parameter_gradient(image, s, out):
    """The gradient in all parameters, summed over the block's images, into `out`.

    The workspace holds the features of a forward to layer 5 and the gradients of its backward.
    """
    for kernel_row in range(15):  # of an input channel
        channel, ky = kernel_row // 5, kernel_row % 5
        for c in range(0, 6, 3):
            lane_products(5, 3, image, (channel * 1024 + ky * 32) * L, L, IMAGE_POSITIONS,
                          s.d_conv1, (c * 28 * 36 + PAD) * L, 28 * 36 * L, D_CONV1_POSITIONS, 784,
                          out, CONV1 + c * 75 + kernel_row * 5, 1, 75)  # fmt: skip
    for kernel_row in range(30):
        channel, ky = kernel_row // 5, kernel_row % 5
        for c in range(0, 16, 4):
            lane_products(5, 4, s.pool1, (channel * 196 + ky * 14) * L, L, POOL1_POSITIONS,
                          s.d_conv2, (c * 180 + PAD) * L, 180 * L, D_CONV2_POSITIONS, 100,
                          out, CONV2 + c * 150 + kernel_row * 5, 1, 150)  # fmt: skip
    _bias_gradient(s.d_conv1, 6, 28 * 36, out, CONV1_BIAS)
    _bias_gradient(s.d_conv2, 16, 180, out, CONV2_BIAS)
    _linear_gradient(s.pool2, 400, s.d_fc1, 120, s, out, FC1)
    _linear_gradient(s.relu1, 120, s.d_fc2, 84, s, out, FC2)
    _bias_gradient(s.d_fc1, 120, 1, out, FC1_BIAS)
    _bias_gradient(s.d_fc2, 84, 1, out, FC2_BIAS)
    for k in range(84):
        lane_products(1, 10, s.relu2, k * L, 0, UNITS, s.d_fc3, 0, L, UNITS, 1,
                      out, FC3 + k, 1, 84)  # fmt: skip
    _bias_gradient(s.d_fc3, 10, 1, out, FC3_BIAS)


@subroutine
def _linear_gradient(x, inputs, d, outputs, s, out, at):
    """The gradient in a linear layer's weights, into out[at:].

    A lane holds a weight here and not an image, so that no sums over lanes are needed.
    """
    for k in range(inputs):
        for n in range(L):
            s.transposed[n * 400 + k] = x[k * L + n]
    for o in range(0, outputs, 12):
        for k in range(0, inputs, L):
            k = min(k, inputs - L)  # the last vector overlaps the one before
            multiply_add(1, 12, s.transposed, k, 0, TRANSPOSED_ROWS, d, o * L, L, UNITS, 0, L,
                         s.zero, 0, 0, out, at + o * inputs + k, 0, inputs)  # fmt: skip


@subroutine
def _bias_gradient(d, channels, positions, out, at):
    """The gradient in a layer's biases, into out[at:]."""
    for c in range(channels):
        total = zeros(d)
        for i in range(c * positions * L, (c + 1) * positions * L, L):
            total = add(total, load(d, i))
        out[at + c] = lane_sum(total)


@subroutine
def _relu(x, out):
    """max(x, 0), into out."""
    for i in range(0, x.size, L):
        value = load(x, i)
        store(out, i, where_positive(value, value))


@subroutine
def _relu_gradient(x, d):
    """Turn the gradient d of ReLU's output into that of its input x: zero where x ≤ 0."""
    for i in range(0, d.size, L):
        store(d, i, where_positive(load(x, i), load(d, i)))


@subroutine
def _pool(x, out, channels, size):
    """ReLU of the maximum of each 2×2 cell."""
    half = size // 2
    for row in range(channels * half):
        for column in range(half):
            i = (2 * row * size + 2 * column) * L
            j = i + size * L
            upper = maximum(load(x, i), load(x, i + L))
            largest = maximum(upper, maximum(load(x, j), load(x, j + L)))
            store(out, (row * half + column) * L, where_positive(largest, largest))


@subroutine
def _unpool(x, pooled, d_pooled, d, channels, size):
    """The gradient of _pool: each cell's goes to its first maximum, as in PyTorch."""
    half, wide = size // 2, size + 2 * PAD
    zero = zeros(x)
    for row in range(channels * half):
        for column in range(half):
            i = (2 * row * size + 2 * column) * L
            j = i + size * L
            cell = (row * half + column) * L
            largest = load(pooled, cell)
            left = where_positive(largest, load(d_pooled, cell))
            to = (2 * row * wide + 2 * column + PAD) * L
            below = to + wide * L
            store(d, to, where_equal(load(x, i), largest, left, zero))
            left = where_equal(load(x, i), largest, zero, left)
            store(d, to + L, where_equal(load(x, i + L), largest, left, zero))
            left = where_equal(load(x, i + L), largest, zero, left)
            store(d, below, where_equal(load(x, j), largest, left, zero))
            left = where_equal(load(x, j), largest, zero, left)
            store(d, below + L, where_equal(load(x, j + L), largest, left, zero))


@subroutine
def layer_features(s, layer):
    """The array of a layer's features."""
    if layer == 1:
        return s.conv1
    if layer == 2:
        return s.conv2
    if layer == 3:
        return s.fc1
    return s.fc2 if layer == 4 else s.fc3


@subroutine
def layer_gradient(s, layer):
    """The array of the gradient of a layer's features; see gradient_offset."""
    if layer == 1:
        return s.d_conv1
    if layer == 2:
        return s.d_conv2
    if layer == 3:
        return s.d_fc1
    return s.d_fc2 if layer == 4 else s.d_fc3


@subroutine
def gradient_offset(i, layer):
    """The position of the i-th feature in layer_gradient: the convolutions' rows are padded."""
    if layer > 2:
        return i
    row = 28 if layer == 1 else 10
    return i + i // row * 2 * PAD + PAD


@kernel
def features(w, image, s, layer, out):
    """A layer's features of a block of images, into `out`."""
    forward(w, image, s, layer)
    out[:] = layer_features(s, layer)


@kernel
def image_gradient(w, image, gradient, s, layer, out):
    """The gradient of a layer's features carried down to the image, into `out`."""
    forward(w, image, s, layer)
    d = layer_gradient(s, layer)
    for i in range(gradient.size // L):
        store(d, gradient_offset(i, layer) * L, load(gradient, i * L))
    backward(w, s, layer, 0)
    out[:] = s.d_image
