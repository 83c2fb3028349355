"""A download in a child process, watched from outside: its progress, and whether it stalls."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dverge.data.store import Progress
from dverge.errors import DataError


@dataclass(frozen=True)
class Download:
    """A command that downloads into a folder.

    Attributes:
        command: the program and its arguments.
        folder: where it runs and where its files, which are measured, come to lie.
        expected_bytes: the size of the folder when the download is complete.
        label: what is downloaded, for the progress text.
        stall_s: seconds without any growth after which it is given up.
    """

    command: Sequence[str]
    folder: Path
    expected_bytes: int
    label: str
    stall_s: float = 30.0


def run_download(download: Download, report: Progress) -> None:
    """Run a download to its end, reporting progress about five times a second.

    Raises:
        DataError: the command failed (with its own words) or stalled.
        OSError: the command cannot be started.
    """
    log = download.folder / "child.log"
    with log.open("wb") as output:
        child = subprocess.Popen(
            download.command,
            cwd=download.folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            _watch(child, download, report)
        finally:
            if child.poll() is None:
                child.kill()
            child.wait()
    if child.returncode != 0:
        raise DataError(f"{_last_words(log)} (exit code {child.returncode})")


def _watch(child: subprocess.Popen[bytes], download: Download, report: Progress) -> None:
    """Report the folder's growth until the child ends; raise DataError when it stalls."""
    size, grown_at = 0, time.monotonic()
    while child.poll() is None:
        time.sleep(0.2)
        now_size = folder_size(download.folder)
        if now_size > size:
            size, grown_at = now_size, time.monotonic()
        elif time.monotonic() - grown_at > download.stall_s:
            raise DataError(f"nothing more came for {download.stall_s:g} seconds; gave up")
        done = min(size / download.expected_bytes, 1.0)
        total = download.expected_bytes / 1e6
        stage = f"{done * total:.0f} of {total:.0f} MB" if done < 1 else "checking what came"
        report(f"{download.label}: {stage}", done)


def folder_size(folder: Path) -> int:
    """The bytes of all files below a folder; files that vanish meanwhile count nothing."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue
    return total


def _last_words(log: Path) -> str:
    """Why a command failed, from its output and on one line: npm's errors, or the last line."""
    text = log.read_text(encoding="utf-8", errors="replace").replace("\r", "\n")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line.removeprefix("npm error").strip() for line in lines if "npm error" in line]
    telling = [line for line in errors if line and not line.startswith(_NPM_DETAILS)]
    return "; ".join(telling[:2] or lines[-1:] or ["it failed without a word"])


_NPM_DETAILS = ("syscall", "errno", "A complete log")
