"""Working through one run: do its job, write what happens, and save an outcome or a state."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from dverge.data import load
from dverge.devices import describe_device
from dverge.errors import DvergeError, RunError
from dverge.evaluation.protocols import EvaluationConfig
from dverge.runs.evaluating import EvaluationJob
from dverge.runs.folder import RunFolder
from dverge.runs.jobs import Job, LoadImages, Note, TrainingJob
from dverge.runs.records import RunSpec, RunState, Status
from dverge.training import TrainingConfig

STATUS_EVERY = 0.5  # seconds between writes of the status
LOW_PRIORITY = 5  # niceness of worker threads, so that pages stay quick beside them
MEANWHILE = {
    RunState.PAUSED: RunState.PAUSING,
    RunState.STOPPED: RunState.STOPPING,
    RunState.INTERRUPTED: RunState.STOPPING,
}
"""The state of a run until it has reached the one that was asked for."""
REASONS = {RunState.INTERRUPTED: "The app was closed. Resume continues where it was."}
OnUpdate = Callable[[Status], None]
log = logging.getLogger(__name__)
NO_MEMORY = "can't allocate memory"  # how torch on a CPU says it, in a RuntimeError
NO_SPACE = "No space left on device"  # how safetensors says it, in an error of its own


class Control:
    """How others ask a run to pause or stop; it checks `wanted` after every piece of work."""

    wanted: RunState | None = None

    def ask(self, state: RunState) -> None:
        """Ask for PAUSED or STOPPED, or INTERRUPTED when the process ends; from any thread."""
        self.wanted = state


def execute(
    folder: RunFolder,
    control: Control,
    on_update: OnUpdate,
    *,
    checkpoints_root: Path | None = None,
    load_images: LoadImages = load,
) -> Status:
    """Work on a run to its end, or to the next request to pause or stop; never raises.

    Whatever happens, what the run had is kept, and the returned status says how it ended.

    Args:
        folder: the run, with its lock held by the caller.
        control: checked for a pause or stop after every piece of work.
        on_update: called with each new status.
        checkpoints_root: where checkpoints are; the default folder if None.
        load_images: where the images come from.
    """
    session = _Session(folder, control, on_update)
    try:
        session.prepare(checkpoints_root, load_images)
        wanted = session.work()
        session.end(wanted)
    except Exception as error:  # noqa: BLE001 - a run must end as failed, whatever failed
        session.fail(error)
    return session.status


def lower_priority() -> None:
    """Make this thread, and the compute threads it starts, yield to the others (Linux only)."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # a sandbox may forbid it; it is a courtesy only
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOW_PRIORITY)


def job_for(spec: RunSpec, checkpoints_root: Path | None, load_images: LoadImages) -> Job:
    """The work of a run.

    Raises:
        ConfigError: its settings are not allowed, on this machine or on any.
    """
    config = spec.settings()
    if isinstance(config, EvaluationConfig):
        return EvaluationJob(config, checkpoints_root, load_images)
    return TrainingJob(config, checkpoints_root, load_images)


