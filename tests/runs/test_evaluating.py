"""Evaluations as runs: their rows come as they are made, none is lost or measured twice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dverge.data import Split
from dverge.evaluation.protocols import EvaluationConfig
from dverge.runs import (
    EVALUATION,
    RunFolder,
    RunManager,
    RunSpec,
    RunState,
    Status,
    evaluating,
)
from dverge.runs.evaluating import EvaluationJob
from tests.runs.measured import (
    CONFIG_OF_TWO,
    FIRST_HALF,
    MEASUREMENTS,
    NAMES,
    PIECES,
    YIELDS,
    Rows,
    ended,
    stopped_at,
    untimed,
)
from tests.runs.small import CONFIG, LONG, Gate, load_images

MakeManager = Callable[..., RunManager]
pytestmark = pytest.mark.usefixtures("home", "pieces")


def test_an_evaluation_leaves_rows_and_no_checkpoint(
    manager: RunManager, home: Path, pieces: list[None], figures: Rows
) -> None:
    run = manager.submit(CONFIG_OF_TWO, "first")
    status = ended(manager, run, RunState.FINISHED)
    assert (status.progress, status.epoch) == (1, MEASUREMENTS)
    assert (status.checkpoint, status.images_per_second) == (None, None)
    assert status.device.startswith("CPU")
    assert status.elapsed > 0
    assert untimed(manager.metrics(run)) == figures
    assert len(pieces) == PIECES
    spec = manager.get(run).spec
    assert spec.kind == EVALUATION and spec.is_evaluation
    assert EvaluationConfig.from_dict(spec.config) == CONFIG_OF_TWO
    assert not (manager.root / run / "state.pt").exists()
    assert sorted(path.name for path in home.iterdir()) == sorted(NAMES)


def test_a_training_is_no_evaluation() -> None:
    assert not RunSpec("one", "vanilla", CONFIG.to_dict(), 0).is_evaluation


def test_rows_come_as_they_are_made(manager: RunManager, gate: Gate, figures: Rows) -> None:
    gate.close_at(FIRST_HALF + 1)
    run = manager.submit(CONFIG_OF_TWO, "told")
    gate.wait()
    assert untimed(manager.metrics(run)) == figures[: len(figures) // 2]
    gate.open()
    ended(manager, run, RunState.FINISHED)


def test_progress_is_told_while_it_runs(
    manager: RunManager, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dverge.runs.work.STATUS_EVERY", -1.0)
    gate.close_at(FIRST_HALF + 1)
    run = manager.submit(CONFIG_OF_TWO, "told")
    gate.wait()
    status = manager.get(run).status
    assert (status.state, status.epoch) == (RunState.RUNNING, MEASUREMENTS / 2)
    assert status.progress == pytest.approx(0.5)
    assert status.seconds_left is not None and status.seconds_left > 0
    assert status.images_per_second is None
    gate.open()
    ended(manager, run, RunState.FINISHED)


@pytest.mark.parametrize("end", ["pause", "stop"])
@pytest.mark.parametrize("number", [1, 2, 4, FIRST_HALF, FIRST_HALF + 4, YIELDS - 2])
def test_resumed_it_does_no_piece_and_writes_no_row_twice(
    number: int, end: str, manager: RunManager, gate: Gate, pieces: list[None], figures: Rows
) -> None:
    run = stopped_at(number, manager, gate, end)
    rows = untimed(manager.metrics(run))
    assert rows == figures[: len(rows)]
    assert len(pieces) < PIECES
    manager.resume(run)
    ended(manager, run, RunState.FINISHED)
    assert len(pieces) == PIECES
    assert untimed(manager.metrics(run)) == figures


@pytest.mark.parametrize("number", [YIELDS - 1, YIELDS])
def test_asked_after_the_last_piece(
    number: int, manager: RunManager, gate: Gate, figures: Rows
) -> None:
    """Nothing is left to pause: it finishes."""
    gate.close_at(number)
    run = manager.submit(CONFIG_OF_TWO, "late")
    gate.wait()
    manager.pause(run)
    gate.open()
    ended(manager, run, RunState.FINISHED)
    assert untimed(manager.metrics(run)) == figures


def test_stopped_and_resumed_many_times(
    manager: RunManager, gate: Gate, pieces: list[None], figures: Rows
) -> None:
    """Each time a piece or two further."""
    run = stopped_at(2, manager, gate)
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
    ended(manager, run, RunState.FINISHED)
    assert len(pieces) == PIECES
    assert untimed(manager.metrics(run)) == figures


def test_paused_before_it_has_come_to_where_it_was(
    make_manager: MakeManager, gate: Gate, pieces: list[None], figures: Rows
) -> None:
    """While the images are loaded, or what is in the cache comes again: no piece is lost."""

    def slow(split: Split) -> Any:
        gate.arrive(0)
        return load_images(split)

    manager = make_manager(load_images=slow)
    run = stopped_at(FIRST_HALF + 4, manager, gate)
    for number in (0, 1):
        gate.close_at(number)
        manager.resume(run)
        gate.wait()
        manager.pause(run)
        gate.open()
        ended(manager, run, RunState.PAUSED)
    manager.resume(run)
    ended(manager, run, RunState.FINISHED)
    assert len(pieces) == PIECES
    assert untimed(manager.metrics(run)) == figures


def test_what_is_in_the_cache_says_nothing_of_the_time_left(
    manager: RunManager, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else half of the work, had for nothing, would promise the rest in no time."""
    run = stopped_at(FIRST_HALF + 3, manager, gate)
    monkeypatch.setattr("dverge.runs.work.STATUS_EVERY", -1.0)
    told: list[Status] = []
    write = RunFolder.write_status

    def watched(folder: RunFolder, status: Status) -> None:
        told.append(status)
        write(folder, status)

    monkeypatch.setattr(RunFolder, "write_status", watched)
    worked: list[float] = []
    share = EvaluationJob.worked

    def shown(job: EvaluationJob) -> float:
        worked.append(share(job))
        return worked[-1]

    monkeypatch.setattr(EvaluationJob, "worked", shown)
    manager.resume(run)
    ended(manager, run, RunState.FINISHED)
    first = next(status for status in told if status.seconds_left is not None)
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
    """So that one who is killed loses no more than that."""
    monkeypatch.setattr(evaluating, "KEEP_EVERY", -1.0)
    gate.fail_at(FIRST_HALF + 5, MemoryError())
    run = manager.submit(CONFIG_OF_TWO, "killed")
    assert ended(manager, run, RunState.FAILED).message.startswith("Out of memory")
    assert untimed(manager.metrics(run)) == [row for row in figures if row["epoch"] <= 5]
    manager.resume(run)
    ended(manager, run, RunState.FINISHED)
    assert len(pieces) == PIECES + 1  # the one that was lost
    assert untimed(manager.metrics(run)) == figures


def test_the_state_is_not_saved_all_the_time(
    manager: RunManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[dict[str, Any]] = []
    monkeypatch.setattr(evaluating, "KEEP_EVERY", LONG)
    monkeypatch.setattr(RunFolder, "save_state", lambda folder, state: saved.append(state))
    ended(manager, manager.submit(CONFIG_OF_TWO, "quick"), RunState.FINISHED)
    assert [sorted(state) for state in saved] == [["elapsed", "training"]]  # as of a training
