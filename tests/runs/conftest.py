"""Managers of runs in a temporary folder, and what an uninterrupted run comes to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from dverge import checkpoints
from dverge.runs import Control, RunFolder, RunManager, RunState, execute
from tests.runs.small import CONFIG, Gate, Result, gated, load_images, untimed, weights_of


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Two threads on a machine that does other things too can be a hundred times slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def reference(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """The small run, uninterrupted."""
    root = tmp_path_factory.mktemp("reference")
    folder = RunFolder.create(root / "runs", "reference", "vanilla", CONFIG.to_dict())
    ignore: Callable[[object], None] = lambda status: None  # noqa: E731
    status = execute(
        folder, Control(), ignore, checkpoints_root=root / "checkpoints", load_images=load_images
    )
    assert status.state is RunState.FINISHED, status.message
    info = checkpoints.read(root / "checkpoints" / "reference")
    return Result(weights_of(info), untimed(folder.metrics()))


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """Holds the trainings of this test where it wants."""
    gate = Gate()
    monkeypatch.setattr("dverge.runs.work.VanillaTraining", gated(gate))
    yield gate
    gate.open()


@pytest.fixture
def make_manager(tmp_path: Path, gate: Gate) -> Iterator[Callable[..., RunManager]]:
    """Makes managers of the same folder, as several processes would have."""
    made: list[RunManager] = []

    def make(**options: Any) -> RunManager:
        options = {"load_images": load_images, **options}
        made.append(RunManager(tmp_path / "runs", tmp_path / "checkpoints", **options))
        return made[-1]

    yield make
    gate.open()
    for manager in made:
        manager.close()


@pytest.fixture
def manager(make_manager: Callable[..., RunManager]) -> RunManager:
    return make_manager()


@pytest.fixture
def checkpoint(tmp_path: Path) -> Callable[[str], checkpoints.CheckpointInfo]:
    """Reads a checkpoint that a run left."""
    return lambda name: checkpoints.read(tmp_path / "checkpoints" / name)
