"""A run on disk.

<runs>/<id>/
    run.json       its name, kind, config and date
    status.json    its state and progress
    metrics.jsonl  rows that are appended: of a training the running loss several times an epoch
                   and the figures of each epoch; of an evaluation the results
    state.pt       everything needed to resume; removed when the run has finished
    lock           held by the process that works on it
"""

from __future__ import annotations

import io
import json
import os
import secrets
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from dverge.checkpoints import EpochRow
from dverge.errors import DvergeError, RunError
from dverge.results import Result
from dverge.runs.records import RunSpec, RunState, Status
from dverge.stored import (
    Broken,
    NonNegative,
    check_name,
    new_folder,
    read_json,
    read_jsonl,
    replacing,
    write_json,
)
from dverge.training import StepMetrics

LOCK_WAIT = 1.0  # seconds; a process that only checks whether a run is held has its lock briefly
GRACE = 2.0  # seconds that a new run may have no process before it counts as abandoned
ABANDONED = "The process that worked on it ended. Resume continues from its last saved epoch."


@dataclass(frozen=True, kw_only=True)
class ResultRow(Result):
    """A result of an evaluation, and the number of its measurement."""

    epoch: NonNegative


ROWS = {"step": StepMetrics, "epoch": EpochRow, "result": ResultRow}
"""The rows of metrics.jsonl by their kind."""


def runs_folder() -> Path:
    """Where runs are kept: .runs in the repository, or $DVERGE_RUNS."""
    chosen = os.environ.get("DVERGE_RUNS")
    return Path(chosen) if chosen else Path(__file__).parents[2] / ".runs"


class RunFolder:
    """Reads and writes one run's folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.id = path.name

    @classmethod
    def create(cls, root: Path, name: str, kind: str, config: dict[str, Any]) -> RunFolder:
        """Make the folder of a new run, queued.

        Raises:
            ConfigError: the name cannot be a checkpoint's, or the settings are not allowed.
        """
        spec = RunSpec(name, kind, config, time.time())
        stamp = time.strftime("%Y%m%d-%H%M%S")
        while (path := root / f"{stamp}-{secrets.token_hex(2)}").exists():
            pass  # of many runs in one second, two may draw the same number
        with new_folder(path) as temporary:
            write_json(temporary / "run.json", asdict(spec))
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
        if not self.path.is_dir():  # the lock must not create the folder of a deleted run again
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
        """What the run is. Raises FileError if its file is missing or damaged."""
        return read_json(self.path / "run.json", RunSpec)

    def rename(self, name: str) -> None:
        """Give the run another name.

        Raises:
            ConfigError: the name cannot be a checkpoint's.
            FileError: the run's file is damaged.
        """
        spec = replace(self.spec(), name=check_name(name))
        write_json(self.path / "run.json", asdict(spec))

    def status(self) -> Status:
        """Its state and progress. Raises FileError if its file is missing or damaged."""
        return read_json(self.path / "status.json", Status)

    def write_status(self, status: Status) -> None:
        write_json(self.path / "status.json", asdict(status))

    def settle(self, status: Status, wait: float) -> Status | None:
        """The run's status: interrupted if it was active and no process holds the run any more.

        The change is written, so that later calls need not try the lock, which keeps others from
        taking it.

        Args:
            status: as it was read, active.
            wait: seconds to wait for the lock.

        Returns:
            None if another process holds the run.
        """
        if status.state is RunState.QUEUED and time.time() - status.updated < GRACE:
            return None
        try:
            lock = self.hold(wait)
        except RunError:
            return None
        try:
            status = self.status()  # again: the run may have ended in the meantime
            if status.state.active:
                status = status.moved(RunState.INTERRUPTED, ABANDONED)
                self.write_status(status)
        except (OSError, DvergeError):
            pass  # the next call tries again
        finally:
            lock.release()
        return status

    def append_metrics(self, row: dict[str, Any]) -> None:
        """Add a row and flush it."""
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def read_metrics(self) -> tuple[list[dict[str, Any]], list[Broken]]:
        """The rows up to the first damaged one, and the file if there is one.

        The last row may be incomplete where a process was killed while it wrote it: it is left out.
        """
        return read_jsonl(self.path / "metrics.jsonl", ROWS, appended=True)

    def metrics(self) -> list[dict[str, Any]]:
        """The rows up to the first damaged one."""
        return self.read_metrics()[0]

    def drop_metrics_after(self, epoch: float) -> None:
        """Remove rows after this epoch, so that a resumed run writes each row once."""
        rows = [row for row in self.metrics() if row["epoch"] <= epoch]
        with replacing(self.path / "metrics.jsonl") as temporary:
            temporary.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    def save_state(self, state: dict[str, Any]) -> None:
        """Write the state to resume from, atomically and through to the disk.

        Args:
            state: "training", the job's own, which is also what an evaluation calls it, and
                "elapsed".
        """
        content = io.BytesIO()
        torch.save(state, content)  # not into the file: torch hides why a write failed
        with replacing(self.path / "state.pt") as temporary, temporary.open("wb") as file:
            file.write(content.getbuffer())
            file.flush()
            os.fsync(file.fileno())

    def load_state(self) -> dict[str, Any] | None:
        """The state to resume from, or None if there is none yet.

        Raises:
            RunError: the file is damaged.
        """
        path = self.path / "state.pt"
        if not path.is_file():
            return None
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            if not isinstance(state, dict) or not {"training", "elapsed"} <= state.keys():
                raise ValueError("it is not the state of a run")
            return state
        except Exception as error:  # noqa: BLE001 - a damaged pickle can raise anything
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise RunError(
                f"run {self.id}: its saved state cannot be read ({reason}). Delete {path} to start "
                "the run again from the beginning."
            ) from None

    def drop_state(self) -> None:
        (self.path / "state.pt").unlink(missing_ok=True)
