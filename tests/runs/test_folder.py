"""A run's folder: whole files, and sense made of those that are not."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock

from dverge.errors import ConfigError, RunError
from dverge.runs import RunFolder, RunManager, RunSpec, RunState, Status
from tests.runs.small import CONFIG

ROW = {"kind": "epoch", "epoch": 1, "val_loss": [2.5]}


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "runs", "one", "vanilla", CONFIG.to_dict())


def test_a_new_run(folder: RunFolder) -> None:
    spec = folder.spec()
    assert (spec.name, spec.kind, spec.config) == ("one", "vanilla", CONFIG.to_dict())
    assert abs(spec.created - time.time()) < 60
    assert folder.status().state is RunState.QUEUED
    assert folder.metrics() == []
    assert folder.load_state() is None
    assert [path.name for path in folder.path.parent.iterdir()] == [folder.id]


def test_a_run_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(folder: RunFolder, status: Status) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(RunFolder, "write_status", full)
    manager = RunManager(tmp_path)
    with pytest.raises(RunError, match=r"cannot be put in .*: No space left on device"):
        manager.submit(CONFIG, "one")
    assert list(tmp_path.iterdir()) == []


def test_files_come_back_as_written(folder: RunFolder) -> None:
    status = Status(
        RunState.RUNNING, "a word", 0.5, 1.5, 10.0, 2000.0, 9.5, "CPU", "one", updated=5.0
    )
    folder.write_status(status)
    assert folder.status() == status
    folder.append_metrics(ROW)
    folder.append_metrics({**ROW, "epoch": 2})
    assert folder.metrics() == [ROW, {**ROW, "epoch": 2}]
    state = {"training": {"x": torch.arange(3)}, "elapsed": 4.5}
    folder.save_state(state)
    loaded = folder.load_state()
    assert loaded is not None and loaded["elapsed"] == 4.5
    assert torch.equal(loaded["training"]["x"], torch.arange(3))
    folder.drop_state()
    folder.drop_state()
    assert folder.load_state() is None


@pytest.mark.parametrize(
    "tail",
    ['{"kind": "step", "epo', '{"kind": "step"', "\0\0\0\0", "\udcff", "[1, 2]\n", "{}\n", "7"],
)
def test_a_row_that_was_cut_is_left_out_and_then_dropped(tail: str, folder: RunFolder) -> None:
    folder.append_metrics(ROW)
    path = folder.path / "metrics.jsonl"
    with path.open("ab") as file:
        file.write(tail.encode(errors="surrogateescape"))
    assert folder.metrics() == [ROW]
    folder.drop_metrics_after(5)
    folder.append_metrics({**ROW, "epoch": 2})
    assert [row["epoch"] for row in folder.metrics()] == [1, 2]


def test_rows_newer_than_the_state_are_dropped(folder: RunFolder) -> None:
    for epoch in (0.25, 0.5, 1, 1.25, 1.5):
        folder.append_metrics({**ROW, "epoch": epoch})
    folder.drop_metrics_after(1)
    assert [row["epoch"] for row in folder.metrics()] == [0.25, 0.5, 1]
    folder.drop_metrics_after(0)
    assert folder.metrics() == []


def spoilt_states() -> list[Callable[[bytes], bytes]]:
    return [
        lambda good: b"",
        lambda good: b"not a state",
        lambda good: good[: len(good) // 2],
        lambda good: good[:-1],
        lambda good: b"\x80\x02}." + good,
        lambda good: good[:200] + b"\xff" * 200 + good[400:],
    ]


@pytest.mark.parametrize("spoil", spoilt_states())
def test_a_spoilt_state_is_named(spoil: Callable[[bytes], bytes], folder: RunFolder) -> None:
    folder.save_state({"training": {"x": torch.arange(300)}, "elapsed": 0.0})
    path = folder.path / "state.pt"
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(RunError, match=r"its saved state cannot be read .*Delete .*state\.pt"):
        folder.load_state()


@pytest.mark.parametrize("state", [[1, 2], {"training": {}}, {"elapsed": 1}])
def test_a_foreign_state_is_refused(state: Any, folder: RunFolder) -> None:
    torch.save(state, folder.path / "state.pt")
    with pytest.raises(RunError, match="it is no run's state"):
        folder.load_state()


def test_a_failed_write_leaves_the_old_state(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.save_state({"training": {}, "elapsed": 1.0})

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dverge.runs.folder.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        folder.save_state({"training": {}, "elapsed": 2.0})
    loaded = folder.load_state()
    assert loaded is not None and loaded["elapsed"] == 1.0
    assert [path.name for path in folder.path.glob(".*")] == []


BROKEN: dict[str, tuple[str, str | None]] = {
    "run.json gone": ("run.json", None),
    "run.json empty": ("run.json", ""),
    "run.json no object": ("run.json", "[1]"),
    "run.json a field missing": ("run.json", '{"name": "x", "kind": "vanilla", "created": 1}'),
    "run.json a field too many": (
        "run.json",
        '{"name": "x", "kind": "vanilla", "config": {}, "created": 1, "colour": 2}',
    ),
    "run.json no date": (
        "run.json",
        '{"name": "x", "kind": "vanilla", "config": {}, "created": "today"}',
    ),
    "run.json no config": (
        "run.json",
        '{"name": "x", "kind": "vanilla", "config": [], "created": 1}',
    ),
    "status.json gone": ("status.json", None),
    "status.json cut": ("status.json", '{"state": "runn'),
    "status.json no state": ("status.json", "{}"),
    "status.json unknown state": ("status.json", '{"state": "dancing"}'),
    "status.json a text for a number": ("status.json", '{"state": "paused", "progress": "half"}'),
    "status.json not finite": ("status.json", '{"state": "paused", "elapsed": NaN}'),
    "status.json not UTF-8": ("status.json", "\udcff"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_folders_are_told_of_and_hurt_no_one(case: str, folder: RunFolder) -> None:
    good = RunFolder.create(folder.path.parent, "good", "vanilla", CONFIG.to_dict())
    good.write_status(Status(RunState.PAUSED))
    file, text = BROKEN[case]
    path = folder.path / file
    path.unlink() if text is None else path.write_bytes(text.encode(errors="surrogateescape"))
    manager = RunManager(folder.path.parent)
    assert [view.id for view in manager.views()] == [good.id]
    messages = manager.broken()
    assert len(messages) == 1
    assert f"run {folder.id}: its {file} cannot be read" in messages[0]
    assert "delete" in messages[0]
    for ask in (manager.get, manager.resume, manager.pause, manager.delete):
        with pytest.raises(RunError, match=f"its {file} cannot be read"):
            ask(folder.id)


def test_what_is_no_run_is_not_looked_at(folder: RunFolder) -> None:
    root = folder.path.parent
    (root / ".DS_Store").write_text("x")
    (root / "a file").write_text("x")
    (root / f".{folder.id}-deleted").mkdir()
    manager = RunManager(root)
    assert [view.id for view in manager.views()] == [folder.id]
    assert manager.broken() == []
    assert RunManager(root / "nowhere").views() == []
    assert RunManager(root / "a file").views() == []


def test_a_config_of_another_version_can_be_seen_but_not_resumed(folder: RunFolder) -> None:
    spec = json.loads((folder.path / "run.json").read_text())
    spec["config"]["alpha"] = 1
    (folder.path / "run.json").write_text(json.dumps(spec))
    folder.write_status(Status(RunState.PAUSED))
    manager = RunManager(folder.path.parent)
    assert manager.get(folder.id).spec == RunSpec(**spec)
    with pytest.raises(ConfigError, match="unknown fields: alpha"):
        manager.resume(folder.id)
    assert manager.get(folder.id).status.state is RunState.PAUSED
    folder.hold(wait=0).release()  # the lock was let go


def test_a_lock_is_held_by_one(folder: RunFolder) -> None:
    lock = folder.hold()
    with pytest.raises(RunError, match="in use by another process"):
        folder.hold(wait=0)
    lock.release()
    folder.hold(wait=0).release()


def test_a_lock_held_for_an_instant_is_waited_for(folder: RunFolder) -> None:
    """As by one who only looks whether the run is held."""
    other = FileLock(folder.lock_path, thread_local=False)
    other.acquire()
    threading.Timer(0.1, other.release).start()
    lock = folder.hold(wait=30)
    assert lock.is_locked
    lock.release()


def test_a_run_that_ended_since_it_was_looked_at_is_not_interrupted(folder: RunFolder) -> None:
    seen = Status(RunState.RUNNING, updated=5.0)
    folder.write_status(Status(RunState.FINISHED, checkpoint="one"))
    settled = folder.settle(seen, wait=0)
    assert settled == folder.status()
    assert settled is not None and settled.state is RunState.FINISHED


def test_the_lock_of_a_deleted_run_does_not_bring_it_back(folder: RunFolder) -> None:
    folder.delete()
    with pytest.raises(RunError, match="there is no run"):
        folder.hold()
    assert list(folder.path.parent.iterdir()) == []
