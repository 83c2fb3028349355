"""Whatever fails, the run ends as failed, says why, keeps what it had, and can be resumed."""

from __future__ import annotations

import errno
import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError

from dverge.checkpoints import CheckpointInfo
from dverge.data import ImageSet, Split
from dverge.errors import DataError
from dverge.runs import Control, RunFolder, RunManager, RunState, Status, execute
from dverge.training import Diversity, Schedule
from tests.runs.small import (
    ALL,
    CONFIG,
    DVERGE,
    PER_EPOCH,
    SHORT,
    Gate,
    Outcome,
    ended,
    ended_at,
    held_at,
    load_images,
    same,
    untimed,
    weights_of,
)

MakeManager = Callable[..., RunManager]
ReadCheckpoint = Callable[[str], CheckpointInfo]
FULL = OSError(errno.ENOSPC, "No space left on device")
DISK_IS_FULL = "The disk is full: free some space, then resume."


@pytest.fixture
def resumed(
    manager: RunManager, checkpoint: ReadCheckpoint, reference: Outcome
) -> Callable[[str], None]:
    """Resumes a run whose fault was corrected, and compares it with the uninterrupted one."""

    def check(run: str) -> None:
        manager.resume(run)
        name = str(ended(manager, run).checkpoint)
        assert same(weights_of(checkpoint(name)), reference.weights)
        assert untimed(manager.metrics(run)) == reference.epochs

    return check


def failed(manager: RunManager, run: str) -> Status:
    return ended(manager, run, RunState.FAILED)


def test_a_training_that_diverges(manager: RunManager) -> None:
    config = replace(CONFIG, learning_rate=2.5, weight_decay=1, momentum=0, epochs=50)
    config = replace(config, schedule=Schedule.CONSTANT)
    run = manager.submit(config, "diverging")
    message = failed(manager, run).message
    assert "the loss of submodel" in message and "Lower the learning rate (2.5)" in message
    rows = untimed(manager.metrics(run))
    assert rows
    manager.resume(run)  # the settings are the same, and so is the failure
    assert failed(manager, run).message == message
    assert untimed(manager.metrics(run)) == rows


def test_eq3_without_a_cap(manager: RunManager) -> None:
    config = replace(DVERGE, diversity=Diversity.EQ3, alpha=100, schedule=Schedule.CONSTANT)
    run = manager.submit(replace(config, epochs=100), "unbounded")
    message = failed(manager, run).message
    assert "the loss of Eq. 3 has no lower bound" in message
    assert "Set a cap (now 0), lower alpha (100), or take Eq. 4." in message
    assert RunFolder(manager.root / run).status().state is RunState.FAILED
    assert untimed(manager.metrics(run))  # what was learned before the failure is still shown


MESSAGES: list[tuple[Exception, str]] = [
    (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "Out of memory: "),
    (RuntimeError("DefaultCPUAllocator: can't allocate memory: 8 bytes"), "Out of memory: "),
    (MemoryError(), "Out of memory: "),
    (FULL, DISK_IS_FULL),
    (OSError(errno.EIO, "Input/output error"), "A file could not be written or read"),
    (RuntimeError("CUDA error: unspecified launch failure\nmore"), "The GPU was lost (CUDA error"),
    (RuntimeError("boom\nmore"), "An unforeseen RuntimeError: boom"),
    (ValueError(), "An unforeseen ValueError: no details"),
]


@pytest.mark.parametrize(("error", "message"), MESSAGES)
def test_an_error_inside_an_epoch(
    error: Exception,
    message: str,
    manager: RunManager,
    gate: Gate,
    resumed: Callable[[str], None],
) -> None:
    gate.fail_at(PER_EPOCH + 2, error)
    run = manager.submit(CONFIG, "unlucky")
    status = failed(manager, run)
    assert status.message.startswith(message)
    assert status.progress == pytest.approx(PER_EPOCH / ALL)
    assert len(untimed(manager.metrics(run))) == 1  # the curves stay
    resumed(run)
    assert manager.get(run).status.message == ""


