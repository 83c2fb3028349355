"""obtain(): the first source that works, verified, stored once, also by several processes."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from dverge.data import obtain, store
from dverge.data.download import Progress
from dverge.data.obtaining import LOCK_NAME, WORKSPACE_PREFIX
from dverge.data.sources import Source
from dverge.data.store import FILE_NAME, Arrays, Digests
from dverge.errors import DataError

Failing = Callable[[str, BaseException], Source]
Get = Callable[..., Path]


@pytest.fixture
def get(tmp_path: Path, digests: Digests) -> Get:
    """obtain() of the small data set from some sources, by default into tmp_path."""

    def get(*sources: Source, folder: Path = tmp_path, progress: Progress | None = None) -> Path:
        return obtain(progress, folder, sources, digests)

    return get


def names(folder: Path) -> set[str]:
    """The files of a folder, without the lock."""
    return {path.name for path in folder.iterdir()} - {LOCK_NAME}


def refuse(number: int) -> Callable[..., Any]:
    """A function that fails with an error of the operating system."""

    def fail(*args: object, **options: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def test_it_stores_what_the_source_has_and_reports_progress(
    tmp_path: Path, get: Get, good: Source, arrays: Arrays, digests: Digests
) -> None:
    reports: list[tuple[str, float]] = []
    folder = tmp_path / "new" / "deep"
    path = get(good, folder=folder, progress=lambda *report: reports.append(report))
    assert path == folder / FILE_NAME
    images, labels = store.read(path, "train", digests)
    assert images.equal(arrays.train_images)
    assert labels.equal(arrays.train_labels)
    assert names(folder) == {FILE_NAME}
    fractions = [fraction for _, fraction in reports]
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0.0, 1.0)
    assert all(stage for stage, _ in reports)


def test_a_relative_folder_is_made_absolute(
    tmp_path: Path, get: Get, arrays: Arrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A download runs in its workspace, where a relative path would mean another folder."""
    workspaces: list[Path] = []

    def fetch(workspace: Path, report: Progress) -> Arrays:
        workspaces.append(workspace)
        return arrays

    monkeypatch.chdir(tmp_path)
    assert get(Source("one", fetch), folder=Path("here")) == tmp_path / "here" / FILE_NAME
    assert workspaces[0].is_absolute()


