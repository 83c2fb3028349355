"""The arithmetic of Conv for LANES images at once, compiled by Numba for this processor.

On a CPU, PyTorch leaves most lanes of a vector register empty at this network's 3 to 16 channels
and spends more time on starting operations than on running them. Here a lane holds an image, so
no lane is ever empty, and a whole attack or training step of a block is one call that does not
hold the interpreter's lock. `python -m dverge bench` tells how much that gains.

A block is LANES images laid out C×H×W×LANES, flat; so are features and gradients of them. A
member's parameters are one flat vector in the order of Conv.parameters(). All arrays have one
type, float32 or float64. The functions are compiled at their first call and kept on the disk, for
as long as this file is the same. So all of them stand here, and whoever changes simd.py must touch
this file, else what was compiled before is used.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from dverge.models.kernels.simd import LANES as L
from dverge.models.kernels.simd import (
    add,
    lane_products,
    lane_sum,
    larger,
    load,
    multiply_add,
    nothing,
    store,
    subtract,
    where_equal,
    where_positive,
)

Array = np.ndarray[Any, Any]
IMAGE = 3 * 32 * 32
PARAMETERS = 62_006
# Where each parameter begins in a member's flat vector.
CONV1, CONV1_BIAS, CONV2, CONV2_BIAS = 0, 450, 456, 2_856
FC1, FC1_BIAS, FC2, FC2_BIAS, FC3, FC3_BIAS = 2_872, 50_872, 50_992, 61_072, 61_156, 61_996
PAD = 4  # columns of zeros on both sides of a convolution's output gradient
UNKNOWN = -1  # label of a lane that holds no image


class Workspace(NamedTuple):
    """What one thread computes in: features, gradients (d_…) and some room beside."""

    conv1: Array  # 6×28×28
    pool1: Array  # 6×14×14, after ReLU
    conv2: Array  # 16×10×10
    pool2: Array  # 400, after ReLU
    fc1: Array
    relu1: Array
    fc2: Array
    relu2: Array
    fc3: Array  # the logits
    d_conv1: Array  # 6×28×36, PAD zeros on both sides of a row
    d_pool1: Array
    d_conv2: Array  # 16×10×18, likewise
    d_pool2: Array
    d_fc1: Array
    d_fc2: Array
    d_fc3: Array
    d_image: Array  # 3×32×32
    velocity: Array  # 3×32×32, the momentum of an attack
    goal: Array  # features to come close to
    turned: Array  # features with the image first
    zero: Array  # one zero


def workspace(zeros: Any) -> Workspace:
    """A workspace of arrays made by zeros(length)."""
    sizes = (6 * 784, 6 * 196, 1600, 400, 120, 120, 84, 84, 10)
    gradients = (6 * 28 * 36, 6 * 196, 16 * 10 * 18, 400, 120, 84, 10, IMAGE, IMAGE, 6 * 784, 400)
    return Workspace(*map(zeros, [*(size * L for size in sizes + gradients), 1]))


def _offsets(*steps: tuple[int, int]) -> Array:
    """Sums of all combinations of (count, step), the first slowest."""
    sums = np.zeros(1, np.int64)
    for count, step in steps:
        sums = (sums[:, None] + np.arange(count) * step).ravel()
    return sums.astype(np.int32)


# Taps of each operation: where its factors lie, from the first on. Kernel rows come first, so
# that those that fall outside of an image are a range at one end.
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
TURNED_ROWS = _offsets((L, 400))


@njit(nogil=True)
def forward(w, image, s, layer):
    """Features of a block up to a layer, in the workspace s."""
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


@njit(nogil=True)
def backward(w, s, layer, first):
    """Carry the gradient of a layer's features, in its d_ array, down to those of `first`.

    A first of 0 is the image: its gradient is then in s.d_image.
    """
    if layer >= 5:
        for k in range(0, 84, 12):
            multiply_add(1, 12, s.d_fc3, 0, 0, UNIT_VECTORS, w, FC3 + k, 1, FC3_COLUMN, 0, 10,
                         s.zero, 0, 0, s.d_fc2, k * L, 0, L)  # fmt: skip
        _mask(s.d_fc2, s.fc2)
    if layer >= 4:
        for k in range(0, 120, 12):
            multiply_add(1, 12, s.d_fc2, 0, 0, UNIT_VECTORS, w, FC2 + k, 1, FC2_COLUMN, 0, 84,
                         s.zero, 0, 0, s.d_fc1, k * L, 0, L)  # fmt: skip
        _mask(s.d_fc1, s.fc1)
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


@njit(nogil=True)
def parameter_gradient(image, s, out):
    """The gradient in all parameters, PARAMETERS numbers, summed over the block's images.

    The workspace holds the features of a whole forward and the gradients of a backward from 5.
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
    _sums(s.d_conv1, 6, 28 * 36, out, CONV1_BIAS)
    _sums(s.d_conv2, 16, 180, out, CONV2_BIAS)
    _linear_gradient(s.pool2, 400, s.d_fc1, 120, s, out, FC1)
    _linear_gradient(s.relu1, 120, s.d_fc2, 84, s, out, FC2)
    _sums(s.d_fc1, 120, 1, out, FC1_BIAS)
    _sums(s.d_fc2, 84, 1, out, FC2_BIAS)
    for k in range(84):
        lane_products(1, 10, s.relu2, k * L, 0, UNITS, s.d_fc3, 0, L, UNITS, 1,
                      out, FC3 + k, 1, 84)  # fmt: skip
    _sums(s.d_fc3, 10, 1, out, FC3_BIAS)


