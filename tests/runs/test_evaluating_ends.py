"""Evaluations that fail, wait, are closed or deleted: what they had is kept."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dverge.data import Split
from dverge.errors import ConfigError, DataError
from dverge.runs import (
    EVALUATION,
    Control,
    RunFolder,
    RunManager,
    RunSpec,
    RunState,
    Status,
    execute,
)
from tests.runs.measured import (
    CONFIG_OF_TWO,
    FIRST_HALF,
    NAMES,
    PIECES,
    Rows,
    ended,
    stopped_at,
    untimed,
)
from tests.runs.small import CONFIG, LONG, Gate, load_images, until

MakeManager = Callable[..., RunManager]
pytestmark = pytest.mark.usefixtures("home", "pieces")


def test_a_failure_keeps_the_rows_of_the_others(
    manager: RunManager, gate: Gate, home: Path, pieces: list[None], figures: Rows
) -> None:
    """A checkpoint that goes while it is measured; once it is back, only it is measured anew."""
    gate.close_at(1)
    run = manager.submit(CONFIG_OF_TWO, "unlucky")
    gate.wait()
    (home / "one").rename(home.parent / "away")
    gate.open()
    status = ended(manager, run, RunState.FAILED)
    assert "checkpoint 'one'" in status.message
    assert status.progress == 1
    second = [row for row in figures if row["checkpoint"] == "two"]
    assert [row for row in rows_of(manager, run) if row["checkpoint"] == "two"] == bare(second)
    done = len(pieces)
    (home.parent / "away").rename(home / "one")
    manager.resume(run)
    ended(manager, run, RunState.FINISHED)
    assert untimed(manager.metrics(run)) == figures
    assert len(pieces) - done <= PIECES / 2


def bare(rows: Rows) -> Rows:
    """Without the position, which a failure before them changes."""
    return [{k: v for k, v in row.items() if k != "epoch"} for row in untimed(rows)]


def rows_of(manager: RunManager, run: str) -> Rows:
    return bare(manager.metrics(run))


def test_all_failures_are_told(manager: RunManager, gate: Gate, home: Path) -> None:
    gate.close_at(1)
    run = manager.submit(CONFIG_OF_TWO, "unlucky")
    gate.wait()
    for name in NAMES:
        shutil.rmtree(home / name)
    gate.open()
    status = ended(manager, run, RunState.FAILED)
    assert all(f"checkpoint {name!r}" in status.message for name in NAMES)
    assert "\n" not in status.message


def test_rows_stay_where_nothing_can_be_measured(
    make_manager: MakeManager, gate: Gate, figures: Rows
) -> None:
    missing = False

    def load(split: Split) -> Any:
        if missing:
            raise DataError("CIFAR-10 is not on this machine.")
        return load_images(split)

    manager = make_manager(load_images=load)
    run = stopped_at(FIRST_HALF, manager, gate)
    missing = True
    manager.resume(run)
    assert "CIFAR-10 is not on this machine" in ended(manager, run, RunState.FAILED).message
    assert untimed(manager.metrics(run)) == figures[: len(figures) // 2]
    missing = False
    manager.resume(run)
    ended(manager, run, RunState.FINISHED)
    assert untimed(manager.metrics(run)) == figures


def test_a_checkpoint_there_is_not(manager: RunManager) -> None:
    run = manager.submit(replace(CONFIG_OF_TWO, checkpoints=("one", "gone")), "early")
    assert "gone" in ended(manager, run, RunState.FAILED).message
    assert manager.metrics(run) == []


def test_closing_saves_what_runs_and_what_waits(
    make_manager: MakeManager, gate: Gate, pieces: list[None], figures: Rows
) -> None:
    manager = make_manager()
    gate.close_at(FIRST_HALF + 4)
    run = manager.submit(CONFIG_OF_TWO, "closed")
    queued = manager.submit(CONFIG_OF_TWO, "waiting")
    gate.wait()
    threading.Timer(0.1, gate.open).start()
    manager.close(LONG)
    next_day = make_manager()
    for each in (run, queued):
        status = ended(next_day, each, RunState.INTERRUPTED)
        assert "The app was closed" in status.message
        next_day.resume(each)
    for each in (run, queued):
        ended(next_day, each, RunState.FINISHED)
        assert untimed(next_day.metrics(each)) == figures
    assert len(pieces) == PIECES  # the second has all from the first's cache


def test_on_a_cpu_an_evaluation_does_not_wait_for_trainings(
    manager: RunManager, gate: Gate
) -> None:
    gate.close_at(2)
    training = manager.submit(replace(CONFIG, epochs=1), "trained")
    waiting = manager.submit(replace(CONFIG, epochs=1), "waiting")
    gate.wait()
    evaluation = manager.submit(CONFIG_OF_TWO, "measured")
    ended(manager, evaluation, RunState.FINISHED)
    states = [manager.get(run).status.state for run in (training, waiting)]
    assert states == [RunState.RUNNING, RunState.QUEUED]
    gate.open()
    ends = [ended(manager, run, RunState.FINISHED) for run in (training, waiting)]
    assert [end.checkpoint for end in ends] == ["trained", "waiting"]


def test_an_evaluation_renamed_and_deleted(manager: RunManager, gate: Gate, home: Path) -> None:
    run = stopped_at(FIRST_HALF, manager, gate)
    manager.rename(run, "after")
    assert manager.get(run).spec.is_evaluation
    manager.delete(run)
    assert manager.views() == []
    assert sorted(path.name for path in home.iterdir()) == sorted(NAMES)


def test_a_device_that_is_not_here_leaves_nothing_behind(manager: RunManager) -> None:
    with pytest.raises(ConfigError, match="cuda:9"):
        manager.submit(replace(CONFIG_OF_TWO, device="cuda:9"), "gpu")
    assert not manager.root.exists()


def test_a_config_of_another_version_can_be_seen_but_not_resumed(
    manager: RunManager, gate: Gate
) -> None:
    run = stopped_at(1, manager, gate)
    path = manager.root / run / "run.json"
    spec = json.loads(path.read_text())
    spec["config"]["mood"] = 1
    path.write_text(json.dumps(spec))
    assert manager.get(run).spec == RunSpec(**spec)
    with pytest.raises(ConfigError, match="mood"):
        manager.resume(run)
    assert manager.get(run).status.state is RunState.PAUSED


def test_in_the_terminal(tmp_path: Path, home: Path, figures: Rows) -> None:
    """Without a manager, as the command line works on it."""
    folder = RunFolder.create(tmp_path / "runs", "here", EVALUATION, CONFIG_OF_TWO.to_dict())
    told: list[Status] = []
    status = execute(folder, Control(), told.append, checkpoints_root=home, load_images=load_images)
    assert status.state is RunState.FINISHED, status.message
    assert untimed(folder.metrics()) == figures
    assert told[-1] == status == folder.status()
    until(lambda: not (folder.path / "state.pt").exists(), "the state is dropped")
