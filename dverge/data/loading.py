"""Load a split of CIFAR-10."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from dverge.data import store
from dverge.data.images import ImageSet, Split
from dverge.data.sample import load_sample
from dverge.data.store import OFFICIAL, Digests, stored_file
from dverge.errors import DataError

VALIDATION_SIZE = 1024


def load(split: Split, *, folder: Path | None = None, digests: Digests = OFFICIAL) -> ImageSet:
    """Load a split on the CPU; the second load of an unchanged file costs nothing.

    What is loaded has been verified by its SHA-256 once in this process.

    Args:
        split: SAMPLE is bundled and always there; the others need the full data.
        folder: where the full data is; the data folder by default.
        digests: what the full data must be; another set only makes sense in a test.

    Raises:
        DataError: the data is missing (the message says how to get it) or damaged.
    """
    split = Split(split)
    if split is Split.SAMPLE:
        return load_sample()
    path = stored_file(folder).absolute()
    try:
        stat = path.stat()
    except OSError as error:
        raise DataError(
            f"The {split} images need all of CIFAR-10, which is not on this machine: there is no "
            f"{path}. {store.HOW_TO_GET_IT} The bundled sample of 1,000 test images works without."
        ) from error
    return _load(split, path, (stat.st_mtime_ns, stat.st_size), digests)


@lru_cache(maxsize=6)
def _load(split: Split, path: Path, stamp: tuple[int, int], digests: Digests) -> ImageSet:
    part = "test" if split is Split.TEST else "train"
    images, labels = _part(path, stamp, part, digests)
    chosen = {
        Split.TRAIN: slice(VALIDATION_SIZE, None),
        Split.VALIDATION: slice(0, VALIDATION_SIZE),
        Split.TEST: slice(None),
    }[split]
    indices = torch.arange(len(images))[chosen]
    return ImageSet(split, images[chosen], labels[chosen].to(torch.int64), indices)


@lru_cache(maxsize=2)
def _part(path: Path, stamp: tuple[int, int], part: str, digests: Digests) -> tuple[Tensor, Tensor]:
    """One part of the file, kept for as long as its time and size (the stamp) stay the same."""
    return store.read(path, part, digests)
