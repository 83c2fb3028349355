"""How much faster attacks on compiled members are than on PyTorch's."""

from __future__ import annotations

import torch

from dverge.attacks import MIXTURE, Norm, attack, pgd
from dverge.data import Split, load
from dverge.models import Ensemble, compiled, seeded_conv
from dverge.timing import Comparison, compare

IMAGES, MEMBERS, STEPS = 256, 3, 10


def bench_attack(device: torch.device) -> Comparison:
    """PGD of ten steps on the mixture of three members, 256 images, by either way in turn."""
    plain = Ensemble([seeded_conv(i).to(device).requires_grad_(False) for i in range(MEMBERS)])
    fast = compiled(plain)
    images = load(Split.SAMPLE).to(device).subset(slice(IMAGES))
    pixels, labels = images.pixels(), images.labels
    config = pgd(Norm.LINF, 8 / 255, steps=STEPS, random_start=False)
    return compare(
        lambda: attack(plain, pixels, labels, config, MIXTURE),
        lambda: attack(fast, pixels, labels, config, MIXTURE),
        device,
    )
