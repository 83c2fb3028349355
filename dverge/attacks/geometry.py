"""Steps, balls and boxes for batches of images; norms are per image."""

from __future__ import annotations

import torch
from torch import Tensor

from dverge.attacks.config import AttackConfig, Norm

SMALLEST = 1e-12  # a gradient shorter than this has no direction; as in foolbox


def lengths(batch: Tensor) -> Tensor:
    """L2 norm of each image of N×C×H×W, as N×1×1×1."""
    return batch.flatten(1).norm(dim=1).view(-1, 1, 1, 1)


def ascent(gradient: Tensor, norm: Norm) -> Tensor:
    """Steepest ascent direction of length one in the norm: the sign, or the unit gradient."""
    if norm is Norm.LINF:
        return gradient.sign()
    return gradient / lengths(gradient).clamp_min(SMALLEST)


def l1_normalised(gradient: Tensor) -> Tensor:
    """Each image's gradient at L1 length one, or zero where it has no direction."""
    return gradient / gradient.flatten(1).norm(p=1, dim=1).clamp_min(SMALLEST).view(-1, 1, 1, 1)


def project(images: Tensor, origin: Tensor, config: AttackConfig) -> Tensor:
    """Nearest point of the eps ball about origin, then of the pixel box [0, 1]."""
    delta = images - origin
    if config.norm is Norm.LINF:
        delta = delta.clamp(-config.eps, config.eps)
    else:
        delta = delta * (config.eps / lengths(delta).clamp_min(SMALLEST)).clamp_max(1)
    return (origin + delta).clamp(0, 1)


def random_point(origin: Tensor, config: AttackConfig, generator: torch.Generator) -> Tensor:
    """A point drawn uniformly from the eps ball about each image, clipped to the box.

    Drawn on the CPU, so that one seed gives the same start on every device.
    """
    if config.norm is Norm.LINF:
        noise = torch.rand(origin.shape, generator=generator, dtype=torch.float64) * 2 - 1
    else:
        noise = torch.randn(origin.shape, generator=generator, dtype=torch.float64)
        radius = torch.rand(len(origin), 1, 1, 1, generator=generator, dtype=torch.float64)
        noise = noise / lengths(noise) * radius ** (1 / origin.shape[1:].numel())
    start = origin + config.eps * noise.to(origin)
    return project(start, origin, config)