def test_an_unforeseen_error_is_in_the_log(
    manager: RunManager, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    gate.fail_at(2, KeyError("secret"))
    with caplog.at_level(logging.ERROR):
        failed(manager, manager.submit(CONFIG, "logged"))
    assert "Traceback" in caplog.text and "secret" in caplog.text


WRITES = [(method, call) for method in ("append_metrics", "save_state") for call in (1, 2, 3)]


@pytest.mark.parametrize(("method", "call"), [*WRITES, ("drop_metrics_after", 1)])
def test_a_disk_that_is_full_for_one_write(
    method: str,
    call: int,
    manager: RunManager,
    resumed: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write, calls = getattr(RunFolder, method), iter(range(1, 1000))

    def sometimes(folder: RunFolder, *arguments: Any) -> None:
        if next(calls) == call:
            raise FULL
        write(folder, *arguments)

    monkeypatch.setattr(RunFolder, method, sometimes)
    run = manager.submit(CONFIG, "full")
    assert failed(manager, run).message == DISK_IS_FULL
    assert RunFolder(manager.root / run).status().state is RunState.FAILED
    resumed(run)


def test_a_disk_that_stays_full(
    manager: RunManager, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The failure cannot be written either; it is still shown, and the worker continues."""
    full = False

    def no_space(method: str) -> None:
        write = getattr(RunFolder, method)

        def maybe(folder: RunFolder, *arguments: Any) -> None:
            if full:
                raise FULL
            write(folder, *arguments)

        monkeypatch.setattr(RunFolder, method, maybe)

    for method in ("append_metrics", "save_state", "write_status"):
        no_space(method)
    run = held_at(PER_EPOCH + 2, manager, gate)
    full = True
    gate.open()
    assert failed(manager, run).message == DISK_IS_FULL
    assert RunFolder(manager.root / run).status().state is RunState.RUNNING
    with pytest.raises(Exception, match="cannot be resumed: No space left on device"):
        manager.resume(run)
    assert manager.get(run).status.state is RunState.FAILED
    full = False
    after = manager.submit(SHORT, "after")
    manager.resume(run)
    ended(manager, after)
    ended(manager, run)


@pytest.mark.parametrize(
    "error",
    [FULL, SafetensorError("Error while serializing: I/O error: No space left on device (os 28)")],
)
def test_a_disk_that_is_full_for_the_checkpoint(
    error: Exception,
    manager: RunManager,
    tmp_path: Path,
    resumed: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The training is complete and kept; only the checkpoint is written again."""

    def full(*arguments: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr("safetensors.torch.save_file", full)
    run = manager.submit(CONFIG, "full")
    status = failed(manager, run)
    assert (status.message, status.progress) == (DISK_IS_FULL, 1)
    assert list((tmp_path / "checkpoints").iterdir()) == []
    monkeypatch.undo()
    resumed(run)


def test_images_that_are_missing(make_manager: MakeManager) -> None:
    missing = True

    def load(split: Split) -> ImageSet:
        if missing:
            raise DataError("CIFAR-10 is not on this machine. Get it with `python -m dverge data`.")
        return load_images(split)

    manager = make_manager(load_images=load)
    run = manager.submit(SHORT, "early")
    assert "Get it with `python -m dverge data`" in failed(manager, run).message
    missing = False
    manager.resume(run)
    ended(manager, run)


def test_a_damaged_state(manager: RunManager, gate: Gate, resumed: Callable[[str], None]) -> None:
    run = ended_at(PER_EPOCH + 2, manager, gate)
    rows = manager.metrics(run)
    state = manager.root / run / "state.pt"
    state.write_bytes(state.read_bytes()[:1000])
    manager.resume(run)
    status = failed(manager, run)
    assert f"Delete {state} to start the run again from the beginning" in status.message
    assert manager.metrics(run) == rows
    state.unlink()
    resumed(run)


def test_a_state_of_other_settings(manager: RunManager, gate: Gate) -> None:
    run = ended_at(2, manager, gate)
    folder = RunFolder(manager.root / run)
    state = folder.load_state()
    assert state is not None
    state["training"]["engine"]["velocity"] = torch.zeros(3, 62_006)  # of three submodels
    folder.save_state(state)
    manager.resume(run)
    assert "does not fit a training with these settings" in failed(manager, run).message


@pytest.mark.parametrize("when", ["running", "queued"])
def test_a_folder_removed_by_hand(when: str, manager: RunManager, gate: Gate) -> None:
    """The worker continues with the next run."""
    run = held_at(2, manager, gate)
    queued, last = manager.submit(CONFIG, "queued"), manager.submit(SHORT, "last")
    gone = run if when == "running" else queued
    shutil.rmtree(manager.root / gone)
    gate.open()
    ended(manager, last)
    assert gone not in [view.id for view in manager.views()]
    assert not (manager.root / gone).exists()


@pytest.mark.parametrize("first", [1, 3, 5])
def test_a_screen_that_fails(first: int, folder: RunFolder, tmp_path: Path) -> None:
    """An error in on_update ends the run as failed; execute itself never raises."""
    reported: list[Status] = []
    places: dict[str, Any] = {"checkpoints_root": tmp_path / "c", "load_images": load_images}

    def screen(status: Status) -> None:
        reported.append(status)
        if len(reported) >= first:
            raise BrokenPipeError("no one is watching")

    status = execute(folder, Control(), screen, **places)
    assert status.state is RunState.FAILED
    assert folder.status() == status
    again = execute(folder, Control(), reported.append, **places)
    assert again.state is RunState.FINISHED


def test_a_folder_without_a_status(folder: RunFolder, tmp_path: Path) -> None:
    (folder.path / "status.json").unlink()
    status = execute(folder, Control(), lambda status: None, checkpoints_root=tmp_path)
    assert status.state is RunState.FAILED
    assert "status.json cannot be used" in status.message


def test_the_state_is_dropped_only_after_the_run_says_it_has_finished(
    manager: RunManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is trained again if the process is killed between the two."""
    order: list[str] = []
    write, drop = RunFolder.write_status, RunFolder.drop_state

    def writes(folder: RunFolder, status: Status) -> None:
        order.append(status.state)
        write(folder, status)

    def drops(folder: RunFolder) -> None:
        order.append("dropped")
        drop(folder)

    monkeypatch.setattr(RunFolder, "write_status", writes)
    monkeypatch.setattr(RunFolder, "drop_state", drops)
    ended(manager, manager.submit(SHORT, "last"))
    assert order.index("finished") < order.index("dropped")
