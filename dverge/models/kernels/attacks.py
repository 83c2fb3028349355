"""Whole attacks on a block of images: distillation (Eq. 1) and L-inf PGD on the mixture."""

from __future__ import annotations

import numpy as np

from dverge.models.kernels.compiling import kernel, subroutine
from dverge.models.kernels.learning import cross_entropy, shares, weigh
from dverge.models.kernels.network import (
    backward,
    forward,
    gradient_offset,
    layer_features,
    layer_gradient,
)
from dverge.models.kernels.simd import LANES as L
from dverge.models.kernels.simd import add, load, store, subtract


@kernel
def distill(w, source, target, image, s, layer, eps, step_size, steps, momentum):
    """Turn `image`, the start, into the distilled feature of source and target (Eq. 1)."""
    forward(w, target, s, layer)
    features = layer_features(s, layer)
    s.target[: features.size] = features
    s.velocity[:] = 0
    for _ in range(steps):
        _distance_gradient(w, image, s, layer)
        _step(image, source, s.d_image, s.velocity, momentum, -step_size, eps)


@kernel
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
            weigh(s.d_fc3, share[m])
            backward(w[m], s, 5, 0)
            for i in range(total.size):
                total[i] += s.d_image[i]
        _step(image, source, total, s.velocity, momentum, step_size, eps)


@subroutine
def _distance_gradient(w, image, s, layer):
    """∇ ‖f(z) - f(target)‖² in the image, into s.d_image (Eq. 1)."""
    forward(w, image, s, layer)
    features, d = layer_features(s, layer), layer_gradient(s, layer)
    for i in range(features.size // L):
        difference = subtract(load(features, i * L), load(s.target, i * L))
        store(d, gradient_offset(i, layer) * L, add(difference, difference))
    backward(w, s, layer, 0)


@subroutine
def _step(image, origin, gradient, velocity, momentum, step_size, eps):
    """A signed step along the gradient, or along the velocity if there is momentum."""
    if momentum > 0:
        _accelerate(velocity, gradient, momentum)
        gradient = velocity
    _signed_step(image, origin, gradient, step_size, eps)


@subroutine
def _accelerate(velocity, gradient, momentum):
    """Decay the velocity and add each image's gradient at L1 length one (Dong et al. 2018)."""
    for n in range(L):
        length = 0.0
        for i in range(n, gradient.size, L):
            length += abs(gradient[i])
        for i in range(n, gradient.size, L):
            velocity[i] = momentum * velocity[i] + gradient[i] / max(length, 1e-12)


@subroutine
def _signed_step(image, origin, direction, step_size, eps):
    """Move by the direction's sign, then project onto the L-inf ball and the pixel box."""
    for i in range(image.size):
        sign = (direction[i] > 0) - (direction[i] < 0)
        delta = image[i] + step_size * sign - origin[i]
        delta = min(max(delta, -eps), eps)
        image[i] = min(max(origin[i] + delta, 0), 1)
