"""Random noise as large as an attack's perturbation, to compare the attack with."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dverge.attacks import Norm, all_probabilities
from dverge.attacks.geometry import lengths
from dverge.errors import require_integer
from dverge.exploration.examine import Examination
from dverge.models import IMAGE_SHAPE, Ensemble
from dverge.seeds import derive_seed

BATCH = 256


@dataclass(frozen=True)
class NoiseTest:
    """What many random perturbations of one size do to one image.

    Attributes:
        size: of each perturbation in the attack's norm, before clipping to [0, 1].
        image: 1×3×32×32 in [0, 1], the first noisy image.
        after: (M+1)×10, the models' probabilities on it.
        fooled: for each model, the number of draws on which its prediction is not the true class;
            beside a targeted attack, on which it is the target.
        draws: how many noisy images were tested.
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
    """Evaluate every model under random perturbations as large as an attack's.

    L-inf noise moves each value by plus or minus the size; L2 noise is Gaussian, scaled to the
    size. Like the attack, both use all of the norm's budget.

    Args:
        ensemble: the members.
        examination: provides the clean image and the size of the perturbation.
        draws: 1 to 10,000.
        seed: of the noise, which is drawn on the CPU.

    Raises:
        ConfigError: draws is out of range.
    """
    require_integer("draws", draws, 1, 10_000)
    norm, clean = examination.config.norm, examination.clean
    size = examination.sizes()[norm]
    noise = unit_noise(draws, norm, derive_seed(seed, "noise")).to(clean)
    images = (clean + size * noise).clamp(0, 1)
    batches = [all_probabilities(ensemble, batch) for batch in images.split(BATCH)]
    probabilities = torch.cat(batches, 1)
    predicted, target = probabilities.argmax(2), examination.target
    is_fooled = predicted != examination.label if target is None else predicted == target
    fooled = tuple(is_fooled.sum(1).tolist())
    return NoiseTest(size, images[:1], probabilities[:, 0], fooled, draws, seed)


def unit_noise(count: int, norm: Norm, seed: int) -> Tensor:
    """Noise of length one in the norm, count×3×32×32 float64: random signs, or Gaussian for L2."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn((count, *IMAGE_SHAPE), generator=generator, dtype=torch.float64)
    return noise.sign() if norm is Norm.LINF else noise / lengths(noise)
