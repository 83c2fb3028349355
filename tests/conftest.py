"""What many tests need: a small ensemble that attacks can fool, and real images."""

# ruff: noqa: I001 - dverge comes first: it says how OpenMP is to wait, before torch loads it
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dverge  # noqa: F401

import pytest
import torch
from torch import Tensor

from dverge import checkpoints
from dverge.checkpoints import CheckpointInfo
from dverge.data import Split, load
from dverge.models import Ensemble, seeded_conv


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Two threads on a machine that does other things too can be a hundred times slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def ensemble() -> Ensemble:
    """Three untrained members, their weights enlarged so that their answers depend on the image."""
    members = [seeded_conv(seed) for seed in range(3)]
    with torch.no_grad():
        for member in members:
            for name, parameter in member.named_parameters():
                parameter.mul_(2.5 if name.endswith("weight") else 1)
    return Ensemble(members).eval()


@pytest.fixture
def images() -> Tensor:
    """Eight sample images of eight classes, 8×3×32×32 in [0, 1]."""
    return load(Split.SAMPLE).pixels(slice(0, None, 125))


@pytest.fixture
def labels(ensemble: Ensemble, images: Tensor) -> Tensor:
    """What the mixture says of them, so that it is right on every one before an attack."""
    with torch.no_grad():
        return ensemble(images).argmax(1)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of checkpoints of the test's own; there is nothing in it yet."""
    folder = tmp_path / "checkpoints"
    monkeypatch.setenv("DVERGE_CHECKPOINTS", str(folder))
    return folder


@pytest.fixture
def saved(root: Path, ensemble: Ensemble) -> CheckpointInfo:
    """The ensemble as a checkpoint of the name good."""
    return checkpoints.save("good", ensemble, method="vanilla")
