"""obtain(): the first source that works, verified, stored once, with one clear error."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from dverge.data import obtain, store
from dverge.data.obtaining import LOCK_NAME, WORKSPACE_PREFIX
from dverge.data.sources import Source
from dverge.data.store import FILE_NAME, Arrays, Digests, Progress
from dverge.errors import DataError

Failing = Callable[[str, Exception], Source]


def names(folder: Path) -> set[str]:
    """What is in a folder, but for the lock."""
    return {path.name for path in folder.iterdir()} - {LOCK_NAME}


def test_stores_what_the_source_has(
    tmp_path: Path, good: Source, arrays: Arrays, digests: Digests
) -> None:
    path = obtain(folder=tmp_path / "new" / "deep", sources=[good], digests=digests)
    assert path == tmp_path / "new" / "deep" / FILE_NAME
    images, labels = store.read(path, "train", digests)
    assert images.equal(arrays.train_images)
    assert labels.equal(arrays.train_labels)
    assert names(path.parent) == {FILE_NAME}


def test_a_relative_folder_is_made_absolute(
    tmp_path: Path, arrays: Arrays, digests: Digests, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A download runs in its workspace, where a relative path would lead elsewhere."""
    rooms: list[Path] = []

    def fetch(workspace: Path, report: Progress) -> Arrays:
        rooms.append(workspace)
        return arrays

    monkeypatch.chdir(tmp_path)
    path = obtain(folder=Path("here"), sources=[Source("one", fetch)], digests=digests)
    assert path == tmp_path / "here" / FILE_NAME
    assert rooms[0].is_absolute()


def test_progress_rises_from_0_to_1(tmp_path: Path, good: Source, digests: Digests) -> None:
    told: list[tuple[str, float]] = []
    obtain(lambda stage, done: told.append((stage, done)), tmp_path, [good], digests)
    fractions = [fraction for _, fraction in told]
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0.0, 1.0)
    assert all(stage for stage, _ in told)


def test_nothing_is_fetched_when_it_is_there(
    tmp_path: Path,
    good: Source,
    failing: Failing,
    digests: Digests,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = obtain(folder=tmp_path, sources=[good], digests=digests)
    before = path.stat().st_mtime_ns

    def refuse(*args: object, **options: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", refuse)  # as in a shared folder that cannot be written
    monkeypatch.setattr(FileLock, "acquire", refuse)
    never = failing("never asked", AssertionError())
    assert obtain(folder=tmp_path, sources=[never], digests=digests) == path
    assert path.stat().st_mtime_ns == before


@pytest.mark.parametrize("damage", [b"", b"not safetensors", b"\xff" * 3_000_000])
def test_a_damaged_file_is_replaced(
    tmp_path: Path, good: Source, digests: Digests, damage: bytes
) -> None:
    (tmp_path / FILE_NAME).write_bytes(damage)
    path = obtain(folder=tmp_path, sources=[good], digests=digests)
    assert store.is_good(path, digests)


def test_the_next_source_helps_out(
    tmp_path: Path, good: Source, failing: Failing, digests: Digests
) -> None:
    broken = failing("broken", DataError("no"))
    path = obtain(folder=tmp_path, sources=[broken, good], digests=digests)
    assert store.is_good(path, digests)
    assert names(tmp_path) == {FILE_NAME}


def test_wrong_checksum_names_source_and_array(
    tmp_path: Path, arrays: Arrays, digests: Digests
) -> None:
    images = arrays.test_images.clone()
    images[7, 1, 2, 3] += 1
    changed = Arrays(arrays.train_images, arrays.train_labels, images, arrays.test_labels)
    source = Source("a liar", lambda workspace, report: changed)
    with pytest.raises(DataError, match=r"a liar: .*SHA-256 of test_images is [0-9a-f]{64}"):
        obtain(folder=tmp_path, sources=[source], digests=digests)
    assert names(tmp_path) == set()


def test_no_network_names_every_source_and_the_mend(
    tmp_path: Path, failing: Failing, digests: Digests
) -> None:
    sources = [
        failing("the folder", DataError("there is none")),
        failing("torchvision's download", TimeoutError("did not answer")),
        failing("the npm package", DataError("npm is not installed")),
    ]
    with pytest.raises(DataError) as caught:
        obtain(folder=tmp_path, sources=sources, digests=digests)
    text = str(caught.value)
    for part in (
        "the folder: there is none",
        "torchvision's download: did not answer",
        "the npm package: npm is not installed",
        "python -m dverge data --from DIR",
    ):
        assert part in text
    assert names(tmp_path) == set()


def test_little_space_is_part_of_the_reason(
    tmp_path: Path, failing: Failing, digests: Digests, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=42_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(DataError, match="Only 42 MB are free"):
        source = failing("one", OSError(errno.ENOSPC, "No space left on device"))
        obtain(folder=tmp_path, sources=[source], digests=digests)


def test_full_disk_leaves_nothing_half_written(
    tmp_path: Path, good: Source, digests: Digests, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []

    def full(descriptor: int) -> None:
        written.append(os.fstat(descriptor).st_size)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match=r"The disk is full.*DVERGE_DATA"):
        obtain(folder=tmp_path, sources=[good], digests=digests)
    assert written and written[0] > 3_000_000  # it did fail halfway
    assert names(tmp_path) == set()
    monkeypatch.undo()
    assert store.is_good(obtain(folder=tmp_path, sources=[good], digests=digests), digests)


def test_read_only_folder(
    tmp_path: Path, good: Source, digests: Digests, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **options: object) -> str:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(tempfile, "mkdtemp", refuse)  # tests may run as root, who may all
    with pytest.raises(DataError, match=r"cannot be kept in .*Permission denied.*DVERGE_DATA"):
        obtain(folder=tmp_path, sources=[good], digests=digests)


def test_folder_that_cannot_be_made(tmp_path: Path, good: Source, digests: Digests) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataError, match="cannot be kept in"):
        obtain(folder=tmp_path / "file" / "below", sources=[good], digests=digests)


def test_leftovers_of_a_killed_process_go(tmp_path: Path, good: Source, digests: Digests) -> None:
    leftover = tmp_path / f"{WORKSPACE_PREFIX}old" / "cache"
    leftover.mkdir(parents=True)
    (leftover / "big").write_bytes(b"x" * 1000)
    (tmp_path / "mine.txt").write_text("not ours")
    obtain(folder=tmp_path, sources=[good], digests=digests)
    assert names(tmp_path) == {FILE_NAME, "mine.txt"}


def test_an_interrupt_leaves_nothing(tmp_path: Path, digests: Digests) -> None:
    def interrupted(workspace: Path, report: Progress) -> Arrays:
        (workspace / "half").write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        obtain(folder=tmp_path, sources=[Source("slow", interrupted)], digests=digests)
    assert names(tmp_path) == set()
