"""What the models of an ensemble answer on images."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

import torch
from torch import Tensor

from dverge.data import ImageSet
from dverge.models import Ensemble, mix
from dverge.results import Result, models_of, result_of

BATCH = 1000


@torch.no_grad()
def answers(ensemble: Ensemble, pixels: Tensor) -> Tensor:
    """(M+1)×N classes that the members and, last, the mixture predict for N×3×32×32 pixels."""
    members = ensemble.member_log_probs(pixels)
    return torch.cat([members, mix(members).unsqueeze(0)]).argmax(2)


def predictions(ensemble: Ensemble, images: ImageSet) -> Tensor:
    """The answers on any number of images, a batch at a time, on the images' device."""
    return torch.cat([answers(ensemble, part.pixels()) for part in in_batches(images, BATCH)], 1)


def all_correct(ensembles: Iterable[Ensemble], images: ImageSet) -> Tensor:
    """Bool N: whether every member and mixture of all ensembles classifies the image correctly."""
    correct = torch.ones_like(images.labels, dtype=torch.bool)
    for ensemble in ensembles:
        for at in range(0, len(images), BATCH):
            batch = images.subset(slice(at, at + BATCH))
            predicted = answers(ensemble, input_pixels(ensemble, batch))
            correct[at : at + BATCH] &= (predicted == batch.labels).all(0)
    return correct


def clean_accuracy(ensemble: Ensemble, images: ImageSet) -> list[Result]:
    """Accuracy of each member and of the mixture on unchanged images."""
    correct = predictions(ensemble, images) == images.labels
    return [
        result_of(row.double(), model, "clean", images.split)  # a card keeps no bits
        for model, row in zip(models_of(len(ensemble)), correct, strict=True)
    ]


def in_batches(images: ImageSet, size: int) -> list[ImageSet]:
    """The images in order, `size` at a time; the last batch may be smaller."""
    return [images.subset(slice(at, at + size)) for at in range(0, len(images), size)]


def input_pixels(ensemble: Ensemble, images: ImageSet) -> Tensor:
    """Pixels N×3×32×32 in [0, 1] in the precision of the ensemble's weights."""
    return images.pixels().to(weight_dtype(ensemble))


def weight_dtype(ensemble: Ensemble) -> torch.dtype:
    """The precision of an ensemble's weights; compiled members keep them as buffers."""
    weights = chain(ensemble.parameters(), ensemble.buffers())
    return next((each.dtype for each in weights if each.is_floating_point()), torch.float32)