def test_nothing_is_fetched_if_the_data_is_stored(
    get: Get, good: Source, failing: Failing, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = get(good)
    before = path.stat().st_mtime_ns
    monkeypatch.setattr(Path, "mkdir", refuse(errno.EROFS))  # a shared folder, read-only
    monkeypatch.setattr(FileLock, "acquire", refuse(errno.EROFS))
    assert get(failing("unused", AssertionError())) == path
    assert path.stat().st_mtime_ns == before


@pytest.mark.parametrize("damage", [b"", b"not safetensors", b"\xff" * 3_000_000])
def test_a_damaged_file_is_replaced_by_the_next_source_that_works(
    tmp_path: Path, get: Get, good: Source, failing: Failing, digests: Digests, damage: bytes
) -> None:
    (tmp_path / FILE_NAME).write_bytes(damage)
    leftover = tmp_path / f"{WORKSPACE_PREFIX}old" / "cache"  # of a process that was killed
    leftover.mkdir(parents=True)
    (leftover / "big").write_bytes(b"x" * 1000)
    (tmp_path / "mine.txt").write_text("not ours")
    assert store.is_intact(get(failing("broken", DataError("no")), good), digests)
    assert names(tmp_path) == {FILE_NAME, "mine.txt"}


def test_a_wrong_checksum_names_the_source_and_the_array(
    tmp_path: Path, get: Get, arrays: Arrays
) -> None:
    images = arrays.test_images.clone()
    images[7, 1, 2, 3] += 1
    changed = replace(arrays, test_images=images)
    with pytest.raises(DataError, match=r"a liar: .*SHA-256 of test_images is [0-9a-f]{64}"):
        get(Source("a liar", lambda workspace, report: changed))
    assert names(tmp_path) == set()


def test_the_error_names_every_source_and_what_to_do(
    tmp_path: Path, get: Get, failing: Failing, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=42_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(DataError) as caught:
        get(
            failing("the folder", DataError("there is none")),
            failing("torchvision's download", TimeoutError("did not answer")),
            failing("the npm package", OSError(errno.ENOSPC, "No space left on device")),
        )
    for part in (
        "the folder: there is none",
        "torchvision's download: did not answer",
        "the npm package: [Errno 28] No space left on device",
        "Only 42 MB are free",
        "python -m dverge data --from DIR",
    ):
        assert part in str(caught.value)
    assert names(tmp_path) == set()


def test_a_full_disk_leaves_nothing_half_written(
    tmp_path: Path, get: Get, good: Source, digests: Digests, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []

    def full(descriptor: int) -> None:
        written.append(os.fstat(descriptor).st_size)
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(DataError, match=r"The disk is full.*DVERGE_DATA"):
            get(good)
    assert written and written[0] > 3_000_000  # the file was written before it failed
    assert names(tmp_path) == set()
    assert store.is_intact(get(good), digests)


def test_a_folder_that_cannot_be_written(
    tmp_path: Path, get: Get, good: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be stored in"):
        get(good, folder=tmp_path / "file" / "below")
    monkeypatch.setattr(tempfile, "mkdtemp", refuse(errno.EACCES))  # nothing else stops root
    with pytest.raises(DataError, match=r"cannot be stored in .*Permission denied.*DVERGE_DATA"):
        get(good)


def test_an_interrupt_leaves_nothing(tmp_path: Path, get: Get, failing: Failing) -> None:
    with pytest.raises(KeyboardInterrupt):
        get(failing("slow", KeyboardInterrupt()))
    assert names(tmp_path) == set()


# --- several processes ---

# Run as `python -c PROGRAM FOLDER`: a source that notes each fetch and waits for go.txt.
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
    with (folder / "fetched.txt").open("a") as file:
        file.write("fetched\\n")
    while not (folder / "go.txt").exists():
        time.sleep(0.02)
    return arrays

def report(stage, done):
    stages.append(stage)
    if "Waiting" in stage:
        (folder / "waiting.txt").touch()

obtain(report, folder, [Source("slow", fetch)], helpers.digests_of(arrays))
print("waited" if any("Waiting" in stage for stage in stages) else "worked")
"""
Start = Callable[[], subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts the program on tmp_path; processes that still run after the test are killed."""
    started: list[subprocess.Popen[str]] = []

    def launch() -> subprocess.Popen[str]:
        command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
        root = Path(__file__).parents[2]
        started.append(subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True))
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


def test_after_a_kill_two_processes_at_once_fetch_once(
    start: Start, tmp_path: Path, digests: Digests
) -> None:
    killed = start()
    wait_for(tmp_path / "fetched.txt")
    killed.kill()
    killed.communicate(timeout=60)
    assert list(tmp_path.glob(f"{WORKSPACE_PREFIX}*/*/half")), "the kill left nothing behind"
    (tmp_path / "fetched.txt").unlink()

    both = [start(), start()]
    wait_for(tmp_path / "fetched.txt")
    wait_for(tmp_path / "waiting.txt")
    assert len(list(tmp_path.glob(f"{WORKSPACE_PREFIX}*"))) == 1  # of the process that works
    (tmp_path / "go.txt").touch()
    outputs = [process.communicate(timeout=60)[0].strip() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sorted(outputs) == ["waited", "worked"]
    assert (tmp_path / "fetched.txt").read_text() == "fetched\n"
    assert store.is_intact(tmp_path / FILE_NAME, digests)
    assert not list(tmp_path.glob(f"{WORKSPACE_PREFIX}*"))
