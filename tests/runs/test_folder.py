"""A run's folder: whole files are read back, and damaged ones cost only their run."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock

from dverge import stored
from dverge.errors import ConfigError, FileError, RunError
from dverge.results import Result
from dverge.runs import EVALUATION, RunFolder, RunManager, RunSpec, RunState, Status
from dverge.training import EpochMetrics, StepMetrics
from tests.runs.measured import CONFIG_OF_TWO
from tests.runs.small import CONFIG

LOSSES: dict[str, Any] = {"train_loss": [2.5], "val_loss": [2.5], "mixture_val_loss": 2.5}
ROW: dict[str, Any] = {"kind": "epoch", "epoch": 1, **LOSSES, "val_accuracy": [0.1]}
ROW["mixture_val_accuracy"] = 0.1


def test_a_new_run(folder: RunFolder) -> None:
    spec = folder.spec()
    assert (spec.name, spec.kind, spec.config) == ("one", "vanilla", CONFIG.to_dict())
    assert not spec.is_evaluation and spec.settings() == CONFIG
    assert abs(spec.created - time.time()) < 60
    assert folder.status().state is RunState.QUEUED
    assert folder.read_metrics() == ([], [])
    assert folder.load_state() is None
    assert [path.name for path in folder.path.parent.iterdir()] == [folder.id]


def test_two_runs_of_one_second_have_different_ids(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    *stamp, number = folder.id.split("-")
    drawn = iter([number, number, "0000"])
    monkeypatch.setattr("dverge.runs.folder.secrets.token_hex", lambda size: next(drawn))
    monkeypatch.setattr("dverge.runs.folder.time.strftime", lambda form: "-".join(stamp))
    other = RunFolder.create(folder.path.parent, "two", "vanilla", CONFIG.to_dict())
    assert other.id == "-".join([*stamp, "0000"])


def test_a_run_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(folder: RunFolder, status: Status) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(RunFolder, "write_status", full)
    manager = RunManager(tmp_path)
    with pytest.raises(RunError, match=r"cannot be put in .*: No space left on device"):
        manager.submit(CONFIG, "one")
    assert list(tmp_path.iterdir()) == []


def test_files_are_read_back_as_written(folder: RunFolder) -> None:
    status = Status(
        RunState.RUNNING, "a remark", 0.5, 1.5, 10.0, 2000.0, 9.5, "CPU", "one", updated=5.0
    )
    folder.write_status(status)
    assert folder.status() == status
    figures = EpochMetrics(2, [1.0], {"clean": [1.0]}, 3, [1.0], [0.5], 1.0, 0.5, 0.1, 9.0, 1.0)
    result = Result("mixture", "clean", "test", 8, 50, 20, 80, held="AA==", seed=4)
    rows = [
        {"kind": "step", **asdict(StepMetrics(0.5, [1e30, -2.0]))},
        ROW,
        {"kind": "epoch", **asdict(figures)},
        {"kind": "result", "epoch": 3.0, **result.to_dict()},
    ]
    for row in rows:
        folder.append_metrics(row)
    assert folder.metrics() == rows and folder.read_metrics()[1] == []
    state = {"training": {"x": torch.arange(3)}, "elapsed": 4.5}
    folder.save_state(state)
    loaded = folder.load_state()
    assert loaded is not None and loaded["elapsed"] == 4.5
    assert torch.equal(loaded["training"]["x"], torch.arange(3))
    folder.drop_state()
    folder.drop_state()
    assert folder.load_state() is None


CUT = [b'{"kind": "step", "epo', b'{"kind": "step"', b"\0\0\0\0", b"\xff", b"7"]
DAMAGED = [b"[1, 2]\n", b"{}\n", b'{"kind": "epoch", "epoch": 2}\n', b'{"kind": "x", "epoch": 2}\n']


@pytest.mark.parametrize("tail", [*CUT, *DAMAGED])
def test_a_bad_last_row_is_left_out_and_then_dropped(tail: bytes, folder: RunFolder) -> None:
    """A row that was cut as it was written is expected; any other damage is reported."""
    folder.append_metrics(ROW)
    path = folder.path / "metrics.jsonl"
    with path.open("ab") as file:
        file.write(tail)
    rows, broken = folder.read_metrics()
    assert rows == [ROW]
    assert [each.path for each in broken] == ([] if tail in CUT else [path])
    folder.drop_metrics_after(5)
    folder.append_metrics({**ROW, "epoch": 2})
    assert [row["epoch"] for row in folder.metrics()] == [1, 2]


def test_rows_newer_than_the_state_are_dropped(folder: RunFolder) -> None:
    for epoch in (0.25, 0.5, 1, 1.25, 1.5):
        folder.append_metrics({"kind": "step", "epoch": epoch, "loss": [1.0]})
    folder.drop_metrics_after(1)
    assert [row["epoch"] for row in folder.metrics()] == [0.25, 0.5, 1]
    folder.drop_metrics_after(0)
    assert folder.metrics() == []


SPOIL: list[Callable[[bytes], bytes]] = [
    lambda good: b"",
    lambda good: b"not a state",
    lambda good: good[: len(good) // 2],
    lambda good: good[:-1],
    lambda good: b"\x80\x02}." + good,
    lambda good: good[:200] + b"\xff" * 200 + good[400:],
]


@pytest.mark.parametrize("spoil", SPOIL)
def test_a_damaged_state_is_named(spoil: Callable[[bytes], bytes], folder: RunFolder) -> None:
    folder.save_state({"training": {"x": torch.arange(300)}, "elapsed": 0.0})
    path = folder.path / "state.pt"
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(RunError, match=r"its saved state cannot be read .*Delete .*state\.pt"):
        folder.load_state()


@pytest.mark.parametrize("state", [[1, 2], {"training": {}}, {"elapsed": 1}])
def test_a_foreign_state_is_refused(state: Any, folder: RunFolder) -> None:
    torch.save(state, folder.path / "state.pt")
    with pytest.raises(RunError, match="it is not the state of a run"):
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


def spec_with(**changes: Any) -> str:
    """A run.json; a change to None leaves the field out."""
    spec = {"name": "x", "kind": "vanilla", "config": CONFIG.to_dict(), "created": 1} | changes
    return json.dumps({k: v for k, v in spec.items() if v is not None})


def config_without(*fields: str, **changes: Any) -> dict[str, Any]:
    return {k: v for k, v in (CONFIG.to_dict() | changes).items() if k not in fields}


BROKEN: dict[str, tuple[str, str | None, str]] = {
    "gone": ("run.json", None, "No such file"),
    "no config": ("run.json", spec_with(config=None), "missing required field `config`"),
    "a field too many": ("run.json", spec_with(colour=2), "does not know its fields colour"),
    "no date": ("run.json", spec_with(created="today"), "created: Expected `float`"),
    "far future": ("run.json", spec_with(created=1e12), "created: Expected `float` <="),
    "a bad name": ("run.json", spec_with(name="../up"), "name is '../up'; it must start"),
    "an unknown kind": ("run.json", spec_with(kind="mart"), "kind is 'mart'; it must be one of"),
    "an empty config": ("run.json", spec_with(config={}), "config is missing members, epochs"),
    "no seed": ("run.json", spec_with(config=config_without("seed")), "config is missing seed"),
    "a text": ("run.json", spec_with(config=config_without(epochs="3")), "epochs is '3'"),
    "out of range": ("run.json", spec_with(config=config_without(members=99)), "members is 99"),
    "nested": ("run.json", spec_with(config=config_without(seed=[[1]])), "config"),
    "status gone": ("status.json", None, "No such file"),
    "unknown state": ("status.json", '{"state": "dancing"}', "state: Invalid enum value 'dancing'"),
    "half": ("status.json", '{"state": "paused", "progress": "half"}', "progress: Expected"),
}


@pytest.mark.parametrize(("file", "text", "reason"), BROKEN.values(), ids=BROKEN)
def test_a_damaged_run_is_listed_and_costs_only_itself(
    file: str, text: str | None, reason: str, folder: RunFolder
) -> None:
    root = folder.path.parent
    good = RunFolder.create(root, "good", "vanilla", CONFIG.to_dict())
    good.write_status(Status(RunState.PAUSED))
    path = folder.path / file
    path.unlink() if text is None else path.write_text(text)
    manager = RunManager(root)
    assert [view.id for view in manager.views()] == [good.id]
    (broken,) = manager.broken()
    assert broken.path == folder.path
    assert f"{path} cannot be used (" in broken.reason and reason in broken.reason
    for ask in (manager.get, manager.resume, manager.pause):
        with pytest.raises(RunError, match="cannot be used"):
            ask(folder.id)


def test_a_damaged_run_can_be_set_aside_or_deleted(folder: RunFolder) -> None:
    """Unless a process works on it: its lock shows that, whatever its files say."""
    root = folder.path.parent
    other = RunFolder.create(root, "other", "vanilla", CONFIG.to_dict())
    for each in (folder, other):
        (each.path / "run.json").write_text("{}")
    manager, lock = RunManager(root), folder.hold()
    for remove in (manager.set_aside, manager.delete):
        with pytest.raises(RunError, match="in use by another process"):
            remove(folder.id)
    lock.release()
    manager.set_aside(folder.id)
    manager.delete(other.id)
    assert [path.name for path in root.iterdir()] == [f".{folder.id}.set-aside-1"]
    assert manager.views() == manager.broken() == []


def test_what_is_no_run_is_ignored(folder: RunFolder) -> None:
    root = folder.path.parent
    (root / ".DS_Store").write_text("x")
    (root / "a file").write_text("x")
    (root / f".{folder.id}.set-aside-1").mkdir()
    manager = RunManager(root)
    assert [view.id for view in manager.views()] == [folder.id]
    assert manager.broken() == []
    assert RunManager(root / "nowhere").views() == []
    assert RunManager(root / "a file").views() == []


@pytest.mark.parametrize(
    ("kind", "config"), [("vanilla", CONFIG), (EVALUATION, CONFIG_OF_TWO)], ids=["train", "measure"]
)
def test_a_config_of_a_newer_version_is_shown_but_not_resumed(
    kind: str, config: Any, tmp_path: Path
) -> None:
    folder = RunFolder.create(tmp_path, "one", kind, config.to_dict())
    spec = json.loads((folder.path / "run.json").read_text())
    spec["config"]["mood"] = 1
    (folder.path / "run.json").write_text(json.dumps(spec))
    folder.write_status(Status(RunState.PAUSED))
    manager = RunManager(tmp_path)
    assert manager.get(folder.id).spec == RunSpec(**spec)
    with pytest.raises(ConfigError, match=r"unknown field.*mood"):
        manager.resume(folder.id)
    assert manager.get(folder.id).status.state is RunState.PAUSED
    folder.hold(wait=0).release()  # the lock was released


def test_a_run_of_an_older_version_is_resumed_with_what_it_meant(tmp_path: Path) -> None:
    """Fields added later have declared values; no evaluation's field was."""
    folder = RunFolder(tmp_path / "20260101-000000-abcd")
    folder.path.mkdir()
    later = ("average_last", "snapshot_every")
    text = spec_with(config=config_without(*later), name="vanilla-3xconv-s0")
    (folder.path / "run.json").write_text(text)
    folder.write_status(Status(RunState.PAUSED))
    (view,) = RunManager(tmp_path).views()
    assert view.spec.settings() == CONFIG
    assert view.spec.config == config_without(*later)
    config = CONFIG_OF_TWO.to_dict()
    for field in config:
        values = {k: v for k, v in config.items() if k != field}
        (folder.path / "run.json").write_text(spec_with(kind=EVALUATION, config=values))
        with pytest.raises(FileError, match=f"config is missing {field}"):
            folder.spec()


def test_a_lock_is_held_by_one(folder: RunFolder) -> None:
    lock = folder.hold()
    with pytest.raises(RunError, match="in use by another process"):
        folder.hold(wait=0)
    lock.release()
    folder.hold(wait=0).release()


def test_a_lock_that_is_held_briefly_is_waited_for(folder: RunFolder) -> None:
    """A process that only checks whether the run is held has it for an instant."""
    other = FileLock(folder.lock_path, thread_local=False)
    other.acquire()
    threading.Timer(0.1, other.release).start()
    lock = folder.hold(wait=30)
    assert lock.is_locked
    lock.release()


def test_a_run_that_has_ended_meanwhile_is_not_interrupted(folder: RunFolder) -> None:
    seen = Status(RunState.RUNNING, updated=5.0)
    folder.write_status(Status(RunState.FINISHED, checkpoint="one"))
    settled = folder.settle(seen, wait=0)
    assert settled == folder.status()
    assert settled is not None and settled.state is RunState.FINISHED


def test_the_lock_of_a_deleted_run_does_not_bring_it_back(folder: RunFolder) -> None:
    stored.delete(folder.path)
    with pytest.raises(RunError, match="there is no run"):
        folder.hold()
    assert list(folder.path.parent.iterdir()) == []
