"""Managers of runs in a temporary folder, and the outcome of uninterrupted runs."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dverge import checkpoints
from dverge.runs import RunFolder, RunManager
from dverge.training import Method
from tests.runs.measured import Rows, evaluated, gated_evaluation, save_two
from tests.runs.small import CONFIG, CONFIGS, Gate, Outcome, gated, load_images, uninterrupted


@pytest.fixture(scope="module")
def reference_of(
    one_thread: None, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Method], Outcome]:
    """The outcome of a method's small run, uninterrupted."""
    return functools.cache(lambda m: uninterrupted(CONFIGS[m], tmp_path_factory.mktemp("all")))


@pytest.fixture(scope="module")
def reference(reference_of: Callable[[Method], Outcome]) -> Outcome:
    """The outcome of the small vanilla run."""
    return reference_of(Method.VANILLA)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A new run that no manager knows."""
    return RunFolder.create(tmp_path / "runs", "one", "vanilla", CONFIG.to_dict())


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """Holds the trainings of this test where it is closed."""
    gate = Gate()
    monkeypatch.setattr("dverge.runs.jobs.Training", gated(gate))
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
    """Reads a checkpoint that a run saved."""
    return lambda name: checkpoints.read(tmp_path / "checkpoints" / name)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The folder of the two checkpoints that the small evaluation measures."""
    return save_two(tmp_path)


@pytest.fixture
def pieces(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Holds the evaluations of this test at the gate; one entry for each piece of their work."""
    done: list[None] = []
    monkeypatch.setattr("dverge.runs.evaluating.Evaluation", gated_evaluation(gate, done))
    return done


@pytest.fixture(scope="module")
def figures(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Rows:
    """The rows of the small evaluation, uninterrupted."""
    return evaluated(tmp_path_factory.mktemp("evaluated"))