@njit(nogil=True)
def _linear_gradient(x, inputs, d, outputs, s, out, at):
    """Weights' gradient of a linear layer: a lane is a weight here, so no lanes are summed."""
    for k in range(inputs):
        for n in range(L):
            s.turned[n * 400 + k] = x[k * L + n]
    for o in range(0, outputs, 12):
        for k in range(0, inputs, L):
            k = min(k, inputs - L)  # the last vector overlaps the one before
            multiply_add(1, 12, s.turned, k, 0, TURNED_ROWS, d, o * L, L, UNITS, 0, L,
                         s.zero, 0, 0, out, at + o * inputs + k, 0, inputs)  # fmt: skip


@njit(nogil=True)
def _sums(d, channels, positions, out, at):
    for c in range(channels):
        total = nothing(d)
        for i in range(c * positions * L, (c + 1) * positions * L, L):
            total = add(total, load(d, i))
        out[at + c] = lane_sum(total)


@njit(nogil=True)
def _relu(x, out):
    for i in range(0, x.size, L):
        value = load(x, i)
        store(out, i, where_positive(value, value))


@njit(nogil=True)
def _mask(d, x):
    """The gradient of ReLU: zero where its input was not above zero."""
    for i in range(0, d.size, L):
        store(d, i, where_positive(load(x, i), load(d, i)))


@njit(nogil=True)
def _pool(x, out, channels, size):
    """ReLU of the largest of each 2×2 cell."""
    half = size // 2
    for row in range(channels * half):
        for column in range(half):
            i = (2 * row * size + 2 * column) * L
            j = i + size * L
            upper = larger(load(x, i), load(x, i + L))
            largest = larger(upper, larger(load(x, j), load(x, j + L)))
            store(out, (row * half + column) * L, where_positive(largest, largest))


@njit(nogil=True)
def _unpool(x, pooled, d_pooled, d, channels, size):
    """The gradient of _pool: each cell's goes to its first largest number, as in PyTorch."""
    half, wide = size // 2, size + 2 * PAD
    zero = nothing(x)
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


@njit(nogil=True)
def _features(s, layer):
    if layer == 1:
        return s.conv1
    if layer == 2:
        return s.conv2
    if layer == 3:
        return s.fc1
    return s.fc2 if layer == 4 else s.fc3


@njit(nogil=True)
def _feature_gradients(s, layer):
    if layer == 1:
        return s.d_conv1
    if layer == 2:
        return s.d_conv2
    if layer == 3:
        return s.d_fc1
    return s.d_fc2 if layer == 4 else s.d_fc3


@njit(nogil=True)
def _spot(i, layer):
    """Where the gradient of a layer's i-th feature lies: the convolutions' have padded rows."""
    if layer > 2:
        return i
    row = 28 if layer == 1 else 10
    return i + i // row * 2 * PAD + PAD


