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

KEEP_EVERY = 5.0  # seconds of work that are lost at most when the process is killed


class EvaluationJob(Job):
    """Measures checkpoints. Its results are the run's metrics; it saves nothing else.

    Complete measurements are kept with their checkpoint, and are read from there when the job is
    resumed. It therefore starts at position 0 each time, and the rows from before are dropped.

    Args:
        config: what to measure.
        root: where checkpoints are; the default folder if None.
        load_images: where the images come from.
    """

    def __init__(
        self, config: EvaluationConfig, root: Path | None, load_images: LoadImages
    ) -> None:
        self.config, self.root, self.load_images = config, root, load_images
        self.measured, self.kept_share = 0, 0.0

    def prepare(self, state: dict[str, Any] | None) -> None:
        self.evaluation = Evaluation(self.config, load_images=self.load_images, root=self.root)
        self.device = self.evaluation.device
        self.loaded = state or {}
        if state is not None:
            self.evaluation.load_state_dict(state)

    def run(self) -> Iterator[Note | None]:
        saved, before, working = time.perf_counter(), 0.0, False
        for results in self.evaluation.run():
            if not working:  # except for a first piece, this was kept or is in the state
                self.kept_share += self.evaluation.progress() - before
            before, working = self.evaluation.progress(), results is None
            now = time.perf_counter()
            keep = now - saved > KEEP_EVERY
            saved = now if keep else saved
            yield Note([] if results is None else self._rows(results), keep)

    def progress(self) -> float:
        return self.evaluation.progress()

    def worked(self) -> float:
        return max(0.0, self.evaluation.progress() - self.kept_share)

    def position(self) -> float:
        return float(self.measured)

    def state_dict(self) -> dict[str, Any]:
        """Of the current measurement; before it is reached, the state that was loaded."""
        return self.evaluation.state_dict() or self.loaded

    def images(self) -> float | None:
        return None  # a clean image and one under attack cannot be added up

    def finish(self, folder: RunFolder, elapsed: float) -> str | None:
        """Check that all was measured: the results are written already.

        Raises:
            RunError: something could not be measured.
        """
        if self.evaluation.failures:
            raise RunError(" ".join(self.evaluation.failures))
        return None

    def _rows(self, results: list[Result]) -> list[dict[str, Any]]:
        """The results of one measurement as rows of the metrics."""
        self.measured += 1
        where = {"kind": "result", "epoch": float(self.measured)}
        return [{**where, **result.to_dict()} for result in results]
