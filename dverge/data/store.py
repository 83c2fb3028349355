"""All of CIFAR-10 as one verified file in the data folder, and its splits."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from dverge.data.images import ImageSet, Split, sha256_of
from dverge.data.sample import load_sample
from dverge.errors import DataError

FILE_NAME = "cifar10.safetensors"
HOW_TO_GET_IT = "Get it with `python -m dverge data`, or with the button on the Home page."
VALIDATION_SIZE = 1024


@dataclass(frozen=True)
class Digests:
    """SHA-256 (hex) of each array of a data set as uint8 in C order."""

    train_images: str
    train_labels: str
    test_images: str
    test_labels: str


OFFICIAL = Digests(
    train_images="9d5c2eddadb0deff02c14c350c0385aab7b1d5ff1edfeb4997c8dc8644960111",
    train_labels="2b7cd2f24487317614016b72ffd53071c3062f592f0eb300c18a770d41ae1253",
    test_images="177777c33ba79825320efa646ad04a94bdc3c80e4ebe3bd21724f8cdfd4b9d56",
    test_labels="cec8a24a1e92aa2ecaa0bbd3dbfa86bf6cd8759fbd209a832824c8cf0afca9d5",
)
"""CIFAR-10 as its authors published it: 50,000 training and 10,000 test images."""


@dataclass(frozen=True, eq=False)
class Arrays:
    """A whole data set: images uint8 N×3×32×32, labels uint8 N, in the official order."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor


def data_folder() -> Path:
    """The folder of the full data on this machine; it need not exist yet.

    DVERGE_DATA if that is set; else %LOCALAPPDATA%\\dverge on Windows, and $XDG_CACHE_HOME/dverge
    or ~/.cache/dverge elsewhere.
    """
    if folder := os.environ.get("DVERGE_DATA"):
        return Path(folder).expanduser().absolute()
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return (Path(local) if local else Path.home() / "AppData" / "Local") / "dverge"
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "dverge"


def stored_file(folder: Path | None = None) -> Path:
    """The file of the full data in a folder (by default the data folder)."""
    return (folder or data_folder()) / FILE_NAME


def full_data_available() -> bool:
    """Whether the full data is in the data folder. Does not read the file; load() verifies it."""
    return stored_file().is_file()


def load(split: Split, *, folder: Path | None = None, digests: Digests = OFFICIAL) -> ImageSet:
    """Load a split onto the CPU, verified by its SHA-256.

    The images stay in memory: the next call returns them, unless the file has changed.

    Args:
        split: SAMPLE is bundled and always available; the others need the full data.
        folder: where the full data is; by default the data folder.
        digests: what the full data must be; tests use other digests.

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
            f"{path}. {HOW_TO_GET_IT} The bundled sample of 1,000 test images works without."
        ) from error
    return _load(split, path, (stat.st_mtime_ns, stat.st_size), digests)


@lru_cache(maxsize=6)
def _load(split: Split, path: Path, stamp: tuple[int, int], digests: Digests) -> ImageSet:
    part = "test" if split is Split.TEST else "train"
    images, labels = _load_part(path, stamp, part, digests)
    chosen = {
        Split.TRAIN: slice(VALIDATION_SIZE, None),
        Split.VALIDATION: slice(0, VALIDATION_SIZE),
        Split.TEST: slice(None),
    }[split]
    indices = torch.arange(len(images))[chosen]
    return ImageSet(split, images[chosen], labels[chosen].to(torch.int64), indices)


@lru_cache(maxsize=2)
def _load_part(
    path: Path, stamp: tuple[int, int], part: str, digests: Digests
) -> tuple[Tensor, Tensor]:
    """Read a part of the file; cached until the file's time or size (the stamp) changes."""
    return read(path, part, digests)


def read(path: Path, part: str, digests: Digests = OFFICIAL) -> tuple[Tensor, Tensor]:
    """Read and verify one part ("train" or "test") of the stored file.

    Returns:
        Images, uint8 N×3×32×32, and labels, uint8 N, in the official order.

    Raises:
        DataError: the file is missing, cannot be read, or has other contents.
    """
    if not path.is_file():
        raise DataError(f"CIFAR-10 is not on this machine: there is no {path}. {HOW_TO_GET_IT}")
    names = (f"{part}_images", f"{part}_labels")
    try:
        with safe_open(path, framework="pt") as file:
            # Cloned, because a tensor that is mapped to the file breaks when the file is replaced.
            images, labels = (file.get_tensor(name).clone() for name in names)
    except (OSError, SafetensorError) as error:
        raise DataError(f"{path} cannot be read ({error}). Delete it. {HOW_TO_GET_IT}") from error
    try:
        for name, values in zip(names, (images, labels), strict=True):
            _verify(name, values, digests, str(path))
    except DataError as error:
        raise DataError(f"{error} Delete it. {HOW_TO_GET_IT}") from error
    return images, labels


def is_intact(path: Path, digests: Digests) -> bool:
    """Whether the stored file exists and all of its contents are verified."""
    try:
        read(path, "train", digests)
        read(path, "test", digests)
    except DataError:
        return False
    return True


def save(arrays: Arrays, path: Path) -> None:
    """Write the arrays to a new file and flush it to the disk. Raises OSError."""
    tensors = {each.name: getattr(arrays, each.name).contiguous() for each in fields(Arrays)}
    # Python writes the file, because safetensors' own errors do not say that the disk is full.
    content = safetensors.torch.save(tensors)
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def verify_all(arrays: Arrays, digests: Digests, origin: str) -> None:
    """Raise DataError, which names the origin, unless all four arrays have their digests."""
    for field in fields(Digests):
        _verify(field.name, getattr(arrays, field.name), digests, origin)


def _verify(name: str, values: Tensor, digests: Digests, origin: str) -> None:
    """Raise DataError unless the array of that name has the digest of that name."""
    expected, digest = getattr(digests, name), sha256_of(values)
    if digest != expected:
        raise DataError(
            f"{origin} is not CIFAR-10 as published, or is damaged: the SHA-256 of {name} is "
            f"{digest}, but must be {expected}."
        )
