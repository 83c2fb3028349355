"""The report again as a document: Markdown to read, LaTeX tables, JSON for other programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from dverge.charts.reproduction import ablation_frame, again_frame, cell_frame
from dverge.charts.tables import to_latex, to_markdown
from dverge.evaluation.protocols import Protocol
from dverge.reproduction.ablation import ABOUT, read_ablation
from dverge.reproduction.figures import FigureAgain
from dverge.reproduction.reproduction import Reproduction, TableAgain
from dverge.reproduction.statements import Finding, Outcome, Statement
from dverge.reproduction.table_statements import report_statements

DEFINITION = (
    "A figure comes back if the printed one lies within the 95 % interval (Wilson) of ours under "
    "the report's own protocol on its own validation images; where there are several trainings, "
    "from the lowest of their intervals to the highest. Intervals are about the choice of images. "
    "Chance in training comes on top, and a submodel's number means nothing across trainings, so "
    "submodels may differ by more."
)
READING = (
    "A statement does not hold where the figures clearly say the opposite; where they say neither, "
    "it cannot be said. Differences are of the same images, with 95 % intervals."
)
UNDER = {
    str(Protocol.REPORT): "As the report measures",
    str(Protocol.STANDARD): "Under the standard protocol",
    str(Protocol.AUTOATTACK): "Under AutoAttack",
    "history": "In the training's course",
}
OUTCOME_TITLES = {
    Outcome.HOLDS: "Holds",
    Outcome.ONLY_THEN: "Holds as the report measures, but not, or not clearly, under the standard "
    "protocol",
    Outcome.FAILS: "Does not hold",
    Outcome.OPEN: "Cannot be said",
}
PROTOCOL_DIFFERENCES = (
    "*report* is as printed. *here* is the same protocol on our weights: other random numbers in "
    "training, so other networks.",
    "**No attack**: the report averages ten random draws of 256 validation images; *standard* "
    "counts each test image once.",
    "**FGSM**: the same attack, eps 0.03. *standard* also counts an image as lost that was wrong "
    "before, and attacks the mixture in four ways, keeping the worst.",
    "**PGD L∞**: the report takes 5 steps of 0.007 that nothing holds back, up to 0.035; "
    "*standard* takes 50 steps within 0.03, from three random starts, the worst for each image.",
    "**PGD L2**: the report's five steps of length 0.03 reach 0.15 at most; *standard* has 0.5, "
    "50 steps and three random starts. These two columns are different questions.",
    "**AutoAttack**: the standard set of four attacks, L∞ 8/255 and L2 0.5, where it was computed.",
)


def all_statements(found: Reproduction, figures: Iterable[FigureAgain]) -> list[Statement]:
    """What the report says of its tables, then of its figures."""
    return [*report_statements(found), *(s for each in figures for s in each.statements)]


def outcome_counts(statements: Iterable[Statement]) -> str:
    """How many statements hold, in a sentence."""
    counts = Counter(statement.outcome for statement in statements)
    words = {
        Outcome.HOLDS: "hold",
        Outcome.ONLY_THEN: "hold as the report measures but not clearly otherwise",
        Outcome.FAILS: "do not hold",
        Outcome.OPEN: "cannot be said",
    }
    parts = [f"{counts[outcome]} {text}" for outcome, text in words.items() if counts[outcome]]
    return f"Of {counts.total()} statements, {', '.join(parts)}."


def images_words(found: Reproduction) -> str:
    """Which images the columns are of."""
    names = {Protocol.REPORT: "here", Protocol.STANDARD: "standard"}
    names[Protocol.AUTOATTACK] = "AutoAttack"
    parts = [f"{names[protocol]}: {images.title}" for protocol, images in found.images.items()]
    return "; ".join(["Images of the report: 1,024 validation images", *parts]) + "."


def training_words(table: TableAgain) -> str:
    """Which trainings a table's figures here are of."""
    if not table.trained:
        return "There is no checkpoint here that was trained this way."
    each = [
        f"{t.info.name} (seed {t.info.card.seed}{_hours(t.info.card.training_seconds)}"
        f"{f' on {t.info.card.device}' if t.info.card.device else ''})"
        for t in table.trained
    ]
    several = " Means over these, with the lowest and the highest." if len(each) > 1 else ""
    took = f" The report took {table.printed.took}." if table.printed.took else ""
    return f"Here: {', '.join(each)}.{several}{took}"


