"""Whatever fails, the run ends as failed, says why, keeps what it had, and can go on later."""

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
    LONG,
    PER_EPOCH,
    Gate,
    Result,
    load_images,
    same,
    untimed,
    weights_of,
)

MakeManager = Callable[..., RunManager]
ReadCheckpoint = Callable[[str], CheckpointInfo]
FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def resumed(
    manager: RunManager, checkpoint: ReadCheckpoint, reference: Result
) -> Callable[[str], None]:
    """Resumes a run whose fault was mended, and holds its result against the uninterrupted one."""

    def check(run: str) -> None:
        manager.resume(run)
        status = manager.wait(run, LONG)
        assert status.state is RunState.FINISHED, status.message
        assert same(weights_of(checkpoint(str(status.checkpoint))), reference.weights)
        assert untimed(manager.metrics(run)) == reference.epochs

    return check


def failed(manager: RunManager, run: str) -> Status:
    status = manager.wait(run, LONG)
    assert status.state is RunState.FAILED
    return status


def test_a_training_that_diverges(manager: RunManager) -> None:
    config = replace(CONFIG, learning_rate=2.5, weight_decay=1, momentum=0, epochs=50)
    config = replace(config, schedule=Schedule.CONSTANT)
    run = manager.submit(config, "diverging")
    message = failed(manager, run).message
    assert "the loss of submodel" in message and "Lower the learning rate (2.5)" in message
    rows = untimed(manager.metrics(run))
    assert rows
    manager.resume(run)  # nothing can mend it; it says so again
    assert failed(manager, run).message == message
    assert untimed(manager.metrics(run)) == rows


def test_eq3_without_a_cap(manager: RunManager) -> None:
    config = replace(DVERGE, diversity=Diversity.EQ3, alpha=20, schedule=Schedule.CONSTANT)
    run = manager.submit(replace(config, epochs=100), "unbounded")
    message = failed(manager, run).message
    assert "the loss of Eq. 3 has no lower bound" in message
    assert "Set a cap (now 0), lower alpha (20), or take Eq. 4." in message
    assert RunFolder(manager.root / run).status().state is RunState.FAILED
    assert untimed(manager.metrics(run))  # what was learnt until then can be looked at


WORDS: list[tuple[Exception, str]] = [
    (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "Out of memory: "),
    (RuntimeError("DefaultCPUAllocator: can't allocate memory: 8 bytes"), "Out of memory: "),
    (MemoryError(), "Out of memory: "),
    (FULL, "The disk is full: free some space, then resume."),
    (OSError(errno.EIO, "Input/output error"), "A file could not be written or read"),
    (RuntimeError("CUDA error: unspecified launch failure\nmore"), "The GPU was lost (CUDA error"),
    (RuntimeError("boom\nmore"), "An unforeseen RuntimeError: boom"),
    (ValueError(), "An unforeseen ValueError: no details"),
]


@pytest.mark.parametrize(("error", "words"), WORDS)
def test_an_error_in_the_midst_of_an_epoch(
    error: Exception,
    words: str,
    manager: RunManager,
    gate: Gate,
    resumed: Callable[[str], None],
) -> None:
    gate.fail_at(PER_EPOCH + 2, error)
    run = manager.submit(CONFIG, "unlucky")
    status = failed(manager, run)
    assert status.message.startswith(words)
    assert status.progress == pytest.approx(PER_EPOCH / ALL)
    assert len(untimed(manager.metrics(run))) == 1  # the curves stay
    resumed(run)
    assert manager.get(run).status.message == ""


