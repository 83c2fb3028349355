"""Our trainings of the report's recipes, and the results of each that belong in its tables.

A checkpoint is one of a recipe's trainings if it has the method, the epochs and the settings (see
printed.RECIPES). Trainings that differ only by seed or machine are samples of the same figures.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from dverge.checkpoints import CheckpointInfo, read_history
from dverge.errors import ConfigError
from dverge.evaluation.naming import model_title
from dverge.evaluation.protocols import PLANS, Protocol
from dverge.evaluation.store import Images, ResultFile, all_results, results_under, shared_images
from dverge.reproduction.printed import (
    ADVT,
    COLUMNS,
    DVERGE,
    DVERGE_ADVT,
    MEMBERS,
    RECIPES,
    REPORT_FIGURES,
    REPORT_TABLES,
    SETTINGS,
    SINGLE,
    TUNED_ADVT,
    VANILLA,
    ReportFigure,
    ReportTable,
)
from dverge.results import MIXTURE_NAME, Result, headlines, models_of
from dverge.training import config_from

SHORT_VANILLA = 30  # epochs of the vanilla training that Figure 2 shows while there is none of 100
OTHER = ReportTable("Other recipes", "", 0, {})
History = list[dict[str, Any]]


@dataclass(frozen=True)
class TrainedEnsemble:
    """A checkpoint and those of its results that belong in a column.

    Attributes:
        info: the checkpoint.
        results: by protocol, model and column; the mixture's are the worst over all victims.
        single: the mixture's under the standard protocol's attacks on single members, by column.
    """

    info: CheckpointInfo
    results: dict[tuple[Protocol, str, str], Result]
    single: dict[str, Result]

    @classmethod
    def of(
        cls, info: CheckpointInfo, kept: Sequence[ResultFile], images: dict[Protocol, Images]
    ) -> TrainedEnsemble:
        """The results kept on these images; of several seeds, those of the one with most."""
        results: dict[tuple[Protocol, str, str], Result] = {}
        single: dict[str, Result] = {}
        for protocol, chosen in images.items():
            rows = results_under(kept, protocol, chosen)
            for column, wanted in SETTINGS[protocol].items():
                own = headlines(r for r in rows if _is_of(r, *wanted))
                own.sort(key=lambda r: r.parameters.get("victim") == "worst")  # the last one counts
                results |= {(protocol, r.model, column): r for r in own}
            if protocol is Protocol.STANDARD:
                single = {
                    column: r
                    for column, wanted in SINGLE.items()
                    for r in rows
                    if _is_of(r, *wanted) and r.parameters["victim"] == "members"
                }
        return cls(info, results, single)


def _is_of(result: Result, attack: str, setting: dict[str, Any]) -> bool:
    return result.attack == attack and setting.items() <= result.parameters.items()


@dataclass(frozen=True)
class Cell:
    """The same accuracy of one training or of several, in per cent."""

    results: tuple[Result, ...]

    @property
    def values(self) -> list[float]:
        return [result.accuracy for result in self.results]

    @property
    def mean(self) -> float:
        return sum(self.values) / len(self.results)

    @property
    def low(self) -> float:
        """Lower end of the 95 % interval; of several trainings, the lowest of their ends."""
        return min(result.ci_low for result in self.results)

    @property
    def high(self) -> float:
        """Upper end of the 95 % interval; of several trainings, the highest of their ends."""
        return max(result.ci_high for result in self.results)

    @property
    def interval(self) -> str:
        """The interval that decides whether a printed figure is reproduced."""
        return f"{self.low:.1f}–{self.high:.1f}"

    def covers(self, value: float) -> bool:
        return self.low <= value <= self.high

    def __str__(self) -> str:
        count = f" over {len(self.results)} trainings" if len(self.results) > 1 else ""
        return f"{self.mean:.1f} ({self.interval}{count})"


@dataclass(frozen=True)
class ReproducedTable:
    """A table of the report, or half of one, and our trainings of its recipe, by seed."""

    printed: ReportTable
    trained: tuple[TrainedEnsemble, ...]

    @property
    def measured(self) -> bool:
        """There is at least one result."""
        return any(each.results for each in self.trained)

    def cell(self, protocol: Protocol, model: str, column: str) -> Cell | None:
        """Our accuracy, over all trainings that it was measured for; None without any."""
        key = (protocol, model, column)
        results = tuple(t.results[key] for t in self.trained if key in t.results)
        return Cell(results) if results else None


@dataclass(frozen=True)
class TableLine:
    """A line of a table: a model that the report prints, or one to compare with.

    Attributes:
        title: for the screen.
        model: "member-1" …, "mixture".
        table: where our results come from.
        printed: per cent, in the order of COLUMNS; empty for a model that the report lacks.
    """

    title: str
    model: str
    table: ReproducedTable
    printed: tuple[float, ...] = ()

    def cell(self, protocol: Protocol, column: str) -> Cell | None:
        return self.table.cell(protocol, self.model, column)

    def value(self, column: str) -> float | None:
        """The figure that the report prints."""
        return self.printed[COLUMNS.index(column)] if self.printed else None

    def as_printed(self, column: str) -> str:
        """The report's figure with its decimals: three where it is below two per cent."""
        value = self.value(column)
        return "–" if value is None else f"{value:.3f}" if value < 2 else f"{value:.2f}"

    def is_reproduced(self, column: str) -> bool | None:
        """Whether our interval under the report's protocol covers its figure; None without both."""
        value, ours = self.value(column), self.cell(Protocol.REPORT, column)
        return None if value is None or ours is None else ours.covers(value)


