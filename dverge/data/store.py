"""All of CIFAR-10 as one verified file in the data folder."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from dverge.data.images import sha256_of
from dverge.errors import DataError

FILE_NAME = "cifar10.safetensors"
HOW_TO_GET_IT = "Get it with `python -m dverge data`, or with the button on the Home page."

Progress = Callable[[str, float], None]
"""Told often how far a job is: a text that names the stage, and a fraction from 0 to 1."""


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
    """Where the full data is kept on this machine (the folder need not exist yet).

    DVERGE_DATA if it is set; else %LOCALAPPDATA%\\dverge on Windows, and $XDG_CACHE_HOME/dverge
    or ~/.cache/dverge elsewhere.
    """
    if given := os.environ.get("DVERGE_DATA"):
        return Path(given).expanduser().absolute()
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return (Path(local) if local else Path.home() / "AppData" / "Local") / "dverge"
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "dverge"


def stored_file(folder: Path | None = None) -> Path:
    """The file that holds the full data in a folder (the data folder by default)."""
    return (folder or data_folder()) / FILE_NAME


def full_data_available() -> bool:
    """Whether the full data is in the data folder. Cheap; load() verifies what is there."""
    return stored_file().is_file()


def verify(name: str, values: Tensor, digests: Digests, origin: str) -> None:
    """Raise DataError unless the array called name has the digest it must have."""
    expected, found = getattr(digests, name), sha256_of(values)
    if found != expected:
        raise DataError(
            f"{origin} is not CIFAR-10 as published, or is damaged: the SHA-256 of {name} is "
            f"{found}, and must be {expected}."
        )


def verify_all(arrays: Arrays, digests: Digests, origin: str) -> None:
    """Raise DataError naming the origin unless all four arrays have their digests."""
    for field in fields(Digests):
        verify(field.name, getattr(arrays, field.name), digests, origin)


def save(arrays: Arrays, path: Path) -> None:
    """Write the arrays to a new file and see them onto the disk. Raises OSError."""
    tensors = {each.name: getattr(arrays, each.name).contiguous() for each in fields(Arrays)}
    # Written from here, not by safetensors, whose errors hide that the disk is full.
    content = safetensors.torch.save(tensors)
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def read(path: Path, part: str, digests: Digests = OFFICIAL) -> tuple[Tensor, Tensor]:
    """Read and verify one part ("train" or "test") of the stored file.

    Returns:
        Images, uint8 N×3×32×32, and labels, uint8 N, in the official order.

    Raises:
        DataError: the file is missing, cannot be read, or is not what it should be.
    """
    if not path.is_file():
        raise DataError(f"CIFAR-10 is not on this machine: there is no {path}. {HOW_TO_GET_IT}")
    names = (f"{part}_images", f"{part}_labels")
    try:
        with safe_open(path, framework="pt") as file:
            # Cloned so that nothing is left mapped to a file which may be replaced.
            images, labels = (file.get_tensor(name).clone() for name in names)
    except (OSError, SafetensorError) as error:
        raise DataError(f"{path} cannot be read ({error}). Delete it. {HOW_TO_GET_IT}") from error
    try:
        for name, values in zip(names, (images, labels), strict=True):
            verify(name, values, digests, str(path))
    except DataError as error:
        raise DataError(f"{error} Delete it. {HOW_TO_GET_IT}") from error
    return images, labels


def is_good(path: Path, digests: Digests) -> bool:
    """Whether the stored file is there and all of it is what it should be."""
    if not path.is_file():
        return False
    try:
        read(path, "train", digests)
        read(path, "test", digests)
    except DataError:
        return False
    return True
