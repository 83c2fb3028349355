"""Short work in a thread: progress, result, cancel, failure."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from dverge.errors import ConfigError
from dverge.runs import Task


def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_progress_and_result() -> None:
    go = threading.Event()

    def work(report: Callable[[float], None]) -> str:
        report(0.25)
        assert go.wait(10)
        report(1.0)
        return "found"

    task = Task(work)
    until(lambda: task.snapshot.fraction == 0.25)
    assert task.snapshot.running and task.snapshot.result is None
    go.set()
    end = task.wait(10)
    assert (end.running, end.fraction, end.result, end.error) == (False, 1.0, "found", None)


def test_cancel_ends_it_when_it_next_reports_progress() -> None:
    steps: list[int] = []
    started = threading.Event()

    def work(report: Callable[[float], None]) -> None:
        for i in range(100_000):
            steps.append(i)
            started.set()
            try:
                report(i / 100_000)
            except Exception:  # noqa: BLE001 - work that swallows errors must still end
                steps.append(-1)
            time.sleep(0.001)

    task = Task(work)
    assert started.wait(10)
    task.cancel()
    end = task.wait(10)
    assert end.cancelled and not end.running and end.result is None and end.error is None
    assert len(steps) < 50_000 and -1 not in steps


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ConfigError("eps is -1; it must be more."), "eps is -1; it must be more."),
        (ZeroDivisionError("oh"), "Something unforeseen went wrong (ZeroDivisionError)."),
    ],
)
def test_a_failure_is_reported(error: Exception, message: str) -> None:
    def work(report: Callable[[float], None]) -> None:
        raise error

    end = Task(work).wait(10)
    assert (end.running, end.error, end.result) == (False, message, None)