def _hours(seconds: float | None) -> str:
    if not seconds:
        return ""
    return f", {seconds / 3600:.1f} h" if seconds >= 3600 else f", {seconds / 60:.0f} min"


def report_markdown(
    found: Reproduction, figures: Sequence[FigureAgain], statements: Sequence[Statement]
) -> str:
    """All of it, to read."""
    parts = ["# The report's tables and figures again", found.headline, DEFINITION]
    parts.append(f"Accuracies in per cent. {images_words(found)}")
    for table in found.tables:
        back, measured, _ = found.returned([table])
        parts += [f"## {table.printed.title}", to_markdown(again_frame(found.lines(table)))]
        parts.append(f"{training_words(table)} {back} of {measured} figures come back.")
    parts += ["## Beyond the report", to_markdown(again_frame(found.mixtures))]
    if variants := read_ablation():
        parts += [to_markdown(ablation_frame(variants)), ABOUT]
    parts += ["## Why they differ", "\n".join(f"- {line}" for line in PROTOCOL_DIFFERENCES)]
    for figure in figures:
        parts += [f"## Figure {figure.printed.number}", figure.printed.caption + "."]
        parts.append("\n".join(map(_in_short, figure.statements)))
    parts += ["## What holds, and what does not", f"{outcome_counts(statements)} {READING}"]
    for outcome, title in OUTCOME_TITLES.items():
        those = [statement for statement in statements if statement.outcome is outcome]
        if those:
            parts += [f"### {title}", "\n".join(map(_statement, those))]
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def _statement(statement: Statement) -> str:
    lines = [f"- **{statement.text}**{quoted(statement)} {statement.rule}"]
    lines += [f"  - {finding_words(finding)}" for finding in statement.findings]
    if statement.why and statement.outcome is not Outcome.HOLDS:
        lines.append(f"  - {statement.why}")
    return "\n".join(lines)


def _in_short(statement: Statement) -> str:
    findings = " ".join(finding.words for finding in statement.findings)
    return f"- {statement.text}{quoted(statement)}: **{statement.outcome}**. {findings}"


def quoted(statement: Statement) -> str:
    """The report's words and where they stand; that it has none."""
    if not statement.quote:
        return " (The report does not compare these.)"
    return f" (“{statement.quote}”, section {statement.section})"


def finding_words(finding: Finding) -> str:
    """A finding as a sentence that begins with the verdict."""
    return f"{UNDER[finding.under]}: **{finding.judgement}**. {finding.words}"


def report_latex(found: Reproduction) -> str:
    """The tables as LaTeX tabulars (with booktabs), each under its title as a comment."""
    parts = [
        f"% {table.printed.title}. {training_words(table)}\n{to_latex(again_frame(lines))}"
        for table in found.tables
        for lines in [found.lines(table)]
    ]
    return "\n".join([f"% Accuracies in per cent. {images_words(found)}\n", *parts])


def report_values(
    found: Reproduction, figures: Sequence[FigureAgain], statements: Sequence[Statement]
) -> dict[str, Any]:
    """All of it as plain JSON values."""
    back, measured, due = found.returned()
    frame = cell_frame(found)
    cells = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return {
        "headline": found.headline,
        "returned": {"covered": back, "measured": measured, "printed": due},
        "images": {
            str(protocol): {"split": str(images.split), "n": images.n, "data": images.data}
            for protocol, images in found.images.items()
        },
        "cells": cells,
        "figures": [_figure_values(figure) for figure in figures],
        "statements": [statement.to_dict() for statement in statements],
    }


def _figure_values(figure: FigureAgain) -> dict[str, Any]:
    return {
        "figure": figure.printed.number,
        "caption": figure.printed.caption,
        "whole": figure.whole,
        "trainings": {each.info.name: each.history for each in figure.curves},
    }