def test_what_nobody_foresaw_is_in_the_log(
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
    assert failed(manager, run).message == "The disk is full: free some space, then resume."
    assert RunFolder(manager.root / run).status().state is RunState.FAILED
    resumed(run)


def test_a_disk_that_stays_full(
    make_manager: MakeManager, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even the failure can be written; it is shown all the same, and the worker goes on."""
    manager = make_manager()
    full = False

    def no_room(method: str) -> None:
        write = getattr(RunFolder, method)

        def maybe(folder: RunFolder, *arguments: Any) -> None:
            if full:
                raise FULL
            write(folder, *arguments)

        monkeypatch.setattr(RunFolder, method, maybe)

    for method in ("append_metrics", "save_state", "write_status"):
        no_room(method)
    gate.close_at(PER_EPOCH + 2)
    run = manager.submit(CONFIG, "full")
    gate.wait()
    full = True
    gate.open()
    assert "The disk is full" in failed(manager, run).message
    assert RunFolder(manager.root / run).status().state is RunState.RUNNING
    with pytest.raises(Exception, match="cannot be resumed: No space left on device"):
        manager.resume(run)
    assert manager.get(run).status.state is RunState.FAILED
    full = False
    after = manager.submit(replace(CONFIG, epochs=1), "after")
    manager.resume(run)
    assert manager.wait(after, LONG).state is RunState.FINISHED
    assert manager.wait(run, LONG).state is RunState.FINISHED


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
    """All is trained and kept; only the checkpoint is made again."""
    trained: list[int] = []

    def full(*arguments: Any, **options: Any) -> None:
        trained.append(1)
        raise error

    monkeypatch.setattr("safetensors.torch.save_file", full)
    monkeypatch.setattr("safetensors.torch.save", full)
    run = manager.submit(CONFIG, "full")
    status = failed(manager, run)
    assert status.message == "The disk is full: free some space, then resume."
    assert status.progress == 1
    assert list((tmp_path / "checkpoints").iterdir()) == []
    assert trained
    monkeypatch.undo()
    resumed(run)


def test_images_that_are_missing(make_manager: MakeManager, tmp_path: Path) -> None:
    missing = True

    def load(split: Split) -> ImageSet:
        if missing:
            raise DataError("CIFAR-10 is not on this machine. Get it with `python -m dverge data`.")
        return load_images(split)

    manager = make_manager(load_images=load)
    run = manager.submit(CONFIG, "early")
    assert "Get it with `python -m dverge data`" in failed(manager, run).message
    missing = False
    manager.resume(run)
    assert manager.wait(run, LONG).state is RunState.FINISHED


def test_a_saved_state_that_is_broken(
    manager: RunManager, gate: Gate, resumed: Callable[[str], None]
) -> None:
    gate.close_at(PER_EPOCH + 2)
    run = manager.submit(CONFIG, "spoilt")
    gate.wait()
    manager.pause(run)
    gate.open()
    manager.wait(run, LONG)
    rows = manager.metrics(run)
    state = manager.root / run / "state.pt"
    state.write_bytes(state.read_bytes()[:1000])
    manager.resume(run)
    status = failed(manager, run)
    assert f"Delete {state} to start the run anew" in status.message
    assert manager.metrics(run) == rows
    state.unlink()
    resumed(run)


def test_a_state_of_other_settings(manager: RunManager, gate: Gate) -> None:
    gate.close_at(2)
    run = manager.submit(CONFIG, "mixed")
    gate.wait()
    manager.pause(run)
    gate.open()
    manager.wait(run, LONG)
    folder = RunFolder(manager.root / run)
    state = folder.load_state()
    assert state is not None
    state["training"]["engine"]["velocity"] = torch.zeros(3, 62_006)  # of three submodels
    folder.save_state(state)
    manager.resume(run)
    assert "does not fit a training with these settings" in failed(manager, run).message


@pytest.mark.parametrize("when", ["running", "queued"])
def test_a_folder_removed_by_hand(when: str, manager: RunManager, gate: Gate) -> None:
    """The worker lives on."""
    gate.close_at(2)
    run = manager.submit(CONFIG, "running")
    queued = manager.submit(CONFIG, "queued")
    last = manager.submit(replace(CONFIG, epochs=1), "last")
    gate.wait()
    gone = run if when == "running" else queued
    shutil.rmtree(manager.root / gone)
    gate.open()
    assert manager.wait(last, LONG).state is RunState.FINISHED
    assert gone not in [view.id for view in manager.views()]
    assert not (manager.root / gone).exists()


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "runs", "one", "vanilla", CONFIG.to_dict())


@pytest.mark.parametrize("first", [1, 3, 5])
def test_a_screen_that_fails(first: int, folder: RunFolder, tmp_path: Path) -> None:
    """An error in on_update ends the run as failed; execute itself never raises."""
    told: list[Status] = []

    def screen(status: Status) -> None:
        told.append(status)
        if len(told) >= first:
            raise BrokenPipeError("no one is looking")

    status = execute(
        folder, Control(), screen, checkpoints_root=tmp_path / "c", load_images=load_images
    )
    assert status.state is RunState.FAILED
    assert folder.status() == status
    again = execute(
        folder, Control(), told.append, checkpoints_root=tmp_path / "c", load_images=load_images
    )
    assert again.state is RunState.FINISHED


def test_a_folder_without_a_status(folder: RunFolder, tmp_path: Path) -> None:
    (folder.path / "status.json").unlink()
    status = execute(folder, Control(), lambda status: None, checkpoints_root=tmp_path)
    assert status.state is RunState.FAILED
    assert "status.json cannot be read" in status.message


def test_killed_between_the_checkpoint_and_the_last_word(
    manager: RunManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state is only dropped once the run says it has finished: nothing is trained again."""
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
    manager.wait(manager.submit(CONFIG, "last"), LONG)
    assert order.index("finished") < order.index("dropped")
