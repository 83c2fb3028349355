"""A data set small enough to make, store and verify in milliseconds, with its digests."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dverge.data.download import Progress
from dverge.data.sources import Source
from dverge.data.store import Arrays, Digests


def make_arrays() -> Arrays:
    """1,030 training images (so that 6 are left beside the validation set) and 20 test images."""
    generator = torch.Generator().manual_seed(0)

    def draw(high: int, *shape: int) -> torch.Tensor:
        return torch.randint(high, shape, dtype=torch.uint8, generator=generator)

    images = draw(256, 1030, 3, 32, 32), draw(256, 20, 3, 32, 32)
    return Arrays(images[0], draw(10, 1030), images[1], draw(10, 20))


def digests_of(arrays: Arrays) -> Digests:
    """The digests, computed without the library."""
    tensors = (arrays.train_images, arrays.train_labels, arrays.test_images, arrays.test_labels)
    return Digests(*(hashlib.sha256(tensor.numpy().tobytes()).hexdigest() for tensor in tensors))


@pytest.fixture(scope="session")
def arrays() -> Arrays:
    return make_arrays()


@pytest.fixture(scope="session")
def digests(arrays: Arrays) -> Digests:
    return digests_of(arrays)


@pytest.fixture
def good(arrays: Arrays) -> Source:
    """A source that has the small data set."""

    def fetch(workspace: Path, report: Progress) -> Arrays:
        report("Fetching", 0.5)
        return arrays

    return Source("a good source", fetch)


@pytest.fixture
def failing() -> Callable[[str, BaseException], Source]:
    """Makes a source that writes half a file and fails with an error."""

    def make(name: str, error: BaseException) -> Source:
        def fetch(workspace: Path, report: Progress) -> Arrays:
            (workspace / "half").write_bytes(b"half a file")
            raise error

        return Source(name, fetch)

    return make