class _Session:
    """One stretch of work on a run, from its start or a resume to its next end."""

    def __init__(self, folder: RunFolder, control: Control, on_update: OnUpdate) -> None:
        self.folder, self.control, self.on_update = folder, control, on_update
        self.status = Status(RunState.RUNNING, "preparing")
        self.began = time.perf_counter()
        self.elapsed_before = 0.0

    def prepare(self, root: Path | None, load_images: LoadImages) -> None:
        before = self.folder.status()
        self.job = job_for(self.folder.spec(), root, load_images)
        self._report(before.moved(RunState.RUNNING))
        state = self.folder.load_state()
        self.job.prepare(None if state is None else state["training"])
        if state is not None:
            self.elapsed_before = state["elapsed"]
        position = self.job.position()
        self.folder.drop_metrics_after(position + 1e-9)
        here = self.status.moved(RunState.RUNNING)  # a new time: the metrics have changed
        here = replace(here, progress=self.job.progress(), epoch=position)
        self._report(replace(here, device=describe_device(self.job.device)))
        self.began = time.perf_counter()

    def work(self) -> RunState | None:
        """Work on; returns the state that was asked for, or None when everything is done."""
        if self.control.wanted is not None:
            return self.control.wanted
        last_write = 0.0
        for note in self.job.run():
            if note is not None:
                self._write(note)
                now = time.perf_counter()
                if note.keep or now - last_write > STATUS_EVERY:
                    last_write = now
                    self._report(self._progressed())
            if self.control.wanted is not None and self.job.progress() < 1:
                return self.control.wanted
        return None

    def end(self, wanted: RunState | None) -> None:
        """Save the outcome when everything is done, otherwise the state to resume from."""
        self._save_state()
        self.status = self._progressed()
        if wanted is not None:
            self._report(self.status.moved(wanted, REASONS.get(wanted, "")))
            return
        checkpoint = self.job.finish(self.folder, self._elapsed())
        self._report(replace(self.status.moved(RunState.FINISHED), checkpoint=checkpoint))
        with contextlib.suppress(OSError):  # it is not needed any more, it only takes space
            self.folder.drop_state()

    def fail(self, error: Exception) -> None:
        """Report why the run ended, on screen and on disk, as far as either can be reached."""
        if not isinstance(error, DvergeError | OSError):
            log.error("run %s failed", self.folder.id, exc_info=error)
        self.status = self.status.moved(RunState.FAILED, explain(error))
        for report in (self.folder.write_status, self.on_update):
            try:
                report(self.status)
            except Exception as second:  # noqa: BLE001 - the first error is the one that matters
                log.warning("run %s: its failure was not reported (%s)", self.folder.id, second)

    def _write(self, note: Note) -> None:
        for row in note.rows:
            self.folder.append_metrics(row)
        if note.keep:
            self.job.save_snapshot(self.folder, self._elapsed())
            self._save_state()

    def _elapsed(self) -> float:
        return self.elapsed_before + time.perf_counter() - self.began

    def _progressed(self) -> Status:
        progress, done, images = self.job.progress(), self.job.worked(), self.job.images()
        session = time.perf_counter() - self.began
        speed = self.status.images_per_second
        if images is not None and done > 0 and session > 0:
            speed = done * images / session
        return replace(
            self.status,
            progress=progress,
            epoch=self.job.position(),
            seconds_left=max(0.0, session / done * (1 - progress)) if done > 1e-9 else None,
            images_per_second=speed,
            elapsed=self._elapsed(),
            updated=time.time(),
        )

    def _save_state(self) -> None:
        self.folder.save_state({"training": self.job.state_dict(), "elapsed": self._elapsed()})

    def _report(self, status: Status) -> None:
        if status.state.active and self.control.wanted is not None:
            status = replace(status, state=MEANWHILE[self.control.wanted])
        self.status = status
        self.on_update(status)
        self.folder.write_status(status)


def explain(error: BaseException) -> str:
    """A message that says why a run failed and what to do."""
    if isinstance(error, DvergeError):
        return str(error)
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or NO_MEMORY in str(error):
        return (
            "Out of memory: close what else uses it and resume, or start a run with a smaller "
            "batch size or fewer submodels."
        )
    if getattr(error, "errno", None) == errno.ENOSPC or NO_SPACE in str(error):
        return "The disk is full: free some space, then resume."
    if isinstance(error, OSError):
        return f"A file could not be written or read ({error}). Correct that, then resume."
    if isinstance(error, torch.AcceleratorError) or "CUDA error" in str(error):
        return f"The GPU was lost ({_first_line(error)}). Restart the app, then resume."
    return f"An unforeseen {type(error).__name__}: {_first_line(error)}"


def _first_line(error: BaseException) -> str:
    return (str(error) or "no details").splitlines()[0]


def new_run_name(config: TrainingConfig, taken: set[str]) -> str:
    """A name that says what the run is, such as vanilla-3xconv-s0, and is not taken."""
    base = f"{config.method}-{config.members}xconv-s{config.seed}"
    for candidate in [base, *(f"{base}-{i}" for i in range(2, 1000))]:
        if candidate not in taken:
            return candidate
    raise RunError(f"all names from {base} to {base}-999 are taken; give the run a name.")
