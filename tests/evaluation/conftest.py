"""The shipped ensemble that the tests of evaluation attack."""

from __future__ import annotations

from pathlib import Path

import pytest

from dverge import checkpoints
from dverge.models import Ensemble


@pytest.fixture(scope="session")
def shipped() -> Path:
    """A shipped checkpoint's folder: three members, correct on some images, robust on fewer."""
    return Path(__file__).parents[2] / "checkpoints" / "vanilla-3xconv-s0"


@pytest.fixture(scope="session")
def trained(shipped: Path) -> Ensemble:
    """The shipped ensemble in float64, where the order of sums hardly matters."""
    return checkpoints.load(shipped).double()
