"""The parser: usage, help, and that a command imports only what it uses."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from dverge.__main__ import main
from dverge.training import CONFIGS, Method

Output = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "COMMAND"),
        (["dance"], "dance"),
        (["train"], "KIND"),
        (["import", "x.pth"], "--name"),
        (["import", "--name", "x"], "FILE.pth"),
        (["export"], "checkpoint"),
        (["train", "vanilla", "--epochs", "many"], "--epochs"),
        (["train", "vanilla", "--preset", "slow"], "--preset"),
        (["train", "vanilla", "--from", "good"], "--from"),
        (["train", "vanilla", "--alpha", "1"], "--alpha"),
        (["train", "dverge", "--adv-steps", "1"], "--adv-steps"),
        (["train", "dverge", "--alpha", "much"], "--alpha"),
        (["train", "dverge", "--start-digest", "ab"], "--start-digest"),
    ],
)
def test_bad_usage(capsys: Output, arguments: list[str], message: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["data"],
        ["train"],
        ["train", "resume"],
        *(["train", str(method)] for method in Method),
        ["import"],
        ["export"],
        ["bench"],
    ],
)
def test_every_command_has_help(capsys: Output, command: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*command, "--help"])
    assert ended.value.code == 0
    assert "usage: python -m dverge" in capsys.readouterr().out


@pytest.mark.parametrize("method", Method)
def test_every_setting_has_an_option(method: Method, capsys: Output) -> None:
    with pytest.raises(SystemExit):
        main(["train", method, "--help"])
    printed = capsys.readouterr().out
    names = {field.name for field in fields(CONFIGS[method])} - {"start", "start_digest"}
    assert all(f"--{name.replace('_', '-')}" in printed for name in names)
    assert ("--from" in printed) is (method is not Method.VANILLA)
    assert "--start" not in printed


def run_python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in the repository's folder."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_as_a_program(folder: Path) -> None:
    ended = run_python("-m", "dverge", "export", "nope")
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr == "dverge: there is no checkpoint 'nope'; those there are: none.\n"


HELP = """
from dverge.__main__ import main
try:
    main(["--help"])
except SystemExit:
    pass"""
UNDRAWN = "import dverge.commands." + ", dverge.commands.".join(
    ["bench", "data", "evaluate", "export_weights", "import_weights", "tour", "train"]
)


@pytest.mark.parametrize(
    ("program", "foreign"),
    [
        (HELP, {"torch", "numba", "altair", "pandas"}),
        (UNDRAWN, {"altair", "pandas", "plotly", "streamlit"}),
    ],
    ids=["help needs no torch", "nothing is drawn"],
)
def test_a_command_imports_only_what_it_uses(program: str, foreign: set[str]) -> None:
    ended = run_python("-c", f"{program}\nimport sys\nprint(*sys.modules)")
    imported = {name.split(".")[0] for name in ended.stdout.splitlines()[-1].split()}
    assert "dverge" in imported
    assert not imported & foreign
