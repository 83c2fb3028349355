"""Step directions, projections and random starts for batches of images; norms are per image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dverge.attacks.config import AttackConfig, Norm
from dverge.seeds import derive_seed

TINY = 1e-12  # a gradient shorter than this has no direction, as in foolbox


def lengths(batch: Tensor) -> Tensor:
    """L2 norm of each image of N×C×H×W, as N×1×1×1."""
    return batch.flatten(1).norm(dim=1).view(-1, 1, 1, 1)


def ascent(gradient: Tensor, norm: Norm) -> Tensor:
    """The direction of steepest ascent, of length one in the norm: the sign or unit gradient."""
    if norm is Norm.LINF:
        return gradient.sign()
    return gradient / lengths(gradient).clamp_min(TINY)


def l1_normalised(gradient: Tensor) -> Tensor:
    """Each image's gradient, …×C×H×W, scaled to L1 length one, or zero if it has no direction."""
    length = torch.linalg.vector_norm(gradient, 1, dim=(-3, -2, -1), keepdim=True)
    return gradient / length.clamp_min(TINY)


def project(images: Tensor, origin: Tensor, config: AttackConfig) -> Tensor:
    """Project onto the eps ball about each origin, then onto the pixel box [0, 1]."""
    delta = images - origin
    if config.norm is Norm.LINF:
        delta = delta.clamp(-config.eps, config.eps)
    else:
        delta = delta * (config.eps / lengths(delta).clamp_min(TINY)).clamp_max(1)
    return (origin + delta).clamp(0, 1)


def random_point(origin: Tensor, config: AttackConfig, generator: torch.Generator) -> Tensor:
    """A point drawn uniformly from the eps ball about each image, clipped to the pixel box.

    The CPU draws it, so that a seed gives the same point on every device.
    """
    return _add_noise(origin, _unit_noise(origin.shape, config.norm, generator), config)


def image_starts(
    images: Tensor, numbers: Sequence[int], config: AttackConfig, restart: int
) -> Tensor:
    """Random starts that depend only on the seed, the restart and each image's number.

    So the result of an attack does not depend on the other images or on how they are batched.

    Args:
        images: N×3×32×32 in [0, 1].
        numbers: N, each image's position in the official file.
        config: norm, eps and seed.
        restart: number of the restart, from 0.
    """
    generator, noise = torch.Generator(), []
    for number in numbers:
        generator.manual_seed(derive_seed(config.seed, "start", restart, int(number)))
        noise.append(_unit_noise(torch.Size((1, *images.shape[1:])), config.norm, generator))
    return _add_noise(images, torch.cat(noise), config)


def _unit_noise(shape: torch.Size, norm: Norm, generator: torch.Generator) -> Tensor:
    """Noise N×C×H×W drawn uniformly from the unit ball of each image, float64 on the CPU."""
    if norm is Norm.LINF:
        return torch.rand(shape, generator=generator, dtype=torch.float64) * 2 - 1
    noise = torch.randn(shape, generator=generator, dtype=torch.float64)
    radius = torch.rand(shape[0], 1, 1, 1, generator=generator, dtype=torch.float64)
    return noise / lengths(noise) * radius ** (1 / shape[1:].numel())


def _add_noise(origin: Tensor, noise: Tensor, config: AttackConfig) -> Tensor:
    return project(origin + config.eps * noise.to(origin), origin, config)
