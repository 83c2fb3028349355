"""Processes that end inside an epoch: killed, closed, or interrupted by Ctrl-C."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dverge import checkpoints
from dverge.__main__ import main
from dverge.checkpoints import CheckpointInfo
from dverge.commands import INTERRUPTED_EXIT
from dverge.data import full_data_available
from dverge.runs import RunFolder, RunManager, RunState
from dverge.training import Method
from tests.runs.small import ALL, LONG, PER_EPOCH, Outcome, ended, same, until, untimed, weights_of

REPOSITORY = Path(__file__).parents[2]
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a module of ours in a process of its own, with one thread as here."""
    started: list[subprocess.Popen[str]] = []

    def run(*arguments: object, **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", *map(str, arguments)],
            cwd=REPOSITORY,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def the_run(root: Path) -> RunFolder | None:
    """The only run in a folder, if there is one yet."""
    folders = [path for path in root.glob("2*") if path.is_dir()]
    return RunFolder(folders[0]) if folders else None


def inside_an_epoch(root: Path) -> bool:
    """Whether an epoch is saved and batches of the next are done."""
    run = the_run(root)
    return run is not None and any(row["epoch"] > 1 for row in run.metrics())


BOTH = pytest.mark.parametrize(
    "method", [Method.VANILLA, pytest.param(Method.DVERGE_ADVT, marks=pytest.mark.slow)]
)


@BOTH
def test_killed(
    method: Method,
    start: Start,
    manager: RunManager,
    checkpoint: Callable[[str], CheckpointInfo],
    reference_of: Callable[[Method], Outcome],
    tmp_path: Path,
) -> None:
    reference = reference_of(method)
    process = start("tests.runs.train_slowly", tmp_path, method)
    until(lambda: inside_an_epoch(manager.root) or process.poll() is not None, "it trains")
    (view,) = manager.views()
    assert view.elsewhere and view.status.state is RunState.RUNNING
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()

    (view,) = manager.views()
    assert view.status.state is RunState.INTERRUPTED and not view.elsewhere
    assert 1 / 3 <= view.status.progress < 1
    rows = untimed(manager.metrics(view.id))
    assert rows == reference.epochs[: len(rows)] and len(rows) in (1, 2)
    manager.resume(view.id)
    ended(manager, view.id)
    assert same(weights_of(checkpoint("killed")), reference.weights)
    assert untimed(manager.metrics(view.id)) == reference.epochs


@BOTH
def test_a_process_that_ends_by_itself_saves_and_does_not_crash(
    method: Method,
    start: Start,
    manager: RunManager,
    checkpoint: Callable[[str], CheckpointInfo],
    reference_of: Callable[[Method], Outcome],
    tmp_path: Path,
) -> None:
    """This is what Ctrl-C does to the app: not even the unfinished epoch is lost."""
    reference = reference_of(method)
    process = start("tests.runs.train_slowly", tmp_path, method, "leave")
    _, errors = process.communicate(timeout=LONG)
    assert process.returncode in (INTERRUPTED_EXIT, -signal.SIGINT), errors
    assert "terminate called" not in errors
    (view,) = manager.views()
    assert view.status.state is RunState.INTERRUPTED
    assert "The app was closed" in view.status.message
    assert PER_EPOCH / ALL <= view.status.progress < 1
    state = RunFolder(manager.root / view.id).load_state()
    assert state is not None
    at = (state["training"]["epoch"] * PER_EPOCH + state["training"]["batch"]) / ALL
    assert view.status.progress == pytest.approx(at)
    manager.resume(view.id)
    ended(manager, view.id)
    assert same(weights_of(checkpoint("killed")), reference.weights)


OPTIONS = {
    "--members": 1,
    "--training-images": 2000,
    "--batch-size": 8,
    "--epochs": 5,
    "--learning-rate": 0.01,
    "--seed": 3,
    "--device": "cpu",
}
COMMAND = ["train", "vanilla", *(str(part) for option in OPTIONS.items() for part in option)]


@pytest.mark.slow
@pytest.mark.full_data
@pytest.mark.skipif(not full_data_available(), reason="needs all of CIFAR-10")
def test_ctrl_c_in_the_terminal(
    start: Start,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folders = {"DVERGE_RUNS": tmp_path / "runs", "DVERGE_CHECKPOINTS": tmp_path / "checkpoints"}
    for name, path in folders.items():
        monkeypatch.setenv(name, str(path))
    process = start("dverge", *COMMAND, "--name", "stopped")
    until(lambda: (run := the_run(tmp_path / "runs")) and run.metrics(), "it trains")
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=LONG)
    assert process.returncode == INTERRUPTED_EXIT, errors
    found = re.search(r"to go on: (?:python -m dverge )?train resume (\S+)", out)
    assert found, out
    run = RunFolder(tmp_path / "runs" / found[1])
    assert run.status().state is RunState.PAUSED
    assert 0 < run.status().progress < 1

    assert main(["train", "resume", run.id]) == 0
    assert "checkpoint stopped is ready" in capsys.readouterr().out
    assert main([*COMMAND, "--name", "whole"]) == 0
    ends = [checkpoints.read(tmp_path / "checkpoints" / name) for name in ("stopped", "whole")]
    assert ends[0].digest == ends[1].digest
    histories = [untimed(checkpoints.read_history(end)) for end in ends]
    assert histories[0] == histories[1] and len(histories[0]) == 5
    assert main(["train", "resume", run.id]) == 2
    assert "has finished already" in capsys.readouterr().err
