"""What our figures say of the tables' statements: comparisons of trainings, and single figures."""

from __future__ import annotations

from collections.abc import Sequence

from dverge.evaluation.protocols import Protocol
from dverge.reproduction.checks import ABOUT, CHANCE, Check, every, kept, more
from dverge.reproduction.reproduction import TableAgain, pairs
from dverge.reproduction.statements import (
    Compared,
    Finding,
    Judgement,
    compare,
    finding,
    missing,
    sentence,
    title_of,
)
from dverge.reproduction.tables import COLUMNS, MEMBERS
from dverge.reproduction.trained import Trained
from dverge.results import MIXTURE_NAME, Result, models_of

SUBMODELS = models_of(MEMBERS)[:-1]
LINF = ("fgsm", "pgd-linf")
WAYS = {"mixture-logit": "mean logit", "mixture-loss": "mean loss"}


def mixtures(
    ours: TableAgain, theirs: TableAgain, protocol: Protocol, columns: Sequence[str], check: Check
) -> Finding:
    """Our mixture against theirs."""
    return finding(protocol, [_beside(ours, theirs, protocol, c) for c in columns], check)


def _beside(
    ours: TableAgain, theirs: TableAgain, protocol: Protocol, column: str
) -> Compared | None:
    key = (protocol, MIXTURE_NAME, column)
    both = pairs(ours, theirs)
    return compare(column, [(a.figures.get(key), b.figures.get(key)) for a, b in both])


def each_submodel(
    ours: TableAgain, theirs: TableAgain, protocol: Protocol, columns: Sequence[str], check: Check
) -> Finding:
    """Each of our submodels against the one of theirs with its number."""
    compared = []
    for column in columns:
        keys = [(protocol, model, column) for model in SUBMODELS]
        both = [(a.figures.get(k), b.figures.get(k)) for a, b in pairs(ours, theirs) for k in keys]
        compared.append(compare(column, both))
    return finding(protocol, compared, check)


def against_best(
    ours: TableAgain, theirs: TableAgain, protocol: Protocol, columns: Sequence[str], check: Check
) -> Finding:
    """Our mixture against the best of their submodels in each column."""
    compared = []
    for column in columns:
        key = (protocol, MIXTURE_NAME, column)
        both = [(a.figures.get(key), _best(b, protocol, column)) for a, b in pairs(ours, theirs)]
        compared.append(compare(column, both))
    return finding(protocol, compared, check)


def _best(trained: Trained, protocol: Protocol, column: str) -> Result | None:
    found = (trained.figures.get((protocol, model, column)) for model in SUBMODELS)
    rows = [row for row in found if row is not None]
    return max(rows, key=lambda row: row.accuracy, default=None)


def clean(ours: TableAgain, theirs: TableAgain) -> tuple[Finding, ...]:
    """Clean accuracy of the mixtures: on the most test images, and on the report's images."""
    tested = [(a.tested(MIXTURE_NAME), b.tested(MIXTURE_NAME)) for a, b in pairs(ours, theirs)]
    return (
        finding(Protocol.STANDARD, [compare("clean", tested)], kept),
        mixtures(ours, theirs, Protocol.REPORT, ("clean",), kept),
    )


def carried_over(ours: TableAgain, theirs: TableAgain) -> Finding:
    """What attacks on single submodels leave of the mixtures."""
    compared = [
        compare(column, [(a.single.get(key), b.single.get(key)) for a, b in pairs(ours, theirs)])
        for column in LINF
        for key in [(column, "members")]
    ]
    return finding(Protocol.STANDARD, compared, more)


def hidden_way(table: TableAgain) -> str:
    """Which single way of following the mixture under FGSM leaves least, if not the report's."""
    words = ""
    for trained in table.trained[:1]:
        ways = {v: row for (column, v), row in trained.single.items() if column == "fgsm"}
        alone = ways.get("mixture")
        others = {v: row for v, row in ways.items() if v not in ("mixture", "worst", "members")}
        if alone is None or not others:
            continue
        least = min(others, key=lambda v: others[v].accuracy)
        if others[least].accuracy < alone.accuracy:
            words = (
                f" Under FGSM, {trained.info.name} keeps {alone.accuracy:.1f} % where the "
                f"mean probability alone is followed, and {others[least].accuracy:.1f} % "
                f"where it is the {WAYS.get(least, least)}."
            )
    return words


# --- single figures ---


def about(table: TableAgain, protocol: Protocol, column: str, value: float) -> Finding:
    """Whether each submodel's interval comes near a value."""
    rows = _submodels(table, protocol, [column])
    near = [row.ci_low <= value + ABOUT and row.ci_high >= value - ABOUT for row in rows]
    return _of_rows(protocol, rows, every(near))


def below_chance(table: TableAgain, protocol: Protocol) -> Finding:
    """Whether each submodel is clearly worse than guessing under L-inf attacks."""
    rows = _submodels(table, protocol, LINF)
    ends = [(row.ci_low, row.ci_high) for row in rows]
    below = [True if high < CHANCE else False if low > CHANCE else None for low, high in ends]
    return _of_rows(protocol, rows, every(below))


def _submodels(table: TableAgain, protocol: Protocol, columns: Sequence[str]) -> list[Result]:
    keys = [(protocol, model, column) for column in columns for model in SUBMODELS]
    found = (trained.figures.get(key) for key in keys for trained in table.trained)
    return [row for row in found if row is not None]


def _of_rows(protocol: Protocol, rows: Sequence[Result], answer: bool | None) -> Finding:
    """A finding on single figures, with their range in each column."""
    if not rows:
        return missing(str(protocol))
    by_title: dict[str, list[Result]] = {}
    for row in rows:
        by_title.setdefault(title_of(row.attack, row), []).append(row)
    words = sentence([f"{title}: {_range(each)}" for title, each in by_title.items()], rows)
    return Finding(str(protocol), Judgement.of(answer), words, tuple(rows))


def _range(rows: Sequence[Result]) -> str:
    values = [row.accuracy for row in rows]
    low, high = min(row.ci_low for row in rows), max(row.ci_high for row in rows)
    return f"{min(values):.1f} to {max(values):.1f} % (95 % intervals from {low:.1f} to {high:.1f})"


def above_printed(ours: TableAgain, tables: Sequence[TableAgain]) -> Finding:
    """Whether our mixture's figures are above each that the report prints of a mixture."""
    printed = [t.printed.rows[MIXTURE_NAME] for t in tables if MIXTURE_NAME in t.printed.rows]
    parts: list[str] = []
    rows: list[Result] = []
    answers: list[bool] = []
    for column, values in zip(COLUMNS, zip(*printed, strict=True), strict=True):
        cell = ours.cell(Protocol.REPORT, MIXTURE_NAME, column)
        if cell is None:
            continue
        best = max(values)
        answers += [value > best for value in cell.values]
        parts.append(f"{title_of(column, cell.rows[0])}: {cell}, printed at most {best:.2f}")
        rows += cell.rows
    if not rows:
        return missing(str(Protocol.REPORT))
    words = sentence(parts, rows)
    return Finding(str(Protocol.REPORT), Judgement.of(every(answers)), words, tuple(rows))


def as_printed(ours: TableAgain, theirs: TableAgain, column: str) -> str:
    """What the report's own tables have of our mixture and the best model of theirs."""
    index = COLUMNS.index(column)
    mine = ours.printed.rows[MIXTURE_NAME][index]
    best = max(row[index] for row in theirs.printed.rows.values())
    return f" The report's own tables have {mine:.2f} % against {best:.2f} %."
