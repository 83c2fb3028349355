"""The queues of runs: one a device, each worked through by one daemon thread."""

from __future__ import annotations

import os
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from dverge.data import load
from dverge.errors import DvergeError, RunError
from dverge.files import check_name
from dverge.runs.folder import RunFolder, RunSpec, RunState, Status, runs_folder
from dverge.runs.work import Control, LoadImages, execute
from dverge.training import VanillaConfig, resolve_device

LOW_PRIORITY = 10  # niceness of the worker threads, so that pages stay quick beside them


@dataclass(frozen=True)
class RunView:
    """A run as others see it: a snapshot.

    Attributes:
        id: its folder's name.
        spec: what it is.
        status: how it stands.
        elsewhere: another process works on it; it can only be watched.
    """

    id: str
    spec: RunSpec
    status: Status
    elsewhere: bool = False


class RunManager:
    """Starts, pauses, resumes, stops, renames and deletes runs; safe to call from any thread.

    A run left active by a process that is gone is shown as interrupted. The lock file in a run's
    folder tells: the system frees it when its holder ends, however it ends.

    Args:
        root: folder of the runs; the default one if None.
        checkpoints_root: where checkpoints go; the default folder if None.
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

    def submit(self, config: VanillaConfig, name: str) -> str:
        """Put a new run at the end of its device's queue; returns its id.

        Raises:
            ConfigError: the name or device will not do.
            RunError: the folder cannot be written.
        """
        check_name(name)
        resolve_device(config.device)
        try:
            folder = RunFolder.create(self.root, name, "vanilla", config.to_dict())
        except OSError as error:
            raise RunError(f"the run's folder cannot be made in {self.root}: {error}") from None
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
        view = self._view(self._folder(run_id))
        if isinstance(view, str):
            raise RunError(view)
        return view

    def metrics(self, run_id: str) -> list[dict[str, Any]]:
        """A run's metrics rows."""
        return self._folder(run_id).metrics()

    def pause(self, run_id: str) -> None:
        """Pause after the batch in hand, or take it out of the queue."""
        self._ask(run_id, RunState.PAUSED, RunState.PAUSING)

    def stop(self, run_id: str) -> None:
        """Stop after the batch in hand, or take it out of the queue; what it had is kept."""
        self._ask(run_id, RunState.STOPPED, RunState.STOPPING)

    def resume(self, run_id: str) -> None:
        """Put a run that is not active at the end of its device's queue.

        Raises:
            RunError: it is active or finished.
        """
        view = self.get(run_id)
        if not view.status.state.resumable:
            raise RunError(f"run {view.spec.name!r} is {view.status.state}; it cannot be resumed.")
        self._enqueue(self._folder(run_id))

    def delete(self, run_id: str) -> None:
        """Delete a run's folder for good; a checkpoint it became stays.

        Raises:
            RunError: it is active.
        """
        with self._lock:
            view = self.get(run_id)
            if view.status.state.active:
                raise RunError(f"run {view.spec.name!r} is {view.status.state}; stop it first.")
            self._live.pop(run_id, None)
            self._folder(run_id).delete()

    def rename(self, run_id: str, name: str) -> None:
        """Give a run another name; its checkpoint will be called so.

        Raises:
            ConfigError: the name cannot be a checkpoint's.
        """
        with self._lock:
            self._folder(run_id).rename(name)

    def wait(self, run_id: str, seconds: float) -> Status:
        """The run's status as soon as it is not active any more, or after so many seconds."""
        deadline = time.monotonic() + seconds
        while (status := self.get(run_id).status).state.active and time.monotonic() < deadline:
            time.sleep(0.02)
        return status

    def _ask(self, run_id: str, wanted: RunState, meanwhile: RunState) -> None:
        with self._lock:
            view = self.get(run_id)
            control = self._controls.get(run_id)
            if control is None:
                where = "by another process" if view.elsewhere else view.status.state
                raise RunError(f"run {view.spec.name!r} is {where}: there is nothing to {wanted}.")
            control.ask(wanted)
            for queue in self._queues.values():
                if run_id in queue:
                    queue.remove(run_id)
                    self._release(run_id, view.status.moved(wanted))
                    return
            self._live[run_id] = view.status.moved(meanwhile)

    def _enqueue(self, folder: RunFolder) -> None:
        config = VanillaConfig.from_dict(folder.spec().config)
        device = str(resolve_device(config.device))
        lock = FileLock(folder.lock_path, thread_local=False)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise RunError(f"run {folder.id} is in use by another process.") from None
        with self._lock:
            queued = folder.status().moved(RunState.QUEUED)
            folder.write_status(queued)
            self._live[folder.id] = queued
            self._locks[folder.id] = lock
            self._controls[folder.id] = Control()
            self._queues.setdefault(device, []).append(folder.id)
            if device not in self._workers:
                worker = threading.Thread(
                    target=self._work, args=(device,), name=f"runs-{device}", daemon=True
                )
                self._workers[device] = worker
                worker.start()

    def _work(self, device: str) -> None:
        """Work through a device's queue until it is empty."""
        lower_priority()
        while True:
            with self._lock:
                queue = self._queues[device]
                if not queue:
                    del self._workers[device]
                    return
                run_id = queue.pop(0)
                control = self._controls[run_id]
            status = execute(
                self._folder(run_id),
                control,
                lambda status, run_id=run_id: self._update(run_id, status),  # type: ignore[misc]
                checkpoints_root=self._checkpoints_root,
                load_images=self._load_images,
            )
            with self._lock:
                self._release(run_id, status)

    def _update(self, run_id: str, status: Status) -> None:
        with self._lock:
            self._live[run_id] = status

    def _release(self, run_id: str, status: Status) -> None:
        """Let go of a run that ended, keeping its last status in case it could not be written."""
        folder = self._folder(run_id)
        try:
            folder.write_status(status)
            del self._live[run_id]
        except OSError:
            self._live[run_id] = status
        del self._controls[run_id]
        self._locks.pop(run_id).release()

    def _folder(self, run_id: str) -> RunFolder:
        path = self.root / Path(run_id).name
        if not path.is_dir():
            raise RunError(f"there is no run {run_id!r}; it may have been deleted.")
        return RunFolder(path)

    def _folders(self) -> list[RunFolder]:
        if not self.root.is_dir():
            return []
        return [RunFolder(path) for path in sorted(self.root.iterdir()) if path.is_dir()]

    def _view(self, folder: RunFolder) -> RunView | str:
        """A snapshot of a run, or the message that says why there is none."""
        with self._lock:
            live = self._live.get(folder.id)
        try:
            spec = folder.spec()
            if live is not None:
                return RunView(folder.id, spec, live)
            status = folder.status()
        except DvergeError as error:
            return str(error)
        if not status.state.active:
            return RunView(folder.id, spec, status)
        if is_locked(folder):
            return RunView(folder.id, spec, status, elsewhere=True)
        reason = "The process that worked on it ended. Resume goes on from its last saved epoch."
        return RunView(folder.id, spec, status.moved(RunState.INTERRUPTED, reason))


def is_locked(folder: RunFolder) -> bool:
    """Whether some process holds the run."""
    lock = FileLock(folder.lock_path, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False


def lower_priority() -> None:
    """Make this thread, and the compute threads it starts, yield to the others (Linux only)."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOW_PRIORITY)
