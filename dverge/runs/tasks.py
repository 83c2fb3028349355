"""Short work in a thread of its own: progress to poll, a result in the end, and a way to cancel.

For what takes seconds and leaves nothing on disk. What takes longer is a run.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from dverge.errors import DvergeError

log = logging.getLogger(__name__)
Result = TypeVar("Result")
Work = Callable[[Callable[[float], None]], Result]
"""Takes a function to tell the share done, above 0 to 1, now and then."""


@dataclass(frozen=True)
class TaskSnapshot(Generic[Result]):
    """One moment of a task.

    Attributes:
        running: it still works.
        fraction: the share done, 0 to 1.
        result: what it found, None until the end.
        error: why it failed, for a person to read.
        cancelled: it was told to stop.
    """

    running: bool = True
    fraction: float = 0.0
    result: Result | None = None
    error: str | None = None
    cancelled: bool = False


class _Cancelled(BaseException):
    """Ends the work at its next word on progress; no error, so nothing else may catch it."""


class Task(Generic[Result]):
    """Starts at once in a daemon thread. Any thread may call any method at any time."""

    def __init__(self, work: Work[Result]) -> None:
        self._lock = threading.Lock()
        self._snapshot: TaskSnapshot[Result] = TaskSnapshot()
        self._thread = threading.Thread(target=self._run, args=(work,), name="task", daemon=True)
        self._thread.start()

    @property
    def snapshot(self) -> TaskSnapshot[Result]:
        """How it stands now."""
        with self._lock:
            return self._snapshot

    def cancel(self) -> None:
        """Tell it to stop; it does at its next word on progress."""
        self._update(cancelled=True)

    def wait(self, seconds: float) -> TaskSnapshot[Result]:
        """Wait at most this long for the end, and return how it stands then."""
        self._thread.join(seconds)
        return self.snapshot

    def _run(self, work: Work[Result]) -> None:
        result, error = None, None
        try:
            result = work(self._report)
        except _Cancelled:
            pass
        except DvergeError as known:
            error = str(known)
        except Exception as unforeseen:
            log.exception("a task failed")
            error = f"Something unforeseen went wrong ({type(unforeseen).__name__})."
        self._update(running=False, result=result, error=error)

    def _report(self, fraction: float) -> None:
        if self.snapshot.cancelled:
            raise _Cancelled
        self._update(fraction=fraction)

    def _update(self, **changes: object) -> None:
        with self._lock:
            self._snapshot = replace(self._snapshot, **changes)  # type: ignore[arg-type]
