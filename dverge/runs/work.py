"""Working through one run: do its job, write what happens, and leave a result or a state."""

from __future__ import annotations

import contextlib
import errno
import logging
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
from dverge.training import TrainingConfig, config_from

STATUS_EVERY = 0.5  # seconds between writes of the status
MEANWHILE = {
    RunState.PAUSED: RunState.PAUSING,
    RunState.STOPPED: RunState.STOPPING,
    RunState.INTERRUPTED: RunState.STOPPING,
}
REASONS = {RunState.INTERRUPTED: "The app was closed. Resume goes on where it was."}
OnUpdate = Callable[[Status], None]
log = logging.getLogger(__name__)
NO_MEMORY = "can't allocate memory"  # how torch on a CPU says it, in a RuntimeError
NO_SPACE = "No space left on device"  # how safetensors says it, in an error of its own


class Control:
    """How others ask a run to pause or stop; it looks after every piece of work."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wanted: RunState | None = None

    def ask(self, state: RunState) -> None:
        """Ask for PAUSED or STOPPED, or INTERRUPTED when the process ends."""
        with self._lock:
            self._wanted = state

    @property
    def wanted(self) -> RunState | None:
        with self._lock:
            return self._wanted


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
        control: asked for a pause or stop after every piece of work.
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


def config_of(spec: RunSpec) -> TrainingConfig | EvaluationConfig:
    """The settings of a run of either kind.

    Raises:
        ConfigError: there is no such kind or field, or a value is outside its range.
    """
    if spec.is_evaluation:
        return EvaluationConfig.from_dict(spec.config)
    return config_from(spec.kind, spec.config)


def job_for(spec: RunSpec, checkpoints_root: Path | None, load_images: LoadImages) -> Job:
    """The work of a run.

    Raises:
        ConfigError: its settings will not do, here or anywhere.
    """
    config = config_of(spec)
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
        self._tell(before.moved(RunState.RUNNING))
        state = self.folder.load_state()
        self.job.prepare(None if state is None else state["training"])
        if state is not None:
            self.elapsed_before = state["elapsed"]
        position = self.job.position()
        self.folder.drop_metrics_after(position + 1e-9)
        here = self.status.moved(RunState.RUNNING)  # told anew: the metrics have changed
        here = replace(here, progress=self.job.progress(), epoch=position)
        self._tell(replace(here, device=describe_device(self.job.device)))
        self.began = time.perf_counter()

    def work(self) -> RunState | None:
        """Work on; returns the state asked for, or None when all is done."""
        if self.control.wanted is not None:
            return self.control.wanted
        last_write = 0.0
        for note in self.job.run():
            if note is not None:
                self._write_down(note)
                now = time.perf_counter()
                if note.keep or now - last_write > STATUS_EVERY:
                    last_write = now
                    self._tell(self._progressed())
            if self.control.wanted is not None and self.job.progress() < 1:
                return self.control.wanted
        return None

    def end(self, wanted: RunState | None) -> None:
        """Leave what the work came to when finished, else the state to go on from."""
        self._save_state()
        self.status = self._progressed()
        if wanted is not None:
            self._tell(self.status.moved(wanted, REASONS.get(wanted, "")))
            return
        checkpoint = self.job.finish(self.folder, self._elapsed())
        self._tell(replace(self.status.moved(RunState.FINISHED), checkpoint=checkpoint))
        with contextlib.suppress(OSError):  # it only takes room from now on
            self.folder.drop_state()

    def fail(self, error: Exception) -> None:
        """Say why the run ended, on screen and on disk, as far as either can still be reached."""
        if not isinstance(error, DvergeError | OSError):
            log.error("run %s failed", self.folder.id, exc_info=error)
        self.status = self.status.moved(RunState.FAILED, explain(error))
        for tell in (self.folder.write_status, self.on_update):
            try:
                tell(self.status)
            except Exception as second:  # noqa: BLE001 - the first error is the one that matters
                log.warning("run %s: its failure could not be told (%s)", self.folder.id, second)

    def _write_down(self, note: Note) -> None:
        for row in note.rows:
            self.folder.append_metrics(row)
        if note.keep:
            self.job.leave(self.folder, self._elapsed())
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
            seconds_left=session / done * (1 - progress) if done > 0 else None,
            images_per_second=speed,
            elapsed=self._elapsed(),
            updated=time.time(),
        )

    def _save_state(self) -> None:
        self.folder.save_state({"training": self.job.state_dict(), "elapsed": self._elapsed()})

    def _tell(self, status: Status) -> None:
        if status.state.active and self.control.wanted is not None:
            status = replace(status, state=MEANWHILE[self.control.wanted])
        self.status = status
        self.on_update(status)
        self.folder.write_status(status)


def explain(error: BaseException) -> str:
    """Why a run failed, in words that say what to do."""
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
        return f"A file could not be written or read ({error}). Mend that, then resume."
    if isinstance(error, torch.AcceleratorError) or "CUDA error" in str(error):
        return f"The GPU was lost ({_first_line(error)}). Restart the app, then resume."
    return f"An unforeseen {type(error).__name__}: {_first_line(error)}"


def _first_line(error: BaseException) -> str:
    return (str(error) or "no details").splitlines()[0]


def new_run_name(config: TrainingConfig, taken: set[str]) -> str:
    """A name that says what the run is, such as vanilla-3xconv-s0, not among those taken."""
    base = f"{config.method}-{config.members}xconv-s{config.seed}"
    for candidate in [base, *(f"{base}-{i}" for i in range(2, 1000))]:
        if candidate not in taken:
            return candidate
    raise RunError(f"all names from {base} to {base}-999 are taken; give the run a name.")
