"""The work of a run: a job in pieces, and the training of an ensemble as one."""

from __future__ import annotations

import contextlib
import importlib.metadata
import platform
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from dverge import checkpoints
from dverge.checkpoints import CheckpointInfo
from dverge.data import ImageSet, Split
from dverge.devices import describe_device, resolve_device
from dverge.errors import CheckpointError, FileError
from dverge.evaluation.predictions import clean_accuracy
from dverge.runs.folder import RunFolder
from dverge.training import EpochMetrics, StepMetrics, Training, TrainingConfig, load_start

VERSIONED_PACKAGES = ("torch", "torchvision", "safetensors")
LoadImages = Callable[[Split], ImageSet]


@dataclass(frozen=True)
class Note:
    """What a job reports between two pieces of work.

    Attributes:
        rows: for the run's metrics; each has a "kind" and, as "epoch", the job's position.
        keep: the state should be saved now.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    keep: bool = False


class Job(ABC):
    """A run's work, in pieces: it can be stopped after each of them, and continued from a state.

    Attributes:
        device: where it works; known once it is prepared.
    """

    device: torch.device

    @abstractmethod
    def prepare(self, state: dict[str, Any] | None) -> None:
        """Load everything that is needed, and return to where the state was taken, if any.

        Raises:
            DvergeError: something is missing or does not fit.
        """

    @abstractmethod
    def run(self) -> Iterator[Note | None]:
        """Work to the end, yielding after every piece: a note, or None if nothing is to report."""

    @abstractmethod
    def progress(self) -> float:
        """Share that is done, 0 to 1."""

    @abstractmethod
    def worked(self) -> float:
        """Share done since it was prepared, from which the remaining time is estimated."""

    @abstractmethod
    def position(self) -> float:
        """Epochs done; of an evaluation, measurements: Status.epoch and the "epoch" of rows."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Everything needed to resume, as tensors and plain values."""

    @abstractmethod
    def images(self) -> float | None:
        """Images that the whole job processes, for its speed; None if that has no meaning."""

    def save_snapshot(self, folder: RunFolder, elapsed: float) -> None:  # noqa: B027
        """Save what the job makes on its way; called after a note to keep, before the state is.

        Args:
            folder: the run's, for its name and metrics.
            elapsed: seconds worked on it.
        """

    @abstractmethod
    def finish(self, folder: RunFolder, elapsed: float) -> str | None:
        """Save the outcome; returns the name of the checkpoint, if any.

        Args: as of save_snapshot().

        Raises:
            DvergeError: it is less than was asked for; the run has failed.
        """


class TrainingJob(Job):
    """Trains an ensemble, which becomes a checkpoint.

    Args:
        config: what to train.
        root: where checkpoints are; the default folder if None.
        load_images: where the images come from.

    Raises:
        ConfigError: the device is not on this machine.
    """

    def __init__(self, config: TrainingConfig, root: Path | None, load_images: LoadImages) -> None:
        self.config, self.load_images = config, load_images
        self.root = root or checkpoints.checkpoints_folder()
        self.device = resolve_device(config.device)

    def prepare(self, state: dict[str, Any] | None) -> None:
        train, validation = self.load_images(Split.TRAIN), self.load_images(Split.VALIDATION)
        start = load_start(self.config, self.root) if state is None else None
        self.training = Training(self.config, train, validation, self.device, start)
        self.data_digest = train.digest
        self.held_out = (self.load_images(Split.TEST), validation)
        if state is not None:
            self.training.load_state_dict(state)
        self.first_progress = self.training.progress()

    def run(self) -> Iterator[Note | None]:
        for metrics in self.training.run():
            if isinstance(metrics, StepMetrics):
                yield Note([{"kind": "step", **asdict(metrics)}])
            elif isinstance(metrics, EpochMetrics):
                yield Note([{"kind": "epoch", **asdict(metrics)}], keep=True)
            else:
                yield None

    def progress(self) -> float:
        return self.training.progress()

    def worked(self) -> float:
        return self.training.progress() - self.first_progress

    def position(self) -> float:
        return self.training.progress() * self.config.epochs

    def state_dict(self) -> dict[str, Any]:
        return self.training.state_dict()

    def images(self) -> float | None:
        return self.config.epochs * self.config.training_images * self.config.members

    def save_snapshot(self, folder: RunFolder, elapsed: float) -> None:
        """Save the members as a checkpoint after each config.snapshot_every epochs but the last.

        One that was saved before an interruption is not saved twice.

        Args: as of Job.save_snapshot().
        """
        every, epoch = self.config.snapshot_every, self.training.epoch
        if not every or epoch % every != 0 or epoch >= self.config.epochs:
            return
        name = snapshot_name(folder.spec().name, epoch)
        with contextlib.suppress(CheckpointError, FileError):  # there is none, or it is broken
            before = checkpoints.load(self.root / name).state_dict()
            now = self.training.ensemble().state_dict()
            if before.keys() == now.keys() and all(before[k].equal(now[k].cpu()) for k in now):
                return
        self._save_checkpoint(name, folder, elapsed)

    def finish(self, folder: RunFolder, elapsed: float) -> str | None:
        return self._save_checkpoint(folder.spec().name, folder, elapsed).name

    def _save_checkpoint(self, name: str, folder: RunFolder, elapsed: float) -> CheckpointInfo:
        """Save the members as they are now under this name, or the next one that is free."""
        ensemble = self.training.ensemble()
        held_out = (images.to(self.device) for images in self.held_out)
        history = [
            {k: v for k, v in row.items() if k != "kind"}
            for row in folder.metrics()
            if row["kind"] == "epoch"
        ]
        for candidate in [name, *(f"{name[:61]}-{i}" for i in range(2, 100))]:
            if (self.root / candidate).exists():
                continue
            return checkpoints.save(
                candidate,
                ensemble,
                method=str(self.config.method),
                root=self.root,
                history=history,
                seed=self.config.seed,
                config=self.config.to_dict(),
                data_digest=self.data_digest,
                versions=package_versions(),
                device=describe_device(self.device),
                training_seconds=round(elapsed, 1),
                results=[each for images in held_out for each in clean_accuracy(ensemble, images)],
            )
        raise CheckpointError(f"the names {name!r} to '{name}-99' are all taken; rename the run.")


def package_versions() -> dict[str, str]:
    """Versions of Python and of the installed packages that the results depend on."""
    versions = {"python": platform.python_version()}
    for name in VERSIONED_PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


def snapshot_name(run: str, epoch: int) -> str:
    """The name of the checkpoint that a run saves after an epoch."""
    ending = f"-e{epoch}"
    return run[: 64 - len(ending)] + ending
