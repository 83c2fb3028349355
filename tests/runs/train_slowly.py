"""A process for a test to end: python -m tests.runs.train_slowly FOLDER METHOD works on one run.

With a further argument "leave" it ends by itself, by an error, as soon as an epoch is saved.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch

from dverge.runs import RunManager, jobs
from dverge.training import Method
from tests.runs.small import ALL, CONFIGS, LONG, Gate, gated, load_images, until

PAUSE = 0.05  # seconds between batches
THREADS = 2  # so that the training has others to end beside its own


def main(root: Path, method: Method, leave: bool) -> None:
    torch.set_num_threads(THREADS)
    gate = Gate()
    gate.then = dict.fromkeys(range(1, ALL + 1), lambda: time.sleep(PAUSE))
    jobs.Training = gated(gate)  # type: ignore[misc]
    manager = RunManager(root / "runs", root / "checkpoints", load_images)
    run = manager.submit(CONFIGS[method], "killed")
    if leave:
        until((root / "runs" / run / "state.pt").exists, "an epoch is saved")
        raise KeyboardInterrupt
    manager.wait(run, LONG)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Method(sys.argv[2]), leave="leave" in sys.argv[3:])
