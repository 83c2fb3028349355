"""A process for a test to end: python -m tests.runs.train_slowly FOLDER, works on one run.

With a second argument it ends by itself, by an error, as soon as an epoch is saved.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch

from dverge.runs import RunManager, work
from tests.runs.small import ALL, CONFIG, LONG, Gate, gated, load_images, until

PAUSE = 0.05  # seconds between batches


def main(root: Path, leave: bool) -> None:
    torch.set_num_threads(1)
    gate = Gate()
    gate.then = dict.fromkeys(range(1, ALL + 1), lambda: time.sleep(PAUSE))
    work.VanillaTraining = gated(gate)  # type: ignore[misc]
    manager = RunManager(root / "runs", root / "checkpoints", load_images)
    run = manager.submit(CONFIG, "killed")
    if leave:
        until((root / "runs" / run / "state.pt").exists, "an epoch is saved")
        raise KeyboardInterrupt
    manager.wait(run, LONG)


if __name__ == "__main__":
    main(Path(sys.argv[1]), leave=len(sys.argv) > 2)
