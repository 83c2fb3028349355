"""obtain() in several real processes: one works, the others wait; a killed one does no harm."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dverge.data import obtain, store
from dverge.data.obtaining import WORKSPACE_PREFIX
from dverge.data.sources import Source
from dverge.data.store import FILE_NAME, Digests

ROOT = Path(__file__).parents[2]

# Run as `python -c PROGRAM FOLDER`: a source that notes that it was asked and waits for go.txt.
PROGRAM = """
import importlib.util, sys, time
from pathlib import Path

spec = importlib.util.spec_from_file_location("helpers", "tests/data/conftest.py")
helpers = importlib.util.module_from_spec(spec)
spec.loader.exec_module(helpers)
from dverge.data import obtain
from dverge.data.sources import Source

folder = Path(sys.argv[1])
arrays = helpers.make_arrays()
stages = []

def fetch(workspace, report):
    (workspace / "half").write_bytes(b"half a file")
    with (folder / "asked.txt").open("a") as file:
        file.write("asked\\n")
    while not (folder / "go.txt").exists():
        time.sleep(0.02)
    return arrays

def tell(stage, done):
    stages.append(stage)
    if "Waiting" in stage:
        (folder / "waiting.txt").touch()

obtain(tell, folder, [Source("slow", fetch)], helpers.digests_of(arrays))
print("waited" if any("Waiting" in stage for stage in stages) else "worked")
"""


Start = Callable[[Path], subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts the program with a folder; what still runs at the end of the test is killed."""
    started: list[subprocess.Popen[str]] = []

    def launch(folder: Path) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", PROGRAM, str(folder)]
        started.append(subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield launch
    for process in started:
        process.kill()
        process.communicate()


def wait_for(path: Path, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.02)


def test_two_at_once_fetch_once(start: Start, tmp_path: Path, digests: Digests) -> None:
    both = [start(tmp_path), start(tmp_path)]
    wait_for(tmp_path / "asked.txt")
    wait_for(tmp_path / "waiting.txt")
    (tmp_path / "go.txt").touch()
    said = [each.communicate(timeout=60)[0].strip() for each in both]
    assert [each.returncode for each in both] == [0, 0]
    assert sorted(said) == ["waited", "worked"]
    assert (tmp_path / "asked.txt").read_text() == "asked\n"
    assert store.is_good(tmp_path / FILE_NAME, digests)


def test_after_a_kill_the_next_one_cleans_up(
    start: Start, tmp_path: Path, good: Source, digests: Digests
) -> None:
    killed = start(tmp_path)
    wait_for(tmp_path / "asked.txt")
    killed.kill()
    killed.communicate(timeout=60)
    assert list(tmp_path.glob(f"{WORKSPACE_PREFIX}*/*/half")), "it left something behind"
    path = obtain(folder=tmp_path, sources=[good], digests=digests)
    assert store.is_good(path, digests)
    assert not list(tmp_path.glob(f"{WORKSPACE_PREFIX}*"))
