"""A run on disk.

<runs>/<id>/
    run.json       its name, kind, config and date
    status.json    its state and progress
    metrics.jsonl  of a training one row a look at the running loss, one an epoch; of an
                   evaluation one row an accuracy; appended
    state.pt       all that is needed to go on; removed when the run has finished
    lock           held by the process that works on it
"""

from __future__ import annotations

import io
import json
import os
import secrets
import shutil
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from filelock import FileLock, Timeout

from dverge.errors import RunError
from dverge.runs.records import RunSpec, RunState, Status
from dverge.stored import check_name, new_folder, replacing, write_json

LOCK_WAIT = 1.0  # seconds; whoever only looks whether a run is held has its lock for an instant
TAKING = 2.0  # seconds that a new run may be in no process's hands before it counts as left
LEFT = "The process that worked on it ended. Resume goes on from its last saved epoch."


Content = TypeVar("Content", RunSpec, Status)


def runs_folder() -> Path:
    """Where runs are kept: .runs in the repository, or $DVERGE_RUNS."""
    given = os.environ.get("DVERGE_RUNS")
    return Path(given) if given else Path(__file__).parents[2] / ".runs"


class RunFolder:
    """Reads and writes one run's folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.id = path.name

    @classmethod
    def create(cls, root: Path, name: str, kind: str, config: dict[str, Any]) -> RunFolder:
        """A new run, queued.

        Raises:
            ConfigError: the name cannot be a checkpoint's.
        """
        check_name(name)
        stamp = time.strftime("%Y%m%d-%H%M%S")
        path = root / f"{stamp}-{secrets.token_hex(2)}"
        with new_folder(path) as temporary:
            write_json(temporary / "run.json", asdict(RunSpec(name, kind, config, time.time())))
            cls(temporary).write_status(Status(RunState.QUEUED))
        return cls(path)

    @property
    def lock_path(self) -> Path:
        return self.path / "lock"

    def hold(self, wait: float = LOCK_WAIT) -> FileLock:
        """Take the run's lock; the system frees it when this process ends, however it ends.

        Raises:
            RunError: another process has it, or there is no such run.
        """
        if not self.path.is_dir():  # else the lock would make the folder of a deleted run anew
            raise RunError(f"there is no run {self.id!r}; it may have been deleted.")
        lock = FileLock(self.lock_path, thread_local=False)
        try:
            lock.acquire(timeout=wait, poll_interval=0.02)
        except Timeout:
            raise RunError(f"run {self.id} is in use by another process.") from None
        except OSError as error:
            raise RunError(f"run {self.id} cannot be locked ({error}).") from None
        return lock

    def spec(self) -> RunSpec:
        """What the run is.

        Raises:
            RunError: its file is missing or broken.
        """
        return self._read("run.json", RunSpec)

    def rename(self, name: str) -> None:
        """Give the run another name.

        Raises:
            ConfigError: the name cannot be a checkpoint's.
        """
        write_json(self.path / "run.json", asdict(replace(self.spec(), name=check_name(name))))

    def status(self) -> Status:
        """How the run stands.

        Raises:
            RunError: its file is missing or broken.
        """
        return self._read("status.json", Status)

    def write_status(self, status: Status) -> None:
        write_json(self.path / "status.json", asdict(status))

    def settle(self, status: Status, wait: float) -> Status | None:
        """A status that was read as active, interrupted if no process holds the run; None if one.

        It is written down, so that the lock is not tried, and so in others' way, at every look.
        """
        if status.state is RunState.QUEUED and time.time() - status.updated < TAKING:
            return None
        try:
            lock = self.hold(wait)
        except RunError:
            return None
        try:
            status = self.status()  # anew: the run may have ended in the meantime
            if status.state.active:
                status = status.moved(RunState.INTERRUPTED, LEFT)
                self.write_status(status)
        except (OSError, RunError):
            pass  # what cannot be written or read now is tried again at the next look
        finally:
            lock.release()
        return status

    def append_metrics(self, row: dict[str, Any]) -> None:
        """Add a row and flush it."""
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def metrics(self) -> list[dict[str, Any]]:
        """All whole rows; the last one may be cut where a process was killed while writing.

        Raises:
            RunError: the file cannot be read.
        """
        path = self.path / "metrics.jsonl"
        try:
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise RunError(f"run {self.id}: its {path.name} cannot be read ({error}).") from None
        rows = []
        for line in lines:
            if (row := _row(line)) is None:
                break
            rows.append(row)
        return rows

    def drop_metrics_after(self, epoch: float) -> None:
        """Remove rows newer than a position, so that a resumed run writes each row once."""
        rows = [row for row in self.metrics() if row["epoch"] <= epoch]
        with replacing(self.path / "metrics.jsonl") as temporary:
            temporary.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    def save_state(self, state: dict[str, Any]) -> None:
        """Write the state to go on from, atomically and onto the disk.

        Args:
            state: "training", the job's own, called so for an evaluation, too, and "elapsed".
        """
        content = io.BytesIO()
        torch.save(state, content)  # not into the file: torch hides why a write failed
        with replacing(self.path / "state.pt") as temporary, temporary.open("wb") as file:
            file.write(content.getbuffer())
            file.flush()
            os.fsync(file.fileno())

    def load_state(self) -> dict[str, Any] | None:
        """The state to go on from, or None if there is none yet.

        Raises:
            RunError: the file is broken.
        """
        path = self.path / "state.pt"
        if not path.is_file():
            return None
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            if not isinstance(state, dict) or not {"training", "elapsed"} <= state.keys():
                raise ValueError("it is no run's state")
            return state
        except Exception as error:  # noqa: BLE001 - a damaged pickle can raise anything
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise RunError(
                f"run {self.id}: its saved state cannot be read ({reason}). Delete {path} to start "
                "the run anew."
            ) from None

    def drop_state(self) -> None:
        (self.path / "state.pt").unlink(missing_ok=True)

    def delete(self) -> None:
        """Remove the folder: at once for those who list the runs, then from the disk."""
        doomed = self.path.with_name(f".{self.id}-deleted")
        self.path.rename(doomed)
        shutil.rmtree(doomed)

    def _read(self, file: str, kind: type[Content]) -> Content:
        path = self.path / file
        try:
            return kind(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise RunError(
                f"run {self.id}: its {file} cannot be read ({error}); delete {self.path}."
            ) from None


def _row(line: str) -> dict[str, Any] | None:
    """A row of metrics, or None where the line is not a whole one."""
    try:
        row = json.loads(line)
    except ValueError:
        return None
    whole = isinstance(row, dict) and "kind" in row and isinstance(row.get("epoch"), int | float)
    return row if whole else None
