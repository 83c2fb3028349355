"""Working through one run: train, write what happens, and leave a checkpoint or a state."""

from __future__ import annotations

import contextlib
import errno
import importlib.metadata
import logging
import platform
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import torch

from dverge import checkpoints
from dverge.data import ImageSet, Split, load
from dverge.errors import CheckpointError, DvergeError, RunError
from dverge.evaluation import clean_accuracy
from dverge.runs.folder import RunFolder
from dverge.runs.records import RunState, Status
from dverge.training import (
    EpochMetrics,
    StepMetrics,
    Training,
    TrainingConfig,
    config_from,
    describe_device,
    load_start,
    resolve_device,
)

STATUS_EVERY = 0.5  # seconds between writes of the status
SHOWN_PACKAGES = ("torch", "torchvision", "safetensors")
MEANWHILE = {
    RunState.PAUSED: RunState.PAUSING,
    RunState.STOPPED: RunState.STOPPING,
    RunState.INTERRUPTED: RunState.STOPPING,
}
REASONS = {RunState.INTERRUPTED: "The app was closed. Resume goes on where it was."}
OnUpdate = Callable[[Status], None]
LoadImages = Callable[[Split], ImageSet]
log = logging.getLogger(__name__)
NO_MEMORY = "can't allocate memory"  # how torch on a CPU says it, in a RuntimeError
NO_SPACE = "No space left on device"  # how safetensors says it, in an error of its own


class Control:
    """How others ask a run to pause or stop; it looks after every batch."""

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
    """Train a run to its end, or to the next request to pause or stop; never raises.

    Whatever happens, what the run had is kept, and the returned status says how it ended.

    Args:
        folder: the run, with its lock held by the caller.
        control: asked for a pause or stop after every batch.
        on_update: called with each new status.
        checkpoints_root: where the checkpoint goes; the default folder if None.
        load_images: where the images come from.
    """
    session = _Session(folder, control, on_update, checkpoints_root)
    try:
        session.prepare(load_images)
        wanted = session.train()
        session.end(wanted)
    except Exception as error:  # noqa: BLE001 - a run must end as failed, whatever failed
        session.fail(error)
    return session.status


