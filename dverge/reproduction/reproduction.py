"""The report's tables again: each printed cell beside ours, and the mixtures that it lacks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from dverge.checkpoints import CheckpointInfo
from dverge.evaluation.naming import model_title
from dverge.evaluation.protocols import Protocol
from dverge.evaluation.store import ResultFile, all_results
from dverge.reproduction.tables import COLUMNS, MEMBERS, RECIPES, REPORT_TABLES, ReportTable
from dverge.reproduction.trained import (
    SETTINGS,
    Images,
    Trained,
    most_measured,
    snapshot_epoch,
    trained_as,
)
from dverge.results import MIXTURE_NAME, Result, models_of
from dverge.training import PRESETS, Method

ADVT = ReportTable("AdvT, 50 epochs", "advt", 50, {})  # what DVERGE+AdvT is to be compared with
_TUNED = PRESETS[Method.ADVT]["tuned"]
TUNED = ReportTable("The tuned recipe", "advt", _TUNED.epochs, {}, recipe="tuned")
_OTHER = ReportTable("Other recipes", "", 0, {})
ReadResults = Callable[[CheckpointInfo], list[ResultFile]]


@dataclass(frozen=True)
class Spread:
    """The same figure of one training or of several; all in per cent.

    Attributes:
        rows: one a training.
    """

    rows: tuple[Result, ...]

    @property
    def values(self) -> list[float]:
        return [row.accuracy for row in self.rows]

    @property
    def mean(self) -> float:
        return sum(self.values) / len(self.rows)

    @property
    def low(self) -> float:
        """Lower end of the 95 % interval; over several trainings, the lowest of theirs."""
        return min(row.ci_low for row in self.rows)

    @property
    def high(self) -> float:
        """Upper end, likewise."""
        return max(row.ci_high for row in self.rows)

    def covers(self, value: float) -> bool:
        return self.low <= value <= self.high

    @property
    def range(self) -> str:
        """The 95 % interval of one training; the lowest to the highest figure of several."""
        low, high = self.low, self.high
        if len(self.rows) > 1:
            low, high = min(self.values), max(self.values)
        return f"{low:.1f}–{high:.1f}"

    def __str__(self) -> str:
        count = f" over {len(self.rows)} trainings" if len(self.rows) > 1 else ""
        return f"{self.mean:.1f} ({self.range}{count})"


@dataclass(frozen=True)
class TableAgain:
    """A table of the report, or half of one, and the trainings here that are as it says."""

    printed: ReportTable
    trained: tuple[Trained, ...]

    @property
    def measured(self) -> bool:
        """There is a figure."""
        return any(each.figures for each in self.trained)

    def cell(self, protocol: Protocol, model: str, column: str) -> Spread | None:
        """Our figure, of all trainings that it was measured of; None if of none."""
        found = (each.figures.get((protocol, model, column)) for each in self.trained)
        rows = tuple(row for row in found if row is not None)
        return Spread(rows) if rows else None


@dataclass(frozen=True)
class Line:
    """A line of a table: a model of the report's, or, to compare with, one that it lacks.

    Attributes:
        title: for the screen.
        model: "member-1" …, "mixture".
        of: where our figures come from.
        printed: per cent, in the order of COLUMNS; empty for what the report lacks.
        baseline: it is not of the table's own training.
    """

    title: str
    model: str
    of: TableAgain
    printed: tuple[float, ...] = ()
    baseline: bool = False

    def cell(self, protocol: Protocol, column: str) -> Spread | None:
        return self.of.cell(protocol, self.model, column)

    def value(self, column: str) -> float | None:
        """What the report printed."""
        return self.printed[COLUMNS.index(column)] if self.printed else None

    def as_printed(self, column: str) -> str:
        """The report's figure with its decimals: three where it is below two per cent."""
        value = self.value(column)
        return "–" if value is None else f"{value:.3f}" if value < 2 else f"{value:.2f}"

    def comes_back(self, column: str) -> bool | None:
        """Our interval under the report's protocol covers what it printed; None without both."""
        value, ours = self.value(column), self.cell(Protocol.REPORT, column)
        return None if value is None or ours is None else ours.covers(value)


