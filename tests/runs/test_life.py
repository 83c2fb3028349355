"""The life of a run: submitted, queued, paused, stopped, resumed, renamed, finished, deleted."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from dverge import checkpoints
from dverge.checkpoints import CheckpointInfo
from dverge.data import Split
from dverge.errors import ConfigError, RunError
from dverge.evaluation.predictions import clean_accuracy
from dverge.runs import RunFolder, RunManager, RunState, Status
from tests.runs.small import (
    ALL,
    CONFIG,
    LONG,
    PER_EPOCH,
    SHORT,
    Gate,
    Outcome,
    ended,
    ended_at,
    held_at,
    load_images,
    same,
    until,
    untimed,
    weights_of,
)

ReadCheckpoint = Callable[[str], CheckpointInfo]


def test_a_run_becomes_a_checkpoint(
    manager: RunManager, checkpoint: ReadCheckpoint, reference: Outcome
) -> None:
    run = manager.submit(CONFIG, "first")
    status = ended(manager, run)
    assert (status.progress, status.epoch, status.checkpoint) == (1, 3, "first")
    assert status.elapsed > 0
    assert status.device.startswith("CPU")
    assert manager.get(run).spec.config == CONFIG.to_dict()

    info = checkpoint("first")
    assert same(weights_of(info), reference.weights)
    assert untimed(manager.metrics(run)) == reference.epochs
    assert untimed(checkpoints.read_history(info)) == reference.epochs
    card = info.card
    assert (card.method, card.seed, card.config) == ("vanilla", CONFIG.seed, CONFIG.to_dict())
    assert card.data_digest == load_images(Split.TRAIN).digest
    assert {"python", "torch"} <= card.versions.keys()
    assert card.training_seconds is not None
    held_out = (load_images(split) for split in (Split.TEST, Split.VALIDATION))
    expected = [row for each in held_out for row in clean_accuracy(checkpoints.load(info), each)]
    assert card.results == expected
    files = sorted(path.name for path in (manager.root / run).iterdir())
    assert files == ["lock", "metrics.jsonl", "run.json", "status.json"]


ENDS = [(1, "pause"), (PER_EPOCH - 1, "stop"), (PER_EPOCH, "pause"), (PER_EPOCH, "stop")]


@pytest.mark.parametrize(("batch", "end"), [*ENDS, (PER_EPOCH + 2, "stop"), (ALL - 1, "pause")])
def test_paused_and_resumed_it_ends_as_if_uninterrupted(
    batch: int,
    end: str,
    manager: RunManager,
    gate: Gate,
    checkpoint: ReadCheckpoint,
    reference: Outcome,
) -> None:
    run = held_at(batch, manager, gate)
    getattr(manager, end)(run)
    asked = RunState.PAUSING if end == "pause" else RunState.STOPPING
    assert manager.get(run).status.state is asked
    gate.open()
    status = ended(manager, run, RunState.PAUSED if end == "pause" else RunState.STOPPED)
    assert status.progress == pytest.approx(batch / ALL)
    assert (manager.root / run / "state.pt").exists()

    manager.resume(run)
    ended(manager, run)
    assert same(weights_of(checkpoint("run")), reference.weights)
    assert untimed(manager.metrics(run)) == reference.epochs


def test_stopped_and_resumed_many_times(
    manager: RunManager,
    gate: Gate,
    checkpoint: ReadCheckpoint,
    reference: Outcome,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It can be resumed as soon as it is seen to have ended; and no row is written twice."""
    monkeypatch.setattr("dverge.training.trainer.SECONDS_BETWEEN_READINGS", -1.0)  # a row a batch
    run = manager.submit(CONFIG, "again")
    for batch in (2, 3, 5, 9, 10, 14):
        gate.close_at(batch)
        if manager.get(run).status.state.resumable:
            manager.resume(run)
        gate.wait()
        manager.pause(run)
        manager.stop(run)  # the last request counts
        gate.open()
        ended(manager, run, RunState.STOPPED)
    manager.resume(run)
    ended(manager, run)
    assert same(weights_of(checkpoint("again")), reference.weights)
    assert untimed(manager.metrics(run)) == reference.epochs
    positions = [round(row["epoch"] * PER_EPOCH) for row in manager.metrics(run)]
    assert positions == list(range(1, ALL + 1))