@dataclass(frozen=True)
class Curves:
    """The course of a training: its checkpoint, and a row for each epoch."""

    info: CheckpointInfo
    history: History

    @property
    def epochs(self) -> int:
        return len(self.history)


@dataclass(frozen=True)
class ReproducedFigure:
    """A figure of the report, and the curves of our trainings of its recipe, by seed."""

    printed: ReportFigure
    curves: tuple[Curves, ...]

    @property
    def whole(self) -> bool:
        """The trainings are as long as the report's."""
        return all(each.epochs >= self.printed.epochs for each in self.curves)


@dataclass(frozen=True)
class Reproduction:
    """All of the report's tables and figures beside ours.

    Attributes:
        groups: our trainings for each of REPORT_TABLES, then for ADVT and TUNED_ADVT.
        others: further ensembles that were trained to their end and measured: other recipes.
        images: those that the results are of, by protocol; the same in all tables.
        figures: for each of REPORT_FIGURES.
    """

    groups: tuple[ReproducedTable, ...]
    others: tuple[TrainedEnsemble, ...]
    images: dict[Protocol, Images]
    figures: tuple[ReproducedFigure, ...]

    @property
    def tables(self) -> tuple[ReproducedTable, ...]:
        """Those that the report prints."""
        return self.groups[: len(REPORT_TABLES)]

    def table(self, printed: ReportTable) -> ReproducedTable:
        return next(group for group in self.groups if group.printed is printed)

    def lines(self, table: ReproducedTable) -> list[TableLine]:
        """A table's lines: its models, then the mixtures to compare with that the report lacks."""
        lines = [
            TableLine(model_title(model), model, table, table.printed.rows.get(model, ()))
            for model in models_of(MEMBERS)
        ]
        if table.printed.method != "vanilla":
            lines.append(self._mixture("vanilla mixture", VANILLA))
        if table.printed.method == "dverge-advt" and self.table(ADVT).measured:
            lines.append(self._mixture("AdvT mixture", ADVT))
        return lines

    @property
    def mixtures(self) -> list[TableLine]:
        """All mixtures: the report's, those that it lacks, and those of other recipes."""
        named = {"DVERGE": DVERGE, "DVERGE+AdvT": DVERGE_ADVT, "AdvT": ADVT, "tuned": TUNED_ADVT}
        return [
            self._mixture("vanilla mixture", VANILLA),
            *(self._mixture(f"{k} mixture", v) for k, v in named.items() if self.table(v).measured),
            *(
                TableLine(each.info.name, MIXTURE_NAME, ReproducedTable(OTHER, (each,)))
                for each in self.others
            ),
        ]

    def _mixture(self, title: str, printed: ReportTable) -> TableLine:
        rows = printed.rows.get(MIXTURE_NAME, ())
        return TableLine(title, MIXTURE_NAME, self.table(printed), rows)


