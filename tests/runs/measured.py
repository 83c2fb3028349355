"""An evaluation small enough for a test, whose pieces are counted and stand at a gate."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dverge import checkpoints
from dverge.evaluation.evaluation import Evaluation
from dverge.evaluation.protocols import EvaluationConfig, Protocol
from dverge.models import Ensemble, seeded_conv
from dverge.results import Result
from dverge.runs import RunManager, RunState, Status
from tests.runs.small import LONG, Gate, load_images

Rows = list[dict[str, Any]]
NAMES = ("one", "two")
CONFIG_OF_TWO = EvaluationConfig.of(NAMES, Protocol.REPORT, device="cpu")
MEASUREMENTS = 2 * len(CONFIG_OF_TWO.measurements())
PIECES = 2 * (1 + 3 * 3)  # clean, and three attacks on two members and the mixture, one batch each
YIELDS = PIECES + MEASUREMENTS
FIRST_HALF = YIELDS // 2  # those of the first checkpoint


def save_two(root: Path) -> Path:
    """Two checkpoints of two members each; returns the folder."""
    for i, name in enumerate(NAMES):
        members = [seeded_conv(10 * i + j) for j in range(2)]
        checkpoints.save(name, Ensemble(members), method="vanilla", root=root / "checkpoints")
    return root / "checkpoints"


def gated_evaluation(gate: Gate, pieces: list[None]) -> type[Evaluation]:
    """The evaluation, with a gate after every yield, which a session counts from 1.

    Args:
        gate: where it stands.
        pieces: gets one entry a piece of work that was done.
    """

    class Gated(Evaluation):
        def run(self) -> Iterator[list[Result] | None]:
            for number, rows in enumerate(super().run(), 1):
                if rows is None:
                    pieces.append(None)
                gate.arrive(number)
                yield rows

    return Gated


def untimed(rows: Rows) -> Rows:
    """The rows without what depends on the clock."""
    return [{k: v for k, v in r.items() if k not in ("seconds", "images_per_second")} for r in rows]


def evaluated(root: Path) -> Rows:
    """The rows that the evaluation comes to, uninterrupted and without a run."""
    made = (rows for rows in Evaluation(CONFIG_OF_TWO, load_images, save_two(root)).run() if rows)
    rows = [
        {"kind": "result", "epoch": float(number), **row.to_dict()}
        for number, rows in enumerate(made, 1)
        for row in rows
    ]
    return untimed(rows)


def ended(manager: RunManager, run: str, state: RunState) -> Status:
    status = manager.wait(run, LONG)
    assert status.state is state, status.message
    return status


def stopped_at(number: int, manager: RunManager, gate: Gate, end: str = "pause") -> str:
    """A run paused or stopped after so many yields."""
    gate.close_at(number)
    run = manager.submit(CONFIG_OF_TWO, "again")
    gate.wait()
    getattr(manager, end)(run)
    gate.open()
    ended(manager, run, RunState.PAUSED if end == "pause" else RunState.STOPPED)
    return run
