"""The report's Figures 2 to 4 again: losses against epochs, and what it says of their course.

The report's figures are pictures without data: only our own curves can be drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dverge.checkpoints import CheckpointInfo, read_history
from dverge.reproduction.figure_statements import OVERFITS_AT, STALLS_AT, figure_statements
from dverge.reproduction.learning import Curves, History
from dverge.reproduction.statements import Statement
from dverge.reproduction.trained import trained_as

ReadHistory = Callable[[CheckpointInfo], History]


@dataclass(frozen=True)
class ReportFigure:
    """A figure of the report.

    Attributes:
        number: as the report counts.
        caption: as printed.
        method, epochs: of the training it is about.
        turns: the epoch that the report names as the turn of the losses of "training" and of
            "validation".
        members_only: validation losses are the members', not the mixture's.
    """

    number: int
    caption: str
    method: str
    epochs: int
    turns: dict[str, int]
    members_only: bool = False


REPORT_FIGURES = (
    ReportFigure(
        2,
        "Training and Validation Loss of Three Baseline Models as a Function of the Epochs",
        "vanilla",
        100,
        {"validation": OVERFITS_AT},
        members_only=True,
    ),
    ReportFigure(
        3,
        "Training Loss of the Three Submodels of the DVERGE Model Mixture, and Validation Loss of "
        "the DVERGE Model Mixture, as a Function of the Epochs",
        "dverge",
        200,
        {"training": 200},
    ),
    ReportFigure(
        4,
        "Training Loss of the Three Submodels of the DVERGE+AdvT Model Mixture, and Validation "
        "Loss of the DVERGE+AdvT Model Mixture, as a Function of the Epochs",
        "dverge-advt",
        50,
        {"training": STALLS_AT, "validation": STALLS_AT},
    ),
)
STAND_IN = 30  # epochs of the vanilla training to show while there is none of 100


@dataclass(frozen=True)
class FigureAgain:
    """A figure of the report, and the trainings here that are as it says.

    Attributes:
        printed: what the report shows.
        curves: of each training, by seed.
        statements: what the report says of it, judged.
    """

    printed: ReportFigure
    curves: tuple[Curves, ...]
    statements: tuple[Statement, ...]

    @property
    def whole(self) -> bool:
        """The trainings are as long as the report's."""
        return all(each.epochs >= self.printed.epochs for each in self.curves)


def reproduce_figures(
    infos: Sequence[CheckpointInfo], history: ReadHistory = read_history
) -> list[FigureAgain]:
    """Figures 2 to 4 from the checkpoints' histories.

    Args:
        infos: the checkpoints there are.
        history: a checkpoint's rows, one an epoch.

    Raises:
        CheckpointError: a history cannot be read.
    """
    again = []
    for printed in REPORT_FIGURES:
        found = trained_as(infos, printed.method, printed.epochs)
        if not found and printed.method == "vanilla":
            found = trained_as(infos, "vanilla", STAND_IN)
        curves = (Curves(info, history(info)) for info in found)
        kept = tuple(each for each in curves if each.history)
        again.append(FigureAgain(printed, kept, figure_statements(printed.number, kept)))
    return again