def test_an_end_is_not_shown_before_the_run_is_released(
    manager: RunManager, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a resume or delete in that instant would find it still held."""
    run = held_at(2, manager, gate)
    seen: list[RunState] = []
    write = RunFolder.write_status

    def watched(folder: RunFolder, status: Status) -> None:
        write(folder, status)
        if status.state is RunState.PAUSED:
            seen.append(manager.get(run).status.state)

    monkeypatch.setattr(RunFolder, "write_status", watched)
    manager.pause(run)
    gate.open()
    ended(manager, run, RunState.PAUSED)
    assert seen[0] is RunState.PAUSING


def test_time_worked_is_of_all_sessions(manager: RunManager, gate: Gate) -> None:
    run = ended_at(2, manager, gate)
    before, folder = manager.get(run).status, RunFolder(manager.root / run)
    state = folder.load_state()
    assert state is not None and state["elapsed"] == pytest.approx(before.elapsed, abs=1)
    folder.save_state({**state, "elapsed": 1000.0})
    manager.resume(run)
    assert 1000 < ended(manager, run).elapsed < 1000 + LONG


def test_progress_is_reported_while_it_runs(manager: RunManager, gate: Gate) -> None:
    run = held_at(PER_EPOCH + 1, manager, gate)
    status = manager.get(run).status
    assert status.state is RunState.RUNNING
    assert status.progress == pytest.approx(PER_EPOCH / ALL)
    assert status.epoch == pytest.approx(1)
    assert status.images_per_second is not None and status.images_per_second > 0
    assert status.seconds_left is not None and status.seconds_left > 0
    assert abs(time.time() - status.updated) < LONG
    assert RunFolder(manager.root / run).status() == status
    gate.open()
    ended(manager, run)


def test_a_device_works_on_one_run_at_a_time_in_order(manager: RunManager, gate: Gate) -> None:
    gate.close_at(2)
    runs = [manager.submit(replace(SHORT, seed=i), f"run-{i}") for i in range(3)]
    gate.wait()
    states = [manager.get(run).status.state for run in runs]
    assert states == [RunState.RUNNING, RunState.QUEUED, RunState.QUEUED]
    assert [view.id for view in manager.views()] == runs[::-1]  # newest first
    gate.open()
    ends = [ended(manager, run).updated for run in runs]
    assert ends == sorted(set(ends))


def test_queued_runs_can_be_taken_out(manager: RunManager, gate: Gate) -> None:
    gate.close_at(2)
    first, paused, stopped, last = (manager.submit(SHORT, f"run-{i}") for i in range(4))
    gate.wait()
    with pytest.raises(RunError, match="run 'run-1' is queued; stop it first"):
        manager.delete(paused)
    manager.pause(paused)
    manager.stop(stopped)
    assert manager.get(paused).status.state is RunState.PAUSED
    assert manager.get(stopped).status.state is RunState.STOPPED
    manager.delete(stopped)
    assert {view.id for view in manager.views()} == {first, paused, last}
    gate.open()
    for run in (first, last):
        ended(manager, run)
    assert manager.get(paused).status.state is RunState.PAUSED
    manager.resume(paused)
    ended(manager, paused)


def test_paused_before_the_first_batch(make_manager: Callable[..., RunManager], gate: Gate) -> None:
    """While the images are being loaded: not one batch is trained."""
    manager = make_manager(load_images=gate.loader())
    run = ended_at(0, manager, gate)
    assert manager.get(run).status.progress == 0
    manager.resume(run)
    ended(manager, run)


def test_paused_after_the_last_batch(manager: RunManager, gate: Gate) -> None:
    """Nothing is left to pause: it finishes."""
    run = held_at(ALL, manager, gate)
    manager.pause(run)
    gate.open()
    ended(manager, run)


def test_what_a_running_and_a_finished_run_refuse(manager: RunManager, gate: Gate) -> None:
    run = held_at(2, manager, gate, name="busy")
    with pytest.raises(RunError, match="run 'busy' is running; it cannot be resumed"):
        manager.resume(run)
    for remove in (manager.delete, manager.set_aside):
        with pytest.raises(RunError, match="run 'busy' is running; stop it first"):
            remove(run)
    gate.open()
    manager.wait(run, LONG)
    for ask, message in (
        (manager.pause, "is finished; it cannot be paused here"),
        (manager.stop, "is finished; it cannot be stopped here"),
        (manager.resume, "is finished; it cannot be resumed"),
    ):
        with pytest.raises(RunError, match=f"run 'busy' {message}"):
            ask(run)


@pytest.mark.parametrize("run", ["20260101-000000-0000", "", ".", "..", "../runs", "/", ".lock"])
def test_runs_that_do_not_exist(run: str, manager: RunManager) -> None:
    manager.submit(SHORT, "other")
    asks = (manager.get, manager.metrics, manager.pause, manager.stop, manager.resume)
    for ask in (*asks, manager.delete, manager.set_aside):
        with pytest.raises(RunError, match="there is no run"):
            ask(run)
    with pytest.raises(RunError, match="there is no run"):
        manager.rename(run, "good")
    assert len(manager.views()) == 1


BAD_NAMES = ["", "Capital", "a/b", "../up", ".hidden", "a b", "x" * 65]


def test_a_running_run_can_be_renamed(
    manager: RunManager, gate: Gate, checkpoint: ReadCheckpoint
) -> None:
    run = held_at(2, manager, gate, name="before")
    manager.rename(run, "after")
    assert manager.get(run).spec.name == "after"
    for bad in BAD_NAMES:
        with pytest.raises(ConfigError, match="name is "):
            manager.rename(run, bad)
    gate.open()
    assert ended(manager, run).checkpoint == "after"
    assert checkpoint("after").card.config == CONFIG.to_dict()


def test_a_bad_name_or_device_leaves_nothing_behind(manager: RunManager) -> None:
    for name in BAD_NAMES:
        with pytest.raises(ConfigError, match="name is "):
            manager.submit(CONFIG, name)
    with pytest.raises(ConfigError, match="cuda:9"):
        manager.submit(replace(CONFIG, device="cuda:9"), "gpu")
    assert not manager.root.exists()


@pytest.mark.parametrize("name", ["taken", "x" * 64])
def test_a_taken_checkpoint_name_is_numbered(
    name: str, manager: RunManager, checkpoint: ReadCheckpoint
) -> None:
    runs = [manager.submit(SHORT, name) for _ in range(3)]
    made = [str(ended(manager, run).checkpoint) for run in runs]
    assert made == [name, f"{name[:61]}-2", f"{name[:61]}-3"]
    assert len({checkpoint(each).digest for each in made}) == 1


def test_a_deleted_run_leaves_its_checkpoint(
    manager: RunManager, checkpoint: ReadCheckpoint
) -> None:
    run = manager.submit(SHORT, "kept")
    ended(manager, run)
    manager.delete(run)
    assert manager.views() == []
    assert list(manager.root.iterdir()) == []
    assert checkpoint("kept").name == "kept"


def test_deleted_as_soon_as_it_has_ended(manager: RunManager, gate: Gate) -> None:
    """The worker that just released it is not disturbed, and works on the next."""
    for i in range(5):
        run = held_at(1, manager, gate, SHORT, f"run-{i}")
        manager.stop(run)
        gate.open()
        until(lambda run=run: not manager.get(run).status.state.active, "it has stopped")  # type: ignore[misc]
        manager.delete(run)
    last = manager.submit(SHORT, "last")
    ended(manager, last)
    assert [view.id for view in manager.views()] == [last]


def test_the_default_folder_of_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DVERGE_RUNS", str(tmp_path / "elsewhere"))
    assert RunManager().root == tmp_path / "elsewhere"
    monkeypatch.delenv("DVERGE_RUNS")
    assert RunManager().root == Path(__file__).parents[2] / ".runs"
