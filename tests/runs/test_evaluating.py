"""Evaluations as runs: rows come as they are measured, none is lost or measured twice."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from dverge.data import Split
from dverge.errors import ConfigError, DataError
from dverge.evaluation.protocols import EvaluationConfig
from dverge.runs import (
    EVALUATION,
    Control,
    RunFolder,
    RunManager,
    RunState,
    Status,
    evaluating,
    execute,
)
from dverge.runs.evaluating import EvaluationJob
from tests.runs import small
from tests.runs.measured import (
    CONFIG_OF_TWO,
    FIRST_HALF,
    MEASUREMENTS,
    NAMES,
    PIECES,
    YIELDS,
    Rows,
    untimed,
)
from tests.runs.small import LONG, SHORT, Gate, ended, load_images, until

MakeManager = Callable[..., RunManager]
pytestmark = pytest.mark.usefixtures("home", "pieces")
held_at = partial(small.held_at, config=CONFIG_OF_TWO)
ended_at = partial(small.ended_at, config=CONFIG_OF_TWO)


def test_an_evaluation_leaves_rows_and_no_checkpoint(
    manager: RunManager, home: Path, pieces: list[None], figures: Rows
) -> None:
    run = manager.submit(CONFIG_OF_TWO, "first")
    status = ended(manager, run)
    assert (status.progress, status.epoch) == (1, MEASUREMENTS)
    assert (status.checkpoint, status.images_per_second) == (None, None)
    assert status.device.startswith("CPU")
    assert status.elapsed > 0
    assert untimed(manager.metrics(run)) == figures
    assert manager.read_metrics(run)[1] == []
    assert len(pieces) == PIECES
    spec = manager.get(run).spec
    assert spec.kind == EVALUATION and spec.is_evaluation
    assert EvaluationConfig.from_dict(spec.config) == spec.settings() == CONFIG_OF_TWO
    assert not (manager.root / run / "state.pt").exists()
    assert sorted(path.name for path in home.iterdir()) == sorted(NAMES)


def test_rows_and_progress_are_reported_while_it_runs(
    manager: RunManager, gate: Gate, figures: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dverge.runs.work.STATUS_EVERY", -1.0)
    run = held_at(FIRST_HALF + 1, manager, gate)
    assert untimed(manager.metrics(run)) == figures[: len(figures) // 2]
    status = manager.get(run).status
    assert (status.state, status.epoch) == (RunState.RUNNING, MEASUREMENTS / 2)
    assert status.progress == pytest.approx(0.5)
    assert status.seconds_left is not None and status.seconds_left > 0
    assert status.images_per_second is None
    gate.open()
    ended(manager, run)


ENDS = [(1, "pause"), (2, "stop"), (4, "pause"), (FIRST_HALF, "stop"), (FIRST_HALF, "pause")]


@pytest.mark.parametrize(("number", "end"), [*ENDS, (FIRST_HALF + 4, "stop"), (YIELDS - 2, "stop")])
def test_resumed_it_does_no_piece_and_writes_no_row_twice(
    number: int, end: str, manager: RunManager, gate: Gate, pieces: list[None], figures: Rows
) -> None:
    run = ended_at(number, manager, gate, end=end)
    rows = untimed(manager.metrics(run))
    assert rows == figures[: len(rows)]
    assert len(pieces) < PIECES
    manager.resume(run)
    ended(manager, run)
    assert len(pieces) == PIECES
    assert untimed(manager.metrics(run)) == figures


@pytest.mark.parametrize("number", [YIELDS - 1, YIELDS])
def test_paused_after_the_last_piece(
    number: int, manager: RunManager, gate: Gate, figures: Rows
) -> None:
    """Nothing is left to pause: it finishes."""
    run = held_at(number, manager, gate)
    manager.pause(run)
    gate.open()
    ended(manager, run)
    assert untimed(manager.metrics(run)) == figures


def test_stopped_and_resumed_many_times(
    manager: RunManager, gate: Gate, pieces: list[None], figures: Rows
) -> None:
    """Each session does a piece or two."""
    run = ended_at(2, manager, gate)
    for _ in range(5):
        done = len(pieces)
        gate.close_at(2 + len({row["epoch"] for row in manager.metrics(run)}))
        manager.resume(run)
        gate.wait()
        manager.pause(run)
        gate.open()
        ended(manager, run, RunState.PAUSED)
        assert done < len(pieces) <= done + 2
    manager.resume(run)
    ended(manager, run)
    assert len(pieces) == PIECES
    assert untimed(manager.metrics(run)) == figures


def test_paused_before_it_has_returned_to_where_it_was(
    make_manager: MakeManager, gate: Gate, pieces: list[None], figures: Rows
) -> None:
    """While the images are loaded, or kept results are read again: no piece is lost."""
    manager = make_manager(load_images=gate.loader())
    run = ended_at(FIRST_HALF + 4, manager, gate)
    for number in (0, 1):
        gate.close_at(number)
        manager.resume(run)
        gate.wait()
        manager.pause(run)
        gate.open()
        ended(manager, run, RunState.PAUSED)
    manager.resume(run)
    ended(manager, run)
    assert len(pieces) == PIECES
    assert untimed(manager.metrics(run)) == figures


def test_kept_results_do_not_count_in_the_estimate(
    manager: RunManager, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise half of the work, read in no time, would promise the rest in no time."""
    run = ended_at(FIRST_HALF + 3, manager, gate)
    monkeypatch.setattr("dverge.runs.work.STATUS_EVERY", -1.0)
    written: list[Status] = []
    write, share = RunFolder.write_status, EvaluationJob.worked
    worked: list[float] = []

    def watched(folder: RunFolder, status: Status) -> None:
        written.append(status)
        write(folder, status)

    def shown(job: EvaluationJob) -> float:
        worked.append(share(job))
        return worked[-1]

    monkeypatch.setattr(RunFolder, "write_status", watched)
    monkeypatch.setattr(EvaluationJob, "worked", shown)
    manager.resume(run)
    ended(manager, run)
    first = next(status for status in written if status.seconds_left is not None)
    assert first.progress > 0.5
    assert 0 < max(worked) < 0.5
    assert worked == sorted(worked)


