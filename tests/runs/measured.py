"""An evaluation small enough for a test, whose pieces are counted and can be held at a gate."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dverge import checkpoints
from dverge.evaluation.evaluation import Evaluation
from dverge.evaluation.protocols import EvaluationConfig, Protocol
from dverge.models import Ensemble, seeded_conv
from dverge.results import Result
from tests.runs.small import Gate, load_images

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
        gate: where it is held.
        pieces: gets one entry for each piece of work that was done.
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
    """The rows of the evaluation, uninterrupted and without a run."""
    made = (rows for rows in Evaluation(CONFIG_OF_TWO, load_images, save_two(root)).run() if rows)
    rows = [
        {"kind": "result", "epoch": float(number), **row.to_dict()}
        for number, rows in enumerate(made, 1)
        for row in rows
    ]
    return untimed(rows)
