"""An evaluation as a run's work."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dverge.errors import RunError
from dverge.evaluation.evaluation import Evaluation
from dverge.evaluation.protocols import EvaluationConfig
from dverge.results import Result
from dverge.runs.folder import RunFolder
from dverge.runs.jobs import Job, LoadImages, Note

KEEP_EVERY = 5.0  # seconds of work that a process that is killed may lose


class EvaluationJob(Job):
    """Measures checkpoints. Its rows are the run's metrics; there is nothing else it leaves.

    Measurements that are complete are in a cache beside their checkpoint, and come again from
    there when the job is resumed. So it then stands at the beginning of its axis, and the rows
    of before are dropped.

    Args:
        config: what to measure.
        root: where checkpoints are; the default folder if None.
        load_images: where the images come from.
    """

    def __init__(
        self, config: EvaluationConfig, root: Path | None, load_images: LoadImages
    ) -> None:
        self.config, self.root, self.load_images = config, root, load_images
        self.measured, self.given = 0, 0.0

    def prepare(self, state: dict[str, Any] | None) -> None:
        self.evaluation = Evaluation(self.config, load_images=self.load_images, root=self.root)
        self.device = self.evaluation.device
        self.loaded = state or {}
        if state is not None:
            self.evaluation.load_state_dict(state)

    def run(self) -> Iterator[Note | None]:
        kept, before, working = time.perf_counter(), 0.0, False
        for rows in self.evaluation.run():
            if not working:  # but for a first piece, this came from the cache or the state
                self.given += self.evaluation.progress() - before
            before, working = self.evaluation.progress(), rows is None
            now = time.perf_counter()
            due = now - kept > KEEP_EVERY
            kept = now if due else kept
            yield Note([] if rows is None else self._told(rows), keep=due)

    def progress(self) -> float:
        return self.evaluation.progress()

    def worked(self) -> float:
        return max(0.0, self.evaluation.progress() - self.given)

    def position(self) -> float:
        return float(self.measured)

    def state_dict(self) -> dict[str, Any]:
        """Of the measurement in hand; before it is reached, the one it was loaded from."""
        return self.evaluation.state_dict() or self.loaded

    def images(self) -> float | None:
        return None  # a clean image and one under attack cannot be added up

    def finish(self, folder: RunFolder, elapsed: float) -> str | None:
        """Nothing is left behind but the rows that are written already.

        Raises:
            RunError: something could not be measured.
        """
        if self.evaluation.failures:
            raise RunError(" ".join(self.evaluation.failures))
        return None

    def _told(self, rows: list[Result]) -> list[dict[str, Any]]:
        """The rows of one measurement, as they are kept."""
        self.measured += 1
        where = {"kind": "result", "epoch": float(self.measured)}
        return [{**where, **row.to_dict()} for row in rows]
