"""Random noise of an attack's own size: what the perturbation does beyond its length."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dverge.attacks import Norm, all_probabilities
from dverge.errors import require_integer
from dverge.exploration.examine import Examination
from dverge.models import Ensemble
from dverge.seeds import derive_seed

BATCH = 256


@dataclass(frozen=True)
class NoiseTest:
    """What many random perturbations of one size do to one image.

    Attributes:
        size: of each, in the attack's norm, before the pixel box clips it.
        image: 1×3×32×32 in [0, 1], the first of them.
        after: (M+1)×10, the models' probabilities on it.
        fooled: for each model on how many draws it says another class than the true one.
        draws: how many.
        seed: of the draws.
    """

    size: float
    image: Tensor
    after: Tensor
    fooled: tuple[int, ...]
    draws: int
    seed: int


@torch.no_grad()
def noise_test(
    ensemble: Ensemble, examination: Examination, draws: int = 100, seed: int = 0
) -> NoiseTest:
    """Ask every model about random perturbations as large as the one an attack found.

    For L-inf each value is moved by plus or minus the size, for L2 the noise is Gaussian at that
    length: the most that the norm allows, as the attack's is.

    Args:
        ensemble: the members.
        examination: whose clean image and perturbation's size are taken.
        draws: 1 to 10,000.
        seed: of the noise, which is drawn on the CPU.

    Raises:
        ConfigError: draws is out of range.
    """
    require_integer("draws", draws, 1, 10_000)
    norm, clean = examination.config.norm, examination.clean
    size = examination.sizes()[str(norm)]
    noise = size * _unit_noise(draws, norm, seed).to(clean)
    images = (clean + noise).clamp(0, 1)
    asked = torch.cat([all_probabilities(ensemble, some) for some in images.split(BATCH)], 1)
    fooled = (asked.argmax(2) != examination.label).sum(1).tolist()
    return NoiseTest(size, images[:1], asked[:, 0], tuple(fooled), draws, seed)


def _unit_noise(draws: int, norm: Norm, seed: int) -> Tensor:
    """Noise of length one in the norm, draws×3×32×32 float64."""
    generator = torch.Generator().manual_seed(derive_seed(seed, "noise"))
    noise = torch.randn((draws, 3, 32, 32), generator=generator, dtype=torch.float64)
    if norm is Norm.LINF:
        return noise.sign()
    return noise / noise.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
