"""A member's training step: cross-entropy of a member or the mixture, its gradient, and SGD."""

from __future__ import annotations

import math

from dverge.models.kernels.compiling import kernel, subroutine
from dverge.models.kernels.layout import UNKNOWN
from dverge.models.kernels.network import backward, forward, parameter_gradient
from dverge.models.kernels.simd import LANES as L


@subroutine
def cross_entropy(logits, labels, scale, cap, d):
    """The sum over lanes of min(cross-entropy, cap); scale times its gradient, into d."""
    total = 0.0
    for n in range(L):
        label = labels[n]
        norm = _log_sum_exp(logits, n)
        loss = 0.0 if label == UNKNOWN else norm - logits[label * L + n]
        learns = label != UNKNOWN and not loss > cap  # NaN passes, so that the caller sees it
        for c in range(10):
            probability = math.exp(logits[c * L + n] - norm)
            d[c * L + n] = scale * (probability - (c == label)) if learns else 0.0
        total += min(loss, cap) if loss == loss else loss
    return total


@subroutine
def _log_sum_exp(logits, n):
    """logsumexp of the logits of lane n."""
    top, total = logits[n], 0.0
    for c in range(1, 10):
        top = max(top, logits[c * L + n])
    for c in range(10):
        total += math.exp(logits[c * L + n] - top)
    return top + math.log(total)


@subroutine
def weigh(d, share):
    """Scale the gradient in each image's logits by the image's share."""
    for i in range(d.size):
        d[i] *= share[i % L]


@kernel
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


@kernel
def learn(w, image, labels, scale, cap, share, s, out):
    """The block's summed cross-entropy; scale times its gradient in the parameters, into out.

    In the gradient, each image is weighted by its share.
    """
    forward(w, image, s, 5)
    loss = cross_entropy(s.fc3, labels, scale, cap, s.d_fc3)
    weigh(s.d_fc3, share)
    backward(w, s, 5, 1)
    parameter_gradient(image, s, out)
    return loss


@kernel
def descend(w, velocity, gradients, learning_rate, momentum, weight_decay):
    """A step of SGD along the sum of the rows of gradients."""
    for i in range(w.size):
        gradient = weight_decay * w[i]
        for row in range(len(gradients)):
            gradient += gradients[row, i]
        velocity[i] = momentum * velocity[i] + gradient
        w[i] -= learning_rate * velocity[i]