def reproduce(
    infos: Sequence[CheckpointInfo],
    read_results: Callable[[CheckpointInfo], list[ResultFile]] = all_results,
) -> Reproduction:
    """Find the report's trainings among checkpoints, with their results and curves.

    Args:
        infos: the checkpoints there are.
        read_results: reads what is kept of a checkpoint's evaluations.
    """
    printed = (*REPORT_TABLES, ADVT, TUNED_ADVT)
    matches = [find_trainings(infos, t.method, t.epochs, t.recipe) for t in printed]
    in_tables = {info.digest: info for match in matches for info in match}
    kept = {info.name: read_results(info) for info in infos}
    images = _most_measured([kept[info.name] for info in in_tables.values()])
    trained = {info.name: TrainedEnsemble.of(info, kept[info.name], images) for info in infos}
    groups = tuple(
        ReproducedTable(table, tuple(trained[info.name] for info in match))
        for table, match in zip(printed, matches, strict=True)
    )
    others = tuple(
        each
        for each in trained.values()
        if each.info.digest not in in_tables and each.info.card.method in RECIPES
        if each.results and snapshot_epoch(each.info.name) is None
    )
    return Reproduction(groups, others, images, _figures(infos))


def _most_measured(kept: Sequence[Sequence[ResultFile]]) -> dict[Protocol, Images]:
    """By protocol, the images of its own split that most ensembles were measured on."""
    most: dict[Protocol, Images] = {}
    for protocol in SETTINGS:
        shared = shared_images(kept, protocol)
        own = [images for images in shared if images.split is PLANS[protocol].split]
        most |= {protocol: own[0]} if own else {}
    return most


def _figures(
    infos: Sequence[CheckpointInfo],
) -> tuple[ReproducedFigure, ...]:
    """Figures 2 to 4 from those histories that can be used."""
    figures = []
    for printed in REPORT_FIGURES:
        match = find_trainings(infos, printed.method, printed.epochs)
        if not match and printed.method == "vanilla":
            match = find_trainings(infos, "vanilla", SHORT_VANILLA)
        curves = []
        for info in match:
            history = read_history(info)
            if history and len(history[0]["train_loss"]) == MEMBERS:
                curves.append(Curves(info, history))
        figures.append(ReproducedFigure(printed, tuple(curves)))
    return tuple(figures)


def snapshot_epoch(name: str) -> int | None:
    """The epoch after which a run left this checkpoint behind; None if it is no snapshot."""
    match = re.fullmatch(r".*-e(\d+)", name)
    return int(match[1]) if match else None


def find_trainings(
    infos: Sequence[CheckpointInfo], method: str, epochs: int, recipe: str = ""
) -> tuple[CheckpointInfo, ...]:
    """The checkpoints of a recipe (see RECIPES) after so many epochs, by seed and name.

    Of copies with the same weights only the first counts. The method's own recipe if none is named.
    """
    by_digest: dict[str, CheckpointInfo] = {}
    for info in sorted(infos, key=lambda info: (info.card.seed or 0, info.name)):
        if _fits_recipe(info, method, epochs, RECIPES[recipe or method]):
            by_digest.setdefault(info.digest, info)
    return tuple(by_digest.values())


def _fits_recipe(info: CheckpointInfo, method: str, epochs: int, recipe: dict[str, Any]) -> bool:
    card = info.card
    trained_for = snapshot_epoch(info.name) or card.config.get("epochs")
    if (card.method, trained_for, len(card.members)) != (method, epochs, MEMBERS) or card.classes:
        return False
    try:
        settings = config_from(method, card.config).to_dict()  # fills in settings added since
    except ConfigError:
        return False
    started = method == "vanilla" or settings["start"]
    return bool(started) and recipe.items() <= settings.items()
