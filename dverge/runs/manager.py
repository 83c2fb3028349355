"""The queues of runs: one for each device, each worked through by one daemon thread."""

from __future__ import annotations

import atexit
import contextlib
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from dverge import stored
from dverge.data import load
from dverge.devices import resolve_device
from dverge.errors import DvergeError, RunError
from dverge.evaluation.protocols import EvaluationConfig
from dverge.runs.folder import LOCK_WAIT, RunFolder, runs_folder
from dverge.runs.jobs import LoadImages
from dverge.runs.records import EVALUATION, RunState, RunView, Status
from dverge.runs.work import MEANWHILE, REASONS, Control, execute, lower_priority
from dverge.stored import Broken, check_name
from dverge.training import TrainingConfig, with_fixed_start

CLOSE_WAIT = 10.0  # seconds; no piece of work takes as long


class RunManager:
    """Starts, pauses, resumes, stops, renames and deletes runs; safe to call from any thread.

    A run left active by a process that has ended is shown as interrupted. The lock file in a run's
    folder shows it: the system frees it when its holder ends, however it ends.

    Args:
        root: folder of the runs; the default one if None.
        checkpoints_root: where checkpoints are; the default folder if None.
        load_images: where the images come from.
    """

    def __init__(
        self,
        root: Path | None = None,
        checkpoints_root: Path | None = None,
        load_images: LoadImages = load,
    ) -> None:
        self.root = root or runs_folder()
        self._checkpoints_root = checkpoints_root
        self._load_images = load_images
        self._lock = threading.RLock()
        self._queues: dict[str, list[str]] = {}
        self._workers: dict[str, threading.Thread] = {}
        self._controls: dict[str, Control] = {}
        self._live: dict[str, Status] = {}
        self._locks: dict[str, FileLock] = {}
        atexit.register(self.close)

    def submit(self, config: TrainingConfig | EvaluationConfig, name: str) -> str:
        """Put a new run at the end of its device's queue; returns its id.

        Whether the checkpoints to evaluate exist is checked only when the run starts.

        Raises:
            ConfigError: the name, the device or the number of members is not allowed.
            CheckpointError: the checkpoint to start from cannot be used.
            RunError: the folder cannot be written.
        """
        check_name(name)
        resolve_device(config.device)
        if isinstance(config, EvaluationConfig):
            kind = EVALUATION
        else:
            config, kind = with_fixed_start(config, self._checkpoints_root), str(config.method)
        with self._lock, _run_errors(f"the run cannot be put in {self.root}"):
            folder = RunFolder.create(self.root, name, kind, config.to_dict())
            self._enqueue(folder)
        return folder.id

    def views(self) -> list[RunView]:
        """All runs, newest first, without those that cannot be used; see broken()."""
        usable = (view for view in self._all() if isinstance(view, RunView))
        return sorted(usable, key=lambda view: view.spec.created, reverse=True)

    def broken(self) -> list[Broken]:
        """The folders that cannot be used as runs, and why."""
        return [view for view in self._all() if isinstance(view, Broken)]

    def get(self, run_id: str) -> RunView:
        """One run.

        Raises:
            RunError: there is none of that id, or it cannot be used.
        """
        return self._get(run_id, wait=0)

    def metrics(self, run_id: str) -> list[dict[str, Any]]:
        """A run's metrics, up to the first damaged row.

        Raises:
            RunError: there is no run of that id.
        """
        return self.read_metrics(run_id)[0]

    def read_metrics(self, run_id: str) -> tuple[list[dict[str, Any]], list[Broken]]:
        """metrics(), and their file if it is damaged.

        Raises:
            RunError: there is no run of that id.
        """
        return self._folder(run_id).read_metrics()

    def pause(self, run_id: str) -> None:
        """Pause after the current piece of work, or take it out of the queue.

        Raises:
            RunError: it is not active, or another process works on it.
        """
        self._ask(run_id, RunState.PAUSED)

    def stop(self, run_id: str) -> None:
        """Stop after the current piece of work, or take it out of the queue; what it had is kept.

        Raises:
            RunError: it is not active, or another process works on it.
        """
        self._ask(run_id, RunState.STOPPED)

    def resume(self, run_id: str) -> None:
        """Put a run that is not active at the end of its device's queue.

        Raises:
            RunError: it is active or finished, or its folder cannot be written.
            ConfigError: its device is not on this machine, or a setting is of a newer version.
        """
        with self._lock:
            view = self._get(run_id, LOCK_WAIT)
            if not view.status.state.resumable:
                state = view.status.state
                raise RunError(f"run {view.spec.name!r} is {state}; it cannot be resumed.")
            with _run_errors(f"run {view.spec.name!r} cannot be resumed"):
                self._enqueue(self._folder(run_id))

    def delete(self, run_id: str) -> None:
        """Delete a run's folder, also one that cannot be used; a checkpoint that it became stays.

        Raises:
            RunError: it is active.
            FileError: its folder cannot be removed.
        """
        with self._lock:
            stored.delete(self._idle(run_id).path)
            self._live.pop(run_id, None)

    def set_aside(self, run_id: str) -> None:
        """Rename the folder of a run that cannot be used to a hidden name.

        Raises:
            RunError: it is active.
            FileError: its folder cannot be renamed.
        """
        with self._lock:
            stored.set_aside(self._idle(run_id).path)
            self._live.pop(run_id, None)

    def rename(self, run_id: str, name: str) -> None:
        """Give a run another name, which its checkpoint will have, too.

        Raises:
            ConfigError: the name cannot be a checkpoint's.
            RunError: there is no such run, or it cannot be written.
        """
        with self._lock, _run_errors(f"run {run_id} cannot be renamed"):
            self._folder(run_id).rename(name)

    def wait(self, run_id: str, seconds: float) -> Status:
        """The run's status as soon as it is not active any more, or after so many seconds."""
        deadline = time.monotonic() + seconds
        while (status := self.get(run_id).status).state.active and time.monotonic() < deadline:
            time.sleep(0.02)
        return status

    def close(self, seconds: float = CLOSE_WAIT) -> None:
        """End all work within so many seconds, saved so that it can be resumed later.

        Called when the process ends: a thread still inside torch then would abort it.
        """
        with self._lock:
            for run_id in list(self._controls):
                self._end(run_id, RunState.INTERRUPTED)
            workers = list(self._workers.values())
        deadline = time.monotonic() + seconds
        for worker in workers:
            worker.join(max(0.0, deadline - time.monotonic()))

    def _ask(self, run_id: str, wanted: RunState) -> None:
        with self._lock:
            view = self.get(run_id)
            if run_id not in self._controls:
                state = "worked on by another process" if view.elsewhere else view.status.state
                raise RunError(f"run {view.spec.name!r} is {state}; it cannot be {wanted} here.")
            self._end(run_id, wanted)

    def _end(self, run_id: str, wanted: RunState) -> None:
        """Take a run out of its queue, or ask its worker; the manager's lock is held."""
        self._controls[run_id].ask(wanted)
        for queue in self._queues.values():
            if run_id in queue:
                queue.remove(run_id)
                ended = self._live[run_id].moved(wanted, REASONS.get(wanted, ""))
                self._release(RunFolder(self.root / run_id), ended)
                return
        self._live[run_id] = self._live[run_id].moved(MEANWHILE[wanted])

    def _enqueue(self, folder: RunFolder) -> None:
        """Take the run's lock and put it in its device's queue; the manager's lock is held."""
        device = queue_of(folder.spec().settings())
        lock = folder.hold()
        try:
            status = folder.status()
            if status.state is RunState.FINISHED:
                raise RunError(f"run {folder.id} has been finished by another process.")
            queued = status.moved(RunState.QUEUED)
            folder.write_status(queued)
        except BaseException:
            lock.release()
            raise
        self._live[folder.id] = queued
        self._locks[folder.id] = lock
        self._controls[folder.id] = Control()
        self._queues.setdefault(device, []).append(folder.id)
        if device not in self._workers or not self._workers[device].is_alive():
            name = f"runs-{device}"
            worker = threading.Thread(target=self._work, args=(device,), name=name, daemon=True)
            self._workers[device] = worker
            worker.start()

    def _work(self, device: str) -> None:
        """Work through a device's queue until it is empty."""
        lower_priority()
        while (job := self._next(device)) is not None:
            folder, control = job
            status = execute(
                folder,
                control,
                partial(self._update, folder.id),
                checkpoints_root=self._checkpoints_root,
                load_images=self._load_images,
            )
            with self._lock:
                self._release(folder, status)

    def _next(self, device: str) -> tuple[RunFolder, Control] | None:
        """The next run of a queue; None ends its worker, a later run starts another."""
        with self._lock:
            queue = self._queues[device]
            if not queue:
                del self._workers[device]
                return None
            run_id = queue.pop(0)
            return RunFolder(self.root / run_id), self._controls[run_id]

    def _update(self, run_id: str, status: Status) -> None:
        with self._lock:
            # An end is shown by _release, when the run can be resumed or deleted, not before.
            if status.state.active:
                self._live[run_id] = status

    def _release(self, folder: RunFolder, status: Status) -> None:
        """Let go of a run that ended, keeping its last status in case it cannot be written."""
        try:
            folder.write_status(status)
            self._live.pop(folder.id, None)
        except OSError:
            self._live[folder.id] = status
        self._controls.pop(folder.id, None)
        self._locks.pop(folder.id).release()

    def _folder(self, run_id: str) -> RunFolder:
        name = Path(run_id).name
        path = self.root / name
        if not name or name.startswith(".") or not path.is_dir():
            raise RunError(f"there is no run {run_id!r}; it may have been deleted.")
        return RunFolder(path)

    def _all(self) -> list[RunView | Broken]:
        try:
            paths = sorted(self.root.iterdir())
        except OSError:
            return []
        shown = (path for path in paths if path.name[0] != "." and path.is_dir())
        return [self._view(RunFolder(path)) for path in shown]

    def _idle(self, run_id: str) -> RunFolder:
        """The folder of a run that nobody works on; the manager's lock is held."""
        folder = self._folder(run_id)
        view = self._view(folder, LOCK_WAIT)
        if isinstance(view, RunView) and view.status.state.active:
            raise RunError(f"run {view.spec.name!r} is {view.status.state}; stop it first.")
        folder.hold().release()  # another process may just have taken it
        return folder

    def _get(self, run_id: str, wait: float) -> RunView:
        view = self._view(self._folder(run_id), wait)
        if isinstance(view, Broken):
            raise RunError(view.reason)
        return view

    def _view(self, folder: RunFolder, wait: float = 0) -> RunView | Broken:
        """A snapshot of a run, or the reason why there is none.

        Whether another process holds it is checked by trying its lock for `wait` seconds. Without a
        wait, another process that tries it at the same moment is taken for its holder.
        """
        with self._lock:
            try:
                spec = folder.spec()
                if (live := self._live.get(folder.id)) is not None:
                    return RunView(folder.id, spec, live)
                status = folder.status()
            except DvergeError as error:
                return Broken(folder.path, str(error))
            settled = folder.settle(status, wait) if status.state.active else status
        return RunView(folder.id, spec, settled or status, elsewhere=settled is None)


def queue_of(config: TrainingConfig | EvaluationConfig) -> str:
    """The name of the queue that a run belongs in: one for each device, however it is named.

    On a CPU evaluations have a queue of their own: nobody wants to wait hours for a training to
    see a result. On a GPU they have not: a graph cannot be captured beside another thread's work.

    Raises:
        ConfigError: the device is not on this machine.
    """
    device = resolve_device(config.device)
    if device.type == "cuda":
        return f"cuda:{torch.cuda.current_device() if device.index is None else device.index}"
    return f"{device}-evaluation" if isinstance(config, EvaluationConfig) else str(device)


@contextlib.contextmanager
def _run_errors(what: str) -> Iterator[None]:
    """Make a failure of the file system in the block a RunError that begins with this text."""
    try:
        yield
    except OSError as error:
        raise RunError(f"{what}: {error.strerror or error}.") from error
