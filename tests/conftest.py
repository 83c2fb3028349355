"""Fixtures of many tests: a small ensemble that attacks succeed on, and real images."""

# ruff: noqa: I001 - dverge comes first: it sets how OpenMP waits, before torch loads OpenMP
from __future__ import annotations

from pathlib import Path

import dverge  # noqa: F401

import pytest
import torch
from torch import Tensor

from dverge import checkpoints
from dverge.checkpoints import CheckpointInfo
from dverge.data import Split, load
from dverge.models import Ensemble, seeded_conv


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """On a busy machine, two threads of torch can be a hundred times slower than one."""
    torch.set_num_threads(1)


def untrained_ensemble() -> Ensemble:
    """Three untrained members; enlarged weights make their answers depend on the image."""
    members = [seeded_conv(seed) for seed in range(3)]
    with torch.no_grad():
        for member in members:
            for name, parameter in member.named_parameters():
                parameter.mul_(2.5 if name.endswith("weight") else 1)
    return Ensemble(members).eval()


@pytest.fixture
def ensemble() -> Ensemble:
    """Three untrained members that a test may change."""
    return untrained_ensemble()


@pytest.fixture
def images() -> Tensor:
    """Eight sample images of eight classes, 8×3×32×32 in [0, 1]."""
    return load(Split.SAMPLE).pixels(slice(0, None, 125))


@pytest.fixture
def labels(ensemble: Ensemble, images: Tensor) -> Tensor:
    """The mixture's answers, so that it is correct on every image before an attack."""
    with torch.no_grad():
        return ensemble(images).argmax(1)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of checkpoints for this test alone."""
    folder = tmp_path / "checkpoints"
    monkeypatch.setenv("DVERGE_CHECKPOINTS", str(folder))
    return folder


@pytest.fixture
def saved(root: Path, ensemble: Ensemble) -> CheckpointInfo:
    """The ensemble as a checkpoint named good."""
    return checkpoints.save("good", ensemble, method="vanilla")