@njit(nogil=True)
def distance_gradient(w, image, s, layer):
    """∇ ‖f(z) - goal‖² in the image, into s.d_image (Eq. 1)."""
    forward(w, image, s, layer)
    features, d = _features(s, layer), _feature_gradients(s, layer)
    for i in range(features.size // L):
        difference = subtract(load(features, i * L), load(s.goal, i * L))
        store(d, _spot(i, layer) * L, add(difference, difference))
    backward(w, s, layer, 0)


@njit(nogil=True)
def _log_sum_exp(logits, n):
    """Of one lane's logits."""
    top, total = logits[n], 0.0
    for c in range(1, 10):
        top = max(top, logits[c * L + n])
    for c in range(10):
        total += math.exp(logits[c * L + n] - top)
    return top + math.log(total)


@njit(nogil=True)
def cross_entropy(logits, labels, scale, cap, d):
    """The sum over lanes of min(cross-entropy, cap); scale times its gradient, into d."""
    total = 0.0
    for n in range(L):
        label = labels[n]
        norm = _log_sum_exp(logits, n)
        loss = 0.0 if label == UNKNOWN else norm - logits[label * L + n]
        learns = label != UNKNOWN and not loss > cap  # NaN is carried on, to be noticed
        for c in range(10):
            probability = math.exp(logits[c * L + n] - norm)
            d[c * L + n] = scale * (probability - (c == label)) if learns else 0.0
        total += min(loss, cap) if loss == loss else loss
    return total


@njit(nogil=True)
def _move(image, origin, direction, velocity, momentum, step_size, eps):
    """A signed step, projected onto the L-inf ball about the origin and the pixel box.

    With momentum, of the velocity: its decayed past plus the direction at L1 length one.
    """
    if momentum > 0:
        _accelerate(direction, velocity, momentum)
        direction = velocity
    _step(image, origin, direction, step_size, eps)


@njit(nogil=True)
def _accelerate(direction, velocity, momentum):
    for n in range(L):
        length = 0.0
        for i in range(n, direction.size, L):
            length += abs(direction[i])
        for i in range(n, direction.size, L):
            velocity[i] = momentum * velocity[i] + direction[i] / max(length, 1e-12)


@njit(nogil=True)
def _step(image, origin, direction, step_size, eps):
    for i in range(image.size):
        sign = (direction[i] > 0) - (direction[i] < 0)
        delta = image[i] + step_size * sign - origin[i]
        delta = min(max(delta, -eps), eps)
        image[i] = min(max(origin[i] + delta, 0), 1)


@njit(nogil=True, cache=True)
def features(w, image, s, layer, out):
    """A layer's features, into out."""
    forward(w, image, s, layer)
    out[:] = _features(s, layer)


@njit(nogil=True, cache=True)
def image_gradient(w, image, gradient, s, layer, out):
    """The gradient in the image of what has this gradient in a layer's features, into out."""
    forward(w, image, s, layer)
    d = _feature_gradients(s, layer)
    for i in range(gradient.size // L):
        store(d, _spot(i, layer) * L, load(gradient, i * L))
    backward(w, s, layer, 0)
    out[:] = s.d_image


@njit(nogil=True, cache=True)
def distill(w, source, target, image, s, layer, eps, step_size, steps, momentum):
    """Turn `image`, where it starts, into the distilled feature of source and target (Eq. 1)."""
    forward(w, target, s, layer)
    goal = _features(s, layer)
    s.goal[: goal.size] = goal
    s.velocity[:] = 0
    for _ in range(steps):
        distance_gradient(w, image, s, layer)
        _move(image, source, s.d_image, s.velocity, momentum, -step_size, eps)


@njit(nogil=True, cache=True)
def attack(w, source, labels, image, s, eps, step_size, steps, momentum):
    """L-inf PGD on the mixture of the members whose parameters are the rows of w.

    The mixture's cross-entropy has the gradient Σ_m r_m ∇CE_m, where r_m is the share of member m
    in the probability of the label.
    """
    total = np.empty_like(s.d_image)
    share = np.empty((len(w), L), s.d_image.dtype)
    s.velocity[:] = 0
    for _ in range(steps):
        if len(w) == 1:
            share[:] = 1
        else:
            shares(w, image, labels, s, share)
        total[:] = 0
        for m in range(len(w)):
            forward(w[m], image, s, 5)
            cross_entropy(s.fc3, labels, 1.0, np.inf, s.d_fc3)
            _weigh(s.d_fc3, share[m])
            backward(w[m], s, 5, 0)
            for i in range(total.size):
                total[i] += s.d_image[i]
        _move(image, source, total, s.velocity, momentum, step_size, eps)


@njit(nogil=True, cache=True)
def shares(w, image, labels, s, share):
    """Each member's share in the mixture's probability of the label, M×L, into share.

    Returns:
        The mixture's cross-entropy, summed over the block's images.
    """
    loss = 0.0
    for m in range(len(w)):
        forward(w[m], image, s, 5)
        for n in range(L):
            share[m, n] = s.fc3[labels[n] * L + n] - _log_sum_exp(s.fc3, n)
    for n in range(L):
        top = share[:, n].max()
        total = 0.0
        for m in range(len(w)):
            share[m, n] = math.exp(share[m, n] - top)
            total += share[m, n]
        for m in range(len(w)):
            share[m, n] /= total
        if labels[n] != UNKNOWN:
            loss += math.log(len(w)) - top - math.log(total)
    return loss


@njit(nogil=True)
def _weigh(d, share):
    """Scale each image's gradient in the logits by its share."""
    for i in range(d.size):
        d[i] *= share[i % L]


@njit(nogil=True, cache=True)
def learn(w, image, labels, scale, cap, share, s, out):
    """The block's summed cross-entropy; scale times its gradient in the parameters, into out.

    In the gradient, each image counts by its share.
    """
    forward(w, image, s, 5)
    loss = cross_entropy(s.fc3, labels, scale, cap, s.d_fc3)
    _weigh(s.d_fc3, share)
    backward(w, s, 5, 1)
    parameter_gradient(image, s, out)
    return loss


@njit(nogil=True, cache=True)
def descend(w, velocity, gradients, learning_rate, momentum, weight_decay):
    """A step of SGD along the sum of the rows of gradients."""
    for i in range(w.size):
        gradient = weight_decay * w[i]
        for row in range(len(gradients)):
            gradient += gradients[row, i]
        velocity[i] = momentum * velocity[i] + gradient
        w[i] -= learning_rate * velocity[i]
