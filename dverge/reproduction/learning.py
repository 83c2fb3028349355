"""The course of a loss over a training, looked at so that single noisy epochs do not decide."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from dverge.checkpoints import CheckpointInfo

History = list[dict[str, Any]]
SHARE = 0.1  # of a training's epochs: a level is the mean over so many
SMALLEST = 5  # epochs that a level is over at least


@dataclass(frozen=True)
class Curves:
    """A training's course: its checkpoint, and a row an epoch from the first."""

    info: CheckpointInfo
    history: History

    @property
    def epochs(self) -> int:
        return len(self.history)


class LearningCurve:
    """How a quantity goes over the epochs, told by its levels: means over several of them.

    Args:
        values: one an epoch, from the first.
    """

    def __init__(self, values: Sequence[float]) -> None:
        self.values = list(values)
        self.window = max(SMALLEST, round(SHARE * len(self.values)))

    @property
    def lowest_epoch(self) -> int:
        """The epoch, from 1, of the lowest value."""
        return self.values.index(min(self.values)) + 1

    @property
    def highest_epoch(self) -> int:
        return self.values.index(max(self.values)) + 1

    def level(self, epoch: int | None = None) -> float:
        """The mean over the window that ends with an epoch; with the last one if None."""
        end = min(max(epoch or len(self.values), self.window), len(self.values))
        part = self.values[max(0, end - self.window) : end]
        return sum(part) / len(part)

    @property
    def levels(self) -> list[float]:
        return [self.level(end) for end in range(self.window, len(self.values) + 1)]

    @property
    def risen(self) -> float:
        """How far the last level is above the lowest, relative to it."""
        lowest = min(self.levels, default=self.level())
        return (self.level() - lowest) / abs(lowest)

    @property
    def fallen(self) -> float:
        """How far the last level is below the highest, relative to it."""
        highest = max(self.levels, default=self.level())
        return (highest - self.level()) / abs(highest)

    def still_to_fall(self, epoch: int) -> float:
        """Share of the whole fall that comes after an epoch; of a loss that does not fall, 1."""
        whole = self.level(self.window) - self.level()
        return (self.level(epoch) - self.level()) / whole if whole > 0 else 1.0

    def explained(self, by: Sequence[Hashable]) -> float:
        """Share of the noise's variance that lies between groups of epochs, 0 to 1.

        The noise is what is left of the values when their running mean over two windows is taken
        off, without the first window, where the mean lags behind a steep fall.

        Args:
            by: the group of each epoch, such as the layer it drew.
        """
        noise = [v - self._running_mean(i) for i, v in enumerate(self.values)][self.window :]
        groups: dict[Hashable, list[float]] = {}
        for group, value in zip(by[self.window :], noise, strict=True):
            groups.setdefault(group, []).append(value)
        if not noise:
            return 0.0
        centre = sum(noise) / len(noise)
        total = sum((value - centre) ** 2 for value in noise)
        between = sum(len(each) * (sum(each) / len(each) - centre) ** 2 for each in groups.values())
        return between / total if total > 0 else 0.0

    def _running_mean(self, index: int) -> float:
        part = self.values[max(0, index - self.window) : index + self.window + 1]
        return sum(part) / len(part)
