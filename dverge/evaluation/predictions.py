"""What the models of an ensemble answer on images."""

from __future__ import annotations

import torch
from torch import Tensor

from dverge.data import ImageSet
from dverge.models import Ensemble, mix
from dverge.results import Result, models_of, result_of

BATCH = 1000


@torch.no_grad()
def predictions(ensemble: Ensemble, images: ImageSet) -> Tensor:
    """(M+1)×N predicted classes of the members and last the mixture, on the images' device."""
    starts = range(0, len(images), BATCH)
    return torch.cat([answers(ensemble, images.pixels(slice(i, i + BATCH))) for i in starts], 1)


@torch.no_grad()
def answers(ensemble: Ensemble, pixels: Tensor) -> Tensor:
    """(M+1)×N predicted classes for N×3×32×32 pixels, all at once."""
    members = ensemble.member_log_probs(pixels)
    return torch.cat([members, mix(members).unsqueeze(0)]).argmax(2)


def clean_accuracy(ensemble: Ensemble, images: ImageSet) -> list[Result]:
    """Accuracy of each member and of the mixture on unattacked images."""
    right = predictions(ensemble, images) == images.labels
    names = models_of(len(ensemble))
    return [
        result_of(row.double(), name, "clean", images.split)  # a card keeps no bits
        for name, row in zip(names, right, strict=True)
    ]
