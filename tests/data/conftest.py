"""A data set small enough to make, store and verify in milliseconds, and what it must be."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dverge.data.sources import Source
from dverge.data.store import Arrays, Digests, Progress


def make_arrays(seed: int = 0) -> Arrays:
    """1,030 training images (so that 6 are left beside the validation set) and 20 test images."""
    generator = torch.Generator().manual_seed(seed)

    def draw(high: int, *shape: int) -> torch.Tensor:
        return torch.randint(high, shape, dtype=torch.uint8, generator=generator)

    images = draw(256, 1030, 3, 32, 32), draw(256, 20, 3, 32, 32)
    return Arrays(images[0], draw(10, 1030), images[1], draw(10, 20))


def digests_of(arrays: Arrays) -> Digests:
    """The digests, computed apart from the library."""
    each = (arrays.train_images, arrays.train_labels, arrays.test_images, arrays.test_labels)
    return Digests(*(hashlib.sha256(values.numpy().tobytes()).hexdigest() for values in each))


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
def failing() -> Callable[[str, Exception], Source]:
    """Makes a source of some name that fails with some error."""

    def make(name: str, error: Exception) -> Source:
        def fetch(workspace: Path, report: Progress) -> Arrays:
            (workspace / "half").write_bytes(b"half a file")
            raise error

        return Source(name, fetch)

    return make
