"""Get CIFAR-10 in a thread; a page polls a snapshot of its progress."""

from __future__ import annotations

import enum
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from dverge.data.download import Progress
from dverge.data.obtaining import obtain
from dverge.errors import DataError


class ObtainState(enum.StrEnum):
    """The state of a download in the background."""

    IDLE = "idle"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True)
class ObtainSnapshot:
    """The progress of a download: fraction is from 0 to 1, error is for a person to read."""

    state: ObtainState = ObtainState.IDLE
    stage: str = ""
    fraction: float = 0.0
    error: str | None = None


class BackgroundObtain:
    """Runs obtain() in a daemon thread. Any thread may call any method at any time."""

    def __init__(self, work: Callable[[Progress], Path] = obtain) -> None:
        self._work = work
        self._lock = threading.Lock()
        self._snapshot = ObtainSnapshot()
        self._thread: threading.Thread | None = None

    @property
    def snapshot(self) -> ObtainSnapshot:
        """The progress now."""
        with self._lock:
            return self._snapshot

    def start(self) -> None:
        """Start, unless the download is running or done; after a failure, start again."""
        with self._lock:
            if self._snapshot.state in (ObtainState.RUNNING, ObtainState.DONE):
                return
            self._snapshot = ObtainSnapshot(ObtainState.RUNNING, "Starting")
            self._thread = threading.Thread(target=self._run, name="obtain-cifar10", daemon=True)
            self._thread.start()

    def wait(self, timeout_s: float) -> ObtainSnapshot:
        """Wait at most timeout_s seconds for the end; the progress then."""
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join(timeout_s)
        return self.snapshot

    def _run(self) -> None:
        error: str | None = "The download ended unexpectedly; see the terminal."
        try:
            self._work(self._report)
            error = None
        except DataError as known:
            error = str(known)
        finally:
            # Also after an unexpected error, which ends the thread: a page must not wait forever.
            self._finish(error)

    def _report(self, stage: str, fraction: float) -> None:
        with self._lock:
            self._snapshot = replace(self._snapshot, stage=stage, fraction=fraction)

    def _finish(self, error: str | None) -> None:
        state = ObtainState.DONE if error is None else ObtainState.FAILED
        with self._lock:
            self._snapshot = replace(self._snapshot, state=state, error=error)
