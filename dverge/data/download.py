"""Downloads that cannot hang: an address is tried first, and a child process is watched."""

from __future__ import annotations

import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dverge.errors import DataError

PROBE_S = 8.0
NPM_DETAILS = ("syscall", "errno", "A complete log")  # lines of npm's errors that do not help

Progress = Callable[[str, float], None]
"""Reports the progress of a job: its stage as a text, and the fraction done from 0 to 1."""


@dataclass(frozen=True)
class Download:
    """A command that downloads into a folder.

    Attributes:
        command: the program and its arguments.
        folder: where the command runs; the size of the files in it is the progress.
        expected_bytes: the size of the folder when the download is complete.
        label: name of the download in the progress text.
        stall_s: seconds without any growth after which the download fails.
    """

    command: Sequence[str]
    folder: Path
    expected_bytes: int
    label: str
    stall_s: float = 30.0


def run_download(download: Download, report: Progress) -> None:
    """Run a download to its end, reporting progress about five times a second.

    Raises:
        DataError: the command failed (with its own error message) or stalled.
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
        raise DataError(f"{_error_message(log)} (exit code {child.returncode})")


def _watch(child: subprocess.Popen[bytes], download: Download, report: Progress) -> None:
    """Report the growth of the folder until the child ends; raise DataError if it stalls."""
    size, grown_at = 0, time.monotonic()
    while child.poll() is None:
        time.sleep(0.2)
        new_size = _folder_size(download.folder)
        if new_size > size:
            size, grown_at = new_size, time.monotonic()
        elif time.monotonic() - grown_at > download.stall_s:
            raise DataError(f"no data arrived for {download.stall_s:g} seconds")
        done = min(size / download.expected_bytes, 1.0)
        total = download.expected_bytes / 1e6
        stage = f"{done * total:.0f} of {total:.0f} MB" if done < 1 else "checking the files"
        report(f"{download.label}: {stage}", done)


def _folder_size(folder: Path) -> int:
    """The bytes of all files below a folder, without those that vanish meanwhile."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue
    return total


def _error_message(log: Path) -> str:
    """Why a command failed, on one line: npm's errors from its output, or the last line."""
    text = log.read_text(encoding="utf-8", errors="replace").replace("\r", "\n")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line.removeprefix("npm error").strip() for line in lines if "npm error" in line]
    reasons = [line for line in errors if line and not line.startswith(NPM_DETAILS)]
    return "; ".join(reasons[:2] or lines[-1:] or ["it failed without a message"])


def probe(url: str, seconds: float = PROBE_S) -> None:
    """Raise DataError unless an address answers in time.

    A thread asks, because a socket's timeout does not cover the look-up of the host name.
    """
    outcome: list[str] = []

    def ask() -> None:
        try:
            request = urllib.request.Request(url, method="HEAD")
            with urllib.request.urlopen(request, timeout=seconds):
                outcome.append("")
        except (OSError, ValueError) as error:
            outcome.append(f"{url} cannot be reached ({error})")

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    reason = outcome[0] if outcome else f"{url} did not answer in {seconds:g} seconds"
    if reason:
        raise DataError(reason)
