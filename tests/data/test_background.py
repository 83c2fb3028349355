"""A download in the background, as a page polls it; and the command."""

from __future__ import annotations

import argparse
import functools
import threading
from pathlib import Path

import pytest

from dverge.commands import data as command
from dverge.data import BackgroundObtain, ObtainSnapshot, ObtainState, obtain
from dverge.data.download import Progress
from dverge.data.sources import Source
from dverge.data.store import FILE_NAME, Digests
from dverge.errors import DataError


def test_running_then_done(tmp_path: Path) -> None:
    reported, go = threading.Event(), threading.Event()
    calls: list[int] = []

    def work(report: Progress) -> Path:
        calls.append(1)
        report("Halfway", 0.5)
        reported.set()
        assert go.wait(10)
        report("Ready", 1.0)
        return tmp_path

    background = BackgroundObtain(work)
    assert background.snapshot.state is ObtainState.IDLE
    background.start()
    assert reported.wait(10)
    background.start()  # a second click
    assert background.snapshot == ObtainSnapshot(ObtainState.RUNNING, "Halfway", 0.5, None)
    go.set()
    assert background.wait(10) == ObtainSnapshot(ObtainState.DONE, "Ready", 1.0, None)
    background.start()
    assert background.wait(10).state is ObtainState.DONE
    assert calls == [1]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize(
    ("error", "message"),
    [(DataError("no network"), "no network"), (ZeroDivisionError(), "unexpectedly")],
)
def test_after_a_failure_the_next_start_begins_again(
    tmp_path: Path, error: Exception, message: str
) -> None:
    outcomes: list[Exception | None] = [error, None]

    def work(report: Progress) -> Path:
        report("Trying", 0.3)
        if outcome := outcomes.pop(0):
            raise outcome
        return tmp_path

    background = BackgroundObtain(work)
    background.start()
    failed = background.wait(10)
    assert (failed.state, failed.stage, failed.fraction) == (ObtainState.FAILED, "Trying", 0.3)
    assert failed.error is not None and message in failed.error
    background.start()
    assert background.wait(10) == ObtainSnapshot(ObtainState.DONE, "Trying", 0.3, None)


def run_command(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args(arguments))


def test_the_command_prints_where_the_data_is(
    tmp_path: Path,
    good: Source,
    digests: Digests,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("DVERGE_DATA", str(tmp_path))
    monkeypatch.setattr(command, "sources_from", lambda chosen, folder: [good])
    monkeypatch.setattr(command, "obtain", functools.partial(obtain, digests=digests))
    assert run_command() == 0
    captured = capsys.readouterr()
    assert str(tmp_path / FILE_NAME) in captured.out
    assert "CIFAR-10 is ready" in captured.err


def test_the_command_uses_only_the_chosen_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVERGE_DATA", str(tmp_path / "data"))
    with pytest.raises(DataError) as caught:
        run_command("--from", str(tmp_path / "mine"))
    (reason,) = [line for line in str(caught.value).splitlines() if line.startswith("  - ")]
    assert f"there is no cifar-10-batches-py in {tmp_path / 'mine'}" in reason