def test_the_state_is_saved_every_few_seconds_of_work(
    manager: RunManager,
    gate: Gate,
    pieces: list[None],
    figures: Rows,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A process that is killed loses no more than that."""
    monkeypatch.setattr(evaluating, "KEEP_EVERY", -1.0)
    gate.fail_at(FIRST_HALF + 5, MemoryError())
    run = manager.submit(CONFIG_OF_TWO, "killed")
    assert ended(manager, run, RunState.FAILED).message.startswith("Out of memory")
    assert untimed(manager.metrics(run)) == [row for row in figures if row["epoch"] <= 5]
    manager.resume(run)
    ended(manager, run)
    assert len(pieces) == PIECES + 1  # the one that was lost
    assert untimed(manager.metrics(run)) == figures


def test_the_state_is_not_saved_after_every_piece(
    manager: RunManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    states: list[dict[str, Any]] = []
    monkeypatch.setattr(evaluating, "KEEP_EVERY", LONG)
    monkeypatch.setattr(RunFolder, "save_state", lambda folder, state: states.append(state))
    ended(manager, manager.submit(CONFIG_OF_TWO, "quick"))
    assert [sorted(state) for state in states] == [["elapsed", "training"]]  # as of a training


# --- failures ---


def test_a_failure_keeps_the_rows_of_the_others(
    manager: RunManager, gate: Gate, home: Path, pieces: list[None], figures: Rows
) -> None:
    """A checkpoint vanishes while it is measured; restored, only it is measured again."""

    def without_position(rows: Rows, name: str) -> Rows:
        rows = [row for row in untimed(rows) if row["checkpoint"] == name]
        return [{k: v for k, v in row.items() if k != "epoch"} for row in rows]

    run = held_at(1, manager, gate)
    (home / "one").rename(home.parent / "away")
    gate.open()
    status = ended(manager, run, RunState.FAILED)
    assert "checkpoint 'one'" in status.message
    assert status.progress == 1
    assert without_position(manager.metrics(run), "two") == without_position(figures, "two")
    done = len(pieces)
    (home.parent / "away").rename(home / "one")
    manager.resume(run)
    ended(manager, run)
    assert untimed(manager.metrics(run)) == figures
    assert len(pieces) - done <= PIECES / 2


def test_all_failures_are_reported(manager: RunManager, gate: Gate, home: Path) -> None:
    run = held_at(1, manager, gate)
    for name in NAMES:
        shutil.rmtree(home / name)
    gate.open()
    message = ended(manager, run, RunState.FAILED).message
    assert all(f"checkpoint {name!r}" in message for name in NAMES)
    assert "\n" not in message


def test_rows_stay_where_nothing_can_be_measured(
    make_manager: MakeManager, gate: Gate, figures: Rows
) -> None:
    missing = False

    def load(split: Split) -> Any:
        if missing:
            raise DataError("CIFAR-10 is not on this machine.")
        return load_images(split)

    manager = make_manager(load_images=load)
    run = ended_at(FIRST_HALF, manager, gate)
    missing = True
    manager.resume(run)
    assert "CIFAR-10 is not on this machine" in ended(manager, run, RunState.FAILED).message
    assert untimed(manager.metrics(run)) == figures[: len(figures) // 2]
    missing = False
    manager.resume(run)
    ended(manager, run)
    assert untimed(manager.metrics(run)) == figures


def test_a_checkpoint_that_does_not_exist(manager: RunManager) -> None:
    run = manager.submit(replace(CONFIG_OF_TWO, checkpoints=("one", "gone")), "early")
    assert "gone" in ended(manager, run, RunState.FAILED).message
    assert manager.metrics(run) == []


# --- beside other runs ---


def test_closing_saves_running_and_queued_evaluations(
    make_manager: MakeManager, gate: Gate, pieces: list[None], figures: Rows
) -> None:
    manager = make_manager()
    run = held_at(FIRST_HALF + 4, manager, gate)
    queued = manager.submit(CONFIG_OF_TWO, "waiting")
    threading.Timer(0.1, gate.open).start()
    manager.close(LONG)
    next_day = make_manager()
    for each in (run, queued):
        assert "The app was closed" in ended(next_day, each, RunState.INTERRUPTED).message
        next_day.resume(each)
    for each in (run, queued):
        ended(next_day, each)
        assert untimed(next_day.metrics(each)) == figures
    assert len(pieces) == PIECES  # the second reads everything that the first kept


def test_on_a_cpu_an_evaluation_does_not_wait_for_trainings(
    manager: RunManager, gate: Gate
) -> None:
    training = small.held_at(2, manager, gate, SHORT, "trained")
    waiting = manager.submit(SHORT, "waiting")
    evaluation = manager.submit(CONFIG_OF_TWO, "measured")
    ended(manager, evaluation)
    states = [manager.get(run).status.state for run in (training, waiting)]
    assert states == [RunState.RUNNING, RunState.QUEUED]
    gate.open()
    ends = [ended(manager, run) for run in (training, waiting)]
    assert [end.checkpoint for end in ends] == ["trained", "waiting"]


def test_an_evaluation_renamed_and_deleted(manager: RunManager, gate: Gate, home: Path) -> None:
    run = ended_at(FIRST_HALF, manager, gate)
    manager.rename(run, "after")
    assert manager.get(run).spec.is_evaluation
    manager.delete(run)
    assert manager.views() == []
    assert sorted(path.name for path in home.iterdir()) == sorted(NAMES)


def test_a_device_that_is_not_here_leaves_nothing_behind(manager: RunManager) -> None:
    with pytest.raises(ConfigError, match="cuda:9"):
        manager.submit(replace(CONFIG_OF_TWO, device="cuda:9"), "gpu")
    assert not manager.root.exists()


def test_in_the_terminal(tmp_path: Path, home: Path, figures: Rows) -> None:
    """The command line works on it without a manager."""
    folder = RunFolder.create(tmp_path / "runs", "here", EVALUATION, CONFIG_OF_TWO.to_dict())
    reported: list[Status] = []
    places: dict[str, Any] = {"checkpoints_root": home, "load_images": load_images}
    status = execute(folder, Control(), reported.append, **places)
    assert status.state is RunState.FINISHED, status.message
    assert untimed(folder.metrics()) == figures
    assert reported[-1] == status == folder.status()
    until(lambda: not (folder.path / "state.pt").exists(), "the state is dropped")