class _Session:
    """One stretch of work on a run, from its start or a resume to its next end."""

    def __init__(
        self, folder: RunFolder, control: Control, on_update: OnUpdate, root: Path | None
    ) -> None:
        self.folder, self.control, self.on_update, self.root = folder, control, on_update, root
        self.status = Status(RunState.RUNNING, "preparing")
        self.began = time.perf_counter()
        self.elapsed_before = 0.0

    def prepare(self, load_images: LoadImages) -> None:
        before = self.folder.status()
        spec = self.folder.spec()
        config = config_from(spec.kind, spec.config)
        device = resolve_device(config.device)
        self._tell(before.moved(RunState.RUNNING))
        train, validation = load_images(Split.TRAIN), load_images(Split.VALIDATION)
        state = self.folder.load_state()
        start = load_start(config, self.root) if state is None else None
        self.training = Training(config, train, validation, device, start)
        self.data_digest = train.digest
        self.held_out = (load_images(Split.TEST), validation)
        if state is not None:
            self.training.load_state_dict(state["training"])
            self.elapsed_before = state["elapsed"]
        self.first_progress = self.training.progress()
        epoch = self.first_progress * config.epochs
        self.folder.drop_metrics_after(epoch + 1e-9)
        here = self.status.moved(RunState.RUNNING)  # told anew: the metrics have changed
        here = replace(here, progress=self.first_progress, epoch=epoch)
        self._tell(replace(here, device=describe_device(device)))
        self.began = time.perf_counter()

    def train(self) -> RunState | None:
        """Train on; returns the state asked for, or None when all epochs are done."""
        if self.control.wanted is not None:
            return self.control.wanted
        last_write = 0.0
        for metrics in self.training.run():
            self._note(metrics)
            now = time.perf_counter()
            due = metrics is not None and now - last_write > STATUS_EVERY
            if due or isinstance(metrics, EpochMetrics):
                last_write = now
                self._tell(self._progressed())
            if self.control.wanted is not None and self.training.progress() < 1:
                return self.control.wanted
        return None

    def end(self, wanted: RunState | None) -> None:
        """Leave a checkpoint when finished, else the state to go on from."""
        self._save_state()
        self.status = self._progressed()
        if wanted is not None:
            self._tell(self.status.moved(wanted, REASONS.get(wanted, "")))
            return
        info = self._save_checkpoint(self.folder.spec().name)
        self._tell(replace(self.status.moved(RunState.FINISHED), checkpoint=info.name))
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

    def _note(self, metrics: StepMetrics | EpochMetrics | None) -> None:
        if isinstance(metrics, StepMetrics):
            self.folder.append_metrics({"kind": "step", **asdict(metrics)})
        elif isinstance(metrics, EpochMetrics):
            self.folder.append_metrics({"kind": "epoch", **asdict(metrics)})
            self.status = replace(self.status, images_per_second=metrics.images_per_second)
            every = self.training.config.snapshot_every
            if every and metrics.epoch % every == 0 and metrics.epoch < self.training.config.epochs:
                self._keep_snapshot(metrics.epoch)
            self._save_state()

    def _keep_snapshot(self, epoch: int) -> None:
        """Keep the members as a checkpoint, unless that was done before an interruption."""
        name = snapshot_name(self.folder.spec().name, epoch)
        folder = (self.root or checkpoints.checkpoints_folder()) / name
        with contextlib.suppress(CheckpointError):  # there is none, or it is a broken one
            before = checkpoints.load(folder).state_dict()
            now = self.training.ensemble().state_dict()
            if before.keys() == now.keys() and all(before[k].equal(now[k].cpu()) for k in now):
                return
        self._save_checkpoint(name)

    def _elapsed(self) -> float:
        return self.elapsed_before + time.perf_counter() - self.began

    def _progressed(self) -> Status:
        progress = self.training.progress()
        session = time.perf_counter() - self.began
        done = progress - self.first_progress
        speed = self.status.images_per_second
        if done > 0 and session > 0:
            config = self.training.config
            images = config.epochs * config.training_images * config.members
            speed = done * images / session
        return replace(
            self.status,
            progress=progress,
            epoch=progress * self.training.config.epochs,
            seconds_left=session / done * (1 - progress) if done > 0 else None,
            images_per_second=speed,
            elapsed=self._elapsed(),
            updated=time.time(),
        )

    def _save_state(self) -> None:
        state = {"training": self.training.state_dict(), "elapsed": self._elapsed()}
        self.folder.save_state(state)

    def _save_checkpoint(self, name: str) -> checkpoints.CheckpointInfo:
        """Keep the members as they are now under this name, or the next one that is free."""
        ensemble = self.training.ensemble()
        device = self.training.device
        results = [
            row for images in self.held_out for row in clean_accuracy(ensemble, images.to(device))
        ]
        history = [
            {k: v for k, v in row.items() if k != "kind"}
            for row in self.folder.metrics()
            if row["kind"] == "epoch"
        ]
        config = self.training.config
        for candidate in [name, *(f"{name[:61]}-{i}" for i in range(2, 100))]:
            if (self.root or checkpoints.checkpoints_folder()).joinpath(candidate).exists():
                continue
            return checkpoints.save(
                candidate,
                ensemble,
                method=str(config.method),
                root=self.root,
                history=history,
                seed=config.seed,
                config=config.to_dict(),
                data_digest=self.data_digest,
                versions=package_versions(),
                device=self.status.device,
                training_seconds=round(self._elapsed(), 1),
                results=[row.to_dict() for row in results],
            )
        raise CheckpointError(f"the names {name!r} to '{name}-99' are all taken; rename the run.")

    def _tell(self, status: Status) -> None:
        if status.state.active and self.control.wanted is not None:
            status = replace(status, state=MEANWHILE[self.control.wanted])
        self.status = status
        self.on_update(status)
        self.folder.write_status(status)


def package_versions() -> dict[str, str]:
    """Versions of Python and of those packages there are that the numbers depend on."""
    versions = {"python": platform.python_version()}
    for name in SHOWN_PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


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


def snapshot_name(run: str, epoch: int) -> str:
    """The name of the checkpoint that a run leaves behind after an epoch."""
    ending = f"-e{epoch}"
    return run[: 64 - len(ending)] + ending


def new_run_name(config: TrainingConfig, taken: set[str]) -> str:
    """A name that says what the run is, such as vanilla-3xconv-s0, not among those taken."""
    base = f"{config.method}-{config.members}xconv-s{config.seed}"
    for candidate in [base, *(f"{base}-{i}" for i in range(2, 1000))]:
        if candidate not in taken:
            return candidate
    raise RunError(f"all names from {base} to {base}-999 are taken; give the run a name.")
