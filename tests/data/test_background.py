"""A download in the background, as a page polls it; and the command."""

from __future__ import annotations

import argparse
import functools
import threading
from pathlib import Path

import pytest

from dverge.commands import data as cli
from dverge.data import BackgroundObtain, ObtainSnapshot, ObtainState, obtain
from dverge.data.sources import Source
from dverge.data.store import FILE_NAME, Digests, Progress
from dverge.errors import DataError


def test_running_then_done(tmp_path: Path) -> None:
    told, go = threading.Event(), threading.Event()
    calls: list[int] = []

    def work(report: Progress) -> Path:
        calls.append(1)
        report("Halfway", 0.5)
        told.set()
        assert go.wait(10)
        report("Ready", 1.0)
        return tmp_path

    background = BackgroundObtain(work)
    assert background.snapshot.state is ObtainState.IDLE
    background.start()
    assert told.wait(10)
    background.start()  # a second click
    assert background.snapshot == ObtainSnapshot(ObtainState.RUNNING, "Halfway", 0.5, None)
    go.set()
    assert background.wait(10) == ObtainSnapshot(ObtainState.DONE, "Ready", 1.0, None)
    background.start()
    assert background.wait(10).state is ObtainState.DONE
    assert calls == [1]


def test_failure_is_told_and_can_be_tried_again(tmp_path: Path) -> None:
    outcomes: list[DataError | None] = [DataError("no network"), None]

    def work(report: Progress) -> Path:
        report("Trying", 0.3)
        error = outcomes.pop(0)
        if error is not None:
            raise error
        return tmp_path

    background = BackgroundObtain(work)
    background.start()
    assert background.wait(10) == ObtainSnapshot(ObtainState.FAILED, "Trying", 0.3, "no network")
    background.start()
    assert background.wait(10).state is ObtainState.DONE
    assert background.snapshot.error is None


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_error_nobody_foresaw_ends_the_wait_too() -> None:
    def work(report: Progress) -> Path:
        raise ZeroDivisionError

    background = BackgroundObtain(work)
    background.start()
    snapshot = background.wait(10)
    assert snapshot.state is ObtainState.FAILED
    assert snapshot.error is not None


def command_line(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    cli.add_arguments(parser)
    return parser.parse_args(words)


def test_command_prints_where_it_is(
    tmp_path: Path,
    good: Source,
    digests: Digests,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("DVERGE_DATA", str(tmp_path))
    monkeypatch.setattr(cli, "sources_from", lambda given, folder: [good])
    monkeypatch.setattr(cli, "obtain", functools.partial(obtain, digests=digests))
    assert cli.run(command_line()) == 0
    captured = capsys.readouterr()
    assert str(tmp_path / FILE_NAME) in captured.out
    assert "CIFAR-10 is ready" in captured.err


def test_command_takes_only_the_folder_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVERGE_DATA", str(tmp_path / "data"))
    with pytest.raises(DataError) as caught:
        cli.run(command_line("--from", str(tmp_path / "mine")))
    tried = [line for line in str(caught.value).splitlines() if line.startswith("  - ")]
    assert len(tried) == 1
    assert f"there is no cifar-10-batches-py in {tmp_path / 'mine'}" in tried[0]