@dataclass(frozen=True)
class Reproduction:
    """All of the report's tables again.

    Attributes:
        tables: as REPORT_TABLES.
        advt: adversarial training alone, which the report lacks.
        tuned: the best recipe found for the same network.
        others: further trained ensembles that have figures: other recipes, other lengths.
        images: which ones the figures are of, by protocol; the same in all tables.
    """

    tables: tuple[TableAgain, ...]
    advt: TableAgain
    tuned: TableAgain
    others: tuple[Trained, ...]
    images: dict[Protocol, Images]

    def table(self, method: str, epochs: int) -> TableAgain:
        """The table of this training."""
        groups = (*self.tables, self.advt)
        return next(t for t in groups if (t.printed.method, t.printed.epochs) == (method, epochs))

    @property
    def vanilla(self) -> TableAgain:
        return self.table("vanilla", 30)

    def lines(self, table: TableAgain) -> list[Line]:
        """A table's lines: its models, then the mixtures to compare with."""
        lines = [
            Line(model_title(model), model, table, table.printed.rows.get(model, ()))
            for model in models_of(MEMBERS)
        ]
        if table.printed.method != "vanilla":
            lines.append(Line("vanilla mixture", MIXTURE_NAME, self.vanilla, baseline=True))
        if table.printed.method == "dverge-advt" and self.advt.measured:
            lines.append(Line("AdvT mixture", MIXTURE_NAME, self.advt, baseline=True))
        return lines

    @property
    def mixtures(self) -> list[Line]:
        """All mixtures: the report's, those it lacks, and those of other recipes."""
        lines = [Line("vanilla mixture", MIXTURE_NAME, self.vanilla, baseline=True)]
        named = {
            "DVERGE mixture": self.table("dverge", 200),
            "DVERGE+AdvT mixture": self.table("dverge-advt", 50),
            "AdvT mixture": self.advt,
            "tuned mixture": self.tuned,
        }
        for title, table in named.items():
            if table.measured:
                printed = table.printed.rows.get(MIXTURE_NAME, ())
                lines.append(Line(title, MIXTURE_NAME, table, printed, baseline=True))
        return lines + [
            Line(each.info.name, MIXTURE_NAME, TableAgain(_OTHER, (each,)), baseline=True)
            for each in self.others
        ]

    def returned(
        self, tables: Iterable[TableAgain] | None = None, mixtures: bool = False
    ) -> tuple[int, int, int]:
        """Cells whose printed figure our interval covers, cells measured here, and all printed.

        Args:
            tables: which; all if None.
            mixtures: of the mixtures alone.
        """
        chosen = self.tables if tables is None else tables
        lines = [line for table in chosen for line in self.lines(table) if line.printed]
        lines = [line for line in lines if not mixtures or line.model == MIXTURE_NAME]
        verdicts = [line.comes_back(column) for line in lines for column in COLUMNS]
        return verdicts.count(True), len(verdicts) - verdicts.count(None), len(verdicts)

    @property
    def headline(self) -> str:
        """How many of the report's figures come back."""
        (back, measured, due), (best, of, _) = self.returned(), self.returned(mixtures=True)
        if not measured:
            return f"None of the report's {due} figures has been measured here yet."
        which = f"the report's {due} figures"
        if measured < due:
            which = f"the {measured} of {which} that were measured here"
        mixtures = f", {best} of {of} for the mixtures" if of else ""
        return f"{back} of {which} lie within our 95 % intervals{mixtures}."


def reproduce(infos: Sequence[CheckpointInfo], results: ReadResults = all_results) -> Reproduction:
    """Find the report's trainings among checkpoints, and their figures.

    Args:
        infos: the checkpoints there are.
        results: what is kept of a checkpoint's evaluations.
    """
    printed = (*REPORT_TABLES, ADVT, TUNED)
    groups = [trained_as(infos, t.method, t.epochs, t.recipe) for t in printed]
    shown = [info for group in groups for info in group]
    kept = {info.name: results(info) for info in infos}
    images = {
        protocol: chosen
        for protocol in SETTINGS
        if (chosen := most_measured(protocol, (kept[info.name] for info in shown))) is not None
    }
    known = {info.name: Trained.of(info, kept[info.name], images) for info in infos}
    again = [
        TableAgain(table, tuple(known[info.name] for info in group))
        for table, group in zip(printed, groups, strict=True)
    ]
    digests = {info.digest for info in shown}
    others = (each for each in known.values() if each.info.digest not in digests)
    return Reproduction(
        tuple(again[:-2]), again[-2], again[-1], tuple(filter(_is_of_interest, others)), images
    )


def _is_of_interest(each: Trained) -> bool:
    """It was trained by a method of ours to its end, and something of it was measured."""
    whole = snapshot_epoch(each.info.name) is None
    return whole and each.info.card.method in RECIPES and bool(each.figures)


def pairs(ours: TableAgain, theirs: TableAgain) -> list[tuple[Trained, Trained]]:
    """Each of our trainings beside one of theirs: what it began with, else of its seed, else any.

    Empty if either has none.
    """
    return [(each, _counterpart(each, theirs.trained)) for each in ours.trained if theirs.trained]


def _counterpart(each: Trained, among: Sequence[Trained]) -> Trained:
    start, seed = each.info.card.config.get("start_digest"), each.info.card.seed
    began = (other for other in among if other.info.digest == start)
    alike = (other for other in among if other.info.card.seed == seed)
    return next(began, None) or next(alike, None) or among[0]
