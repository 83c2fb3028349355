"""Commands run in a folder of their own, in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dverge import checkpoints
from dverge.__main__ import main
from dverge.models import Ensemble


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the commands read and write; also the working directory."""
    for kind in ("RUNS", "CHECKPOINTS", "DATA"):
        monkeypatch.setenv(f"DVERGE_{kind}", str(tmp_path / kind.lower()))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def good(folder: Path, ensemble: Ensemble) -> checkpoints.CheckpointInfo:
    """A checkpoint of three members."""
    return checkpoints.save("good", ensemble, method="vanilla")


@pytest.fixture
def refusal(capsys: pytest.CaptureFixture[str]) -> Callable[[list[str]], str]:
    """Runs a command that must fail; returns its one line on standard error."""

    def run(arguments: list[str]) -> str:
        assert main(arguments) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.startswith("dverge: ")
        assert printed.err.count("\n") == 1
        assert printed.err.endswith("\n")
        return printed.err

    return run
