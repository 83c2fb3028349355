"""Short work in a thread of its own, with progress, a result and a way to cancel it.

For work that takes seconds and leaves nothing on disk. Longer work is a run.
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
"""Takes a function that it calls now and then with the share done, above 0 to 1."""


@dataclass(frozen=True)
class TaskSnapshot(Generic[Result]):
    """A task at one moment.

    Attributes:
        running: it has not ended.
        fraction: the share done, 0 to 1.
        result: None until the end.
        error: a message that says why it failed.
        cancelled: it was asked to stop.
    """

    running: bool = True
    fraction: float = 0.0
    result: Result | None = None
    error: str | None = None
    cancelled: bool = False


class _Cancelled(BaseException):
    """Ends the work when it next reports progress; not an Exception, so that no work catches it."""


class Task(Generic[Result]):
    """Starts at once in a daemon thread. Any thread may call any method at any time."""

    def __init__(self, work: Work[Result]) -> None:
        self._lock = threading.Lock()
        self._snapshot: TaskSnapshot[Result] = TaskSnapshot()
        self._thread = threading.Thread(target=self._run, args=(work,), name="task", daemon=True)
        self._thread.start()

    @property
    def snapshot(self) -> TaskSnapshot[Result]:
        """The task now."""
        with self._lock:
            return self._snapshot

    def cancel(self) -> None:
        """Ask it to stop, which it does when it next reports progress."""
        self._update(cancelled=True)

    def wait(self, seconds: float) -> TaskSnapshot[Result]:
        """Wait at most this long for the end, and return the snapshot then."""
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
