"""The queues of runs: one a device, each worked through by one daemon thread."""

from __future__ import annotations

import atexit
import contextlib
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock

from dverge.data import load
from dverge.devices import resolve_device
from dverge.errors import DvergeError, RunError
from dverge.evaluation.protocols import EvaluationConfig
from dverge.runs.folder import LOCK_WAIT, RunFolder, runs_folder
from dverge.runs.jobs import LoadImages
from dverge.runs.records import EVALUATION, RunState, RunView, Status
from dverge.runs.work import MEANWHILE, REASONS, Control, config_of, execute
from dverge.runs.workers import lower_priority, queue_of
from dverge.stored import check_name
from dverge.training import TrainingConfig, with_fixed_start

CLOSE_WAIT = 10.0  # seconds; a piece of work is over in less


class RunManager:
    """Starts, pauses, resumes, stops, renames and deletes runs; safe to call from any thread.

    A run left active by a process that is gone is shown as interrupted. The lock file in a run's
    folder tells: the system frees it when its holder ends, however it ends.

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

        Whether the checkpoints to evaluate exist is looked at only when its turn comes.

        Raises:
            ConfigError: the name, the device or the number of members will not do.
            CheckpointError: the checkpoint to start from will not do.
            RunError: the folder cannot be written.
        """
        check_name(name)
        resolve_device(config.device)
        if isinstance(config, EvaluationConfig):
            kind = EVALUATION
        else:
            config, kind = with_fixed_start(config, self._checkpoints_root), str(config.method)
        with self._lock, _written(f"the run cannot be put in {self.root}"):
            folder = RunFolder.create(self.root, name, kind, config.to_dict())
            self._enqueue(folder)
        return folder.id

    def views(self) -> list[RunView]:
        """All runs, newest first; folders that are broken are left out (see broken())."""
        views = (self._view(folder) for folder in self._folders())
        return sorted(
            (view for view in views if isinstance(view, RunView)),
            key=lambda view: view.spec.created,
            reverse=True,
        )

    def broken(self) -> list[str]:
        """Messages about the folders that are no usable runs."""
        return [view for folder in self._folders() if isinstance(view := self._view(folder), str)]

    def get(self, run_id: str) -> RunView:
        """One run.

        Raises:
            RunError: there is none of that id, or it is broken.
        """
        return self._get(run_id, wait=0)

    def metrics(self, run_id: str) -> list[dict[str, Any]]:
        """A run's metrics rows.

        Raises:
            RunError: there is no run of that id, or its metrics cannot be read.
        """
        return self._folder(run_id).metrics()

    def pause(self, run_id: str) -> None:
        """Pause after the piece of work in hand, or take it out of the queue.

        Raises:
            RunError: it is not active, or another process works on it.
        """
        self._ask(run_id, RunState.PAUSED)

    def stop(self, run_id: str) -> None:
        """Stop after the piece of work in hand, or take it out of the queue; it keeps what it had.

        Raises:
            RunError: it is not active, or another process works on it.
        """
        self._ask(run_id, RunState.STOPPED)

    def resume(self, run_id: str) -> None:
        """Put a run that is not active at the end of its device's queue.

        Raises:
            RunError: it is active or finished, or its folder cannot be written.
            ConfigError: its device is not on this machine.
        """
        with self._lock:
            view = self._get(run_id, LOCK_WAIT)
            if not view.status.state.resumable:
                state = view.status.state
                raise RunError(f"run {view.spec.name!r} is {state}; it cannot be resumed.")
            with _written(f"run {view.spec.name!r} cannot be resumed"):
                self._enqueue(self._folder(run_id))

    def delete(self, run_id: str) -> None:
        """Delete a run's folder for good; a checkpoint it became stays.

        Raises:
            RunError: it is active, or its folder cannot be removed.
        """
        with self._lock:
            view = self._get(run_id, LOCK_WAIT)
            if view.status.state.active:
                raise RunError(f"run {view.spec.name!r} is {view.status.state}; stop it first.")
            folder = self._folder(run_id)
            folder.hold().release()  # another process may just have taken it
            with _written(f"run {view.spec.name!r} cannot be deleted"):
                folder.delete()
            self._live.pop(run_id, None)

    def rename(self, run_id: str, name: str) -> None:
        """Give a run another name; its checkpoint will be called so.

        Raises:
            ConfigError: the name cannot be a checkpoint's.
            RunError: there is no such run, or it cannot be written.
        """
        with self._lock, _written(f"run {run_id} cannot be renamed"):
            self._folder(run_id).rename(name)

    def wait(self, run_id: str, seconds: float) -> Status:
        """The run's status as soon as it is not active any more, or after so many seconds."""
        deadline = time.monotonic() + seconds
        while (status := self.get(run_id).status).state.active and time.monotonic() < deadline:
            time.sleep(0.02)
        return status

    def close(self, seconds: float = CLOSE_WAIT) -> None:
        """End all work within so many seconds, saved, to be resumed later.

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
        device = queue_of(config_of(folder.spec()))
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
            worker = threading.Thread(
                target=self._work, args=(device,), name=f"runs-{device}", daemon=True
            )
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
        """Let go of a run that ended, keeping its last status in case it could not be written."""
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

    def _folders(self) -> list[RunFolder]:
        try:
            paths = sorted(self.root.iterdir())
        except OSError:
            return []
        return [RunFolder(path) for path in paths if path.name[0] != "." and path.is_dir()]

    def _get(self, run_id: str, wait: float) -> RunView:
        view = self._view(self._folder(run_id), wait)
        if isinstance(view, str):
            raise RunError(view)
        return view

    def _view(self, folder: RunFolder, wait: float = 0) -> RunView | str:
        """A snapshot of a run, or the message that says why there is none.

        Whether another process holds it is found by trying its lock for so many seconds: with
        none, one who tries it at the same moment is taken for its holder.
        """
        with self._lock:
            try:
                spec = folder.spec()
                if (live := self._live.get(folder.id)) is not None:
                    return RunView(folder.id, spec, live)
                status = folder.status()
            except DvergeError as error:
                return str(error)
            settled = folder.settle(status, wait) if status.state.active else status
        return RunView(folder.id, spec, settled or status, elsewhere=settled is None)


@contextlib.contextmanager
def _written(what: str) -> Iterator[None]:
    """Make a failure of the file system in the block a RunError that starts with these words."""
    try:
        yield
    except OSError as error:
        raise RunError(f"{what}: {error.strerror or error}.") from error
