"""A run small enough for a test, and a gate that holds its work at a chosen point."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dverge.checkpoints import CheckpointInfo
from dverge.checkpoints import load as load_checkpoint
from dverge.checkpoints import read as read_checkpoint
from dverge.data import ImageSet, Split, load
from dverge.evaluation.protocols import EvaluationConfig
from dverge.runs import Control, RunFolder, RunManager, RunState, Status, execute
from dverge.training import (
    DvergeAdvtConfig,
    DvergeConfig,
    EpochMetrics,
    Method,
    Schedule,
    StepMetrics,
    Training,
    TrainingConfig,
    VanillaConfig,
)

PER_EPOCH, ALL = 5, 15  # batches
COMMON: dict[str, Any] = {
    "members": 2,
    "epochs": 3,
    "batch_size": 20,
    "learning_rate": 0.02,
    "training_images": 100,
    "seed": 5,
    "device": "cpu",
    "schedule": Schedule.COSINE,
}
CONFIG = VanillaConfig(**COMMON)
SHORT = VanillaConfig(**COMMON | {"epochs": 1})
DVERGE = DvergeConfig(**COMMON, distill_steps=2, clean_weight=1)
CONFIGS: dict[Method, TrainingConfig] = {
    Method.VANILLA: CONFIG,
    Method.DVERGE: DVERGE,
    Method.DVERGE_ADVT: DvergeAdvtConfig(**COMMON, distill_steps=2, adv_steps=2),
}
LONG = 60.0  # seconds; deadlines are far, no test waits for one
PARTS = {Split.TRAIN: (0, 120), Split.VALIDATION: (500, 516), Split.TEST: (600, 700)}


@dataclass(frozen=True)
class Outcome:
    """What a run ends with: weights, and the epochs' figures without those of the clock."""

    weights: list[Tensor]
    epochs: list[dict[str, Any]]


def load_images(split: Split) -> ImageSet:
    """The splits of a run, made of the bundled sample."""
    sample = load(Split.SAMPLE)
    chosen = torch.randperm(1000, generator=torch.Generator().manual_seed(0))[slice(*PARTS[split])]
    return ImageSet(split, sample.images[chosen], sample.labels[chosen], sample.indices[chosen])


def until(ready: Callable[[], Any], what: str) -> None:
    """Wait until something is true, or fail saying what did not happen."""
    deadline = time.monotonic() + LONG
    while not ready():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.005)


def weights_of(checkpoint: CheckpointInfo) -> list[Tensor]:
    members = load_checkpoint(checkpoint).members
    return [value for member in members for value in member.state_dict().values()]


def same(weights: list[Tensor], expected: list[Tensor]) -> bool:
    """Bit for bit."""
    return all(torch.equal(a, b) for a, b in zip(weights, expected, strict=True))


def untimed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The epochs' rows without what depends on the clock; a history has no "kind"."""
    clock = ("seconds", "images_per_second", "kind")
    epochs = [row for row in rows if "val_loss" in row]
    return [{k: v for k, v in row.items() if k not in clock} for row in epochs]


def uninterrupted(config: TrainingConfig, root: Path) -> Outcome:
    """Work through a run in a new folder."""
    folder = RunFolder.create(root / "runs", "whole", str(config.method), config.to_dict())
    places: dict[str, Any] = {"checkpoints_root": root / "checkpoints", "load_images": load_images}
    status = execute(folder, Control(), lambda status: None, **places)
    assert status.state is RunState.FINISHED, status.message
    info = read_checkpoint(root / "checkpoints" / "whole")
    return Outcome(weights_of(info), untimed(folder.metrics()))


class Gate:
    """Something to be done in the thread of the work, after pieces of one's choice."""

    def __init__(self) -> None:
        self.then: dict[int, Callable[[], None]] = {}
        self.reached = threading.Event()
        self._open = threading.Event()

    def close_at(self, piece: int) -> None:
        """Hold the work once, after so many pieces, until the gate is opened."""
        self.reached.clear()
        self._open.clear()
        self.then[piece] = self._hold

    def fail_at(self, piece: int, error: Exception) -> None:
        """Make the work fail once, after so many pieces."""

        def fail() -> None:
            raise error

        self.then[piece] = fail

    def wait(self) -> None:
        """Wait until the work is held."""
        assert self.reached.wait(LONG), "no work came to the gate"

    def open(self) -> None:
        self._open.set()

    def arrive(self, piece: int) -> None:
        self.then.pop(piece, lambda: None)()

    def _hold(self) -> None:
        self.reached.set()
        assert self._open.wait(LONG), "the gate was never opened"

    def loader(self) -> Callable[[Split], ImageSet]:
        """load_images, held where the gate is closed at piece 0."""

        def held(split: Split) -> ImageSet:
            self.arrive(0)
            return load_images(split)

        return held


def gated(gate: Gate) -> type[Training]:
    """The training, with a gate after every batch."""

    class Gated(Training):
        def run(self) -> Iterator[StepMetrics | EpochMetrics | None]:
            for metrics in super().run():
                gate.arrive(self.epoch * self.batches_per_epoch + self.batch)
                yield metrics

    return Gated


Config = TrainingConfig | EvaluationConfig


def ended(manager: RunManager, run: str, state: RunState = RunState.FINISHED) -> Status:
    """The run's last status, once it has ended as expected."""
    status = manager.wait(run, LONG)
    assert status.state is state, status.message
    return status


def held_at(
    piece: int, manager: RunManager, gate: Gate, config: Config = CONFIG, name: str = "run"
) -> str:
    """A new run that is held after so many pieces."""
    gate.close_at(piece)
    run = manager.submit(config, name)
    gate.wait()
    return run


def ended_at(
    piece: int, manager: RunManager, gate: Gate, config: Config = CONFIG, end: str = "pause"
) -> str:
    """A new run that is paused or stopped after so many pieces."""
    run = held_at(piece, manager, gate, config)
    getattr(manager, end)(run)
    gate.open()
    ended(manager, run, RunState.PAUSED if end == "pause" else RunState.STOPPED)
    return run
