"""A run on disk.

<runs>/<id>/
    run.json       its name, kind, config and date
    status.json    its state and progress
    metrics.jsonl  one row a look at the running loss, one an epoch; appended
    state.pt       all that is needed to go on; removed when the run has finished
    lock           held by the process that works on it
"""

from __future__ import annotations

import enum
import json
import os
import pickle
import secrets
import shutil
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from dverge.errors import RunError
from dverge.files import check_name, replacing, write_json


class RunState(enum.StrEnum):
    """Where a run stands."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSING = "pausing"
    PAUSED = "paused"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FINISHED = "finished"
    FAILED = "failed"
    INTERRUPTED = "interrupted"

    @property
    def active(self) -> bool:
        """Some process has it in its queue or works on it."""
        return self in (RunState.QUEUED, RunState.RUNNING, RunState.PAUSING, RunState.STOPPING)

    @property
    def resumable(self) -> bool:
        """It can be put in the queue again."""
        return not self.active and self is not RunState.FINISHED


@dataclass(frozen=True)
class RunSpec:
    """What a run is: written once, only its name may change."""

    name: str
    kind: str
    config: dict[str, Any]
    created: float


@dataclass(frozen=True)
class Status:
    """How a run stands.

    Attributes:
        state: see RunState.
        message: the reason of a failure, or a word on the state.
        progress: share done, 0 to 1.
        epoch: epochs done.
        seconds_left: estimate, None if there is none.
        images_per_second: of the last look, None before the first.
        elapsed: seconds worked on it, over all sessions.
        device: what it runs on, in words.
        checkpoint: name of the checkpoint it became.
        updated: when this was written (Unix time).
    """

    state: RunState
    message: str = ""
    progress: float = 0.0
    epoch: float = 0.0
    seconds_left: float | None = None
    images_per_second: float | None = None
    elapsed: float = 0.0
    device: str = ""
    checkpoint: str | None = None
    updated: float = field(default_factory=time.time)

    def moved(self, state: RunState, message: str = "") -> Status:
        """This status in another state."""
        return replace(self, state=state, message=message, seconds_left=None, updated=time.time())


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
        folder = cls(root / f"{stamp}-{secrets.token_hex(2)}")
        folder.path.mkdir(parents=True)
        write_json(folder.path / "run.json", asdict(RunSpec(name, kind, config, time.time())))
        folder.write_status(Status(RunState.QUEUED))
        return folder

    @property
    def lock_path(self) -> Path:
        return self.path / "lock"

    def spec(self) -> RunSpec:
        """What the run is.

        Raises:
            RunError: its file is missing or broken.
        """
        return RunSpec(**self._read("run.json"))

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
        raw = self._read("status.json")
        return Status(**{**raw, "state": RunState(raw["state"])})

    def write_status(self, status: Status) -> None:
        write_json(self.path / "status.json", asdict(status))

    def append_metrics(self, row: dict[str, Any]) -> None:
        """Add a row and flush it."""
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def metrics(self) -> list[dict[str, Any]]:
        """All whole rows; the last one may be cut where a process was killed while writing."""
        path = self.path / "metrics.jsonl"
        if not path.is_file():
            return []
        rows = []
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                rows.append(json.loads(line))
            except ValueError:
                break
        return rows

    def drop_metrics_after(self, epoch: float) -> None:
        """Remove rows newer than a position, so that a resumed run writes each row once."""
        rows = [row for row in self.metrics() if row["epoch"] <= epoch]
        with replacing(self.path / "metrics.jsonl") as temporary:
            temporary.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    def save_state(self, state: dict[str, Any]) -> None:
        """Write the state to go on from, atomically."""
        with replacing(self.path / "state.pt") as temporary:
            torch.save(state, temporary)

    def load_state(self) -> dict[str, Any] | None:
        """The state to go on from, or None if there is none yet.

        Raises:
            RunError: the file is broken.
        """
        path = self.path / "state.pt"
        if not path.is_file():
            return None
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
            raise RunError(
                f"run {self.id}: its state.pt cannot be read ({error}); delete the file to start "
                "the run anew."
            ) from None

    def drop_state(self) -> None:
        (self.path / "state.pt").unlink(missing_ok=True)

    def delete(self) -> None:
        shutil.rmtree(self.path)

    def _read(self, file: str) -> dict[str, Any]:
        try:
            raw = json.loads((self.path / file).read_text(encoding="utf-8"))
            if not isinstance(raw, dict):
                raise ValueError("not an object")
            return raw
        except (OSError, ValueError) as error:
            raise RunError(
                f"run {self.id}: its {file} cannot be read ({error}); delete its folder."
            ) from None
