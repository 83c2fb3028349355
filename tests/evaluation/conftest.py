"""The shipped ensemble that the tests of evaluation attack."""

from __future__ import annotations

import shutil
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


@pytest.fixture(scope="session")
def unmeasured(tmp_path_factory: pytest.TempPathFactory, shipped: Path) -> Path:
    """Two checkpoints without results: the shipped one, and one of two of its members. Copy it."""
    root = tmp_path_factory.mktemp("unmeasured")
    shutil.copytree(shipped, root / "three", ignore=shutil.ignore_patterns("evaluations"))
    two = Ensemble(list(checkpoints.load(shipped).members)[1:])
    checkpoints.save("two", two, method="vanilla", root=root)
    return root


@pytest.fixture
def root(tmp_path: Path, unmeasured: Path) -> Path:
    """A copy of the two checkpoints."""
    return shutil.copytree(unmeasured, tmp_path / "checkpoints")
