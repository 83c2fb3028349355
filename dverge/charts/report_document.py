"""The reproduced report as texts: sentences, Markdown, LaTeX tables, JSON for other programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from dverge.charts.reproduction import ablation_frame, cell_frame, table_frame
from dverge.charts.tables import to_latex, to_markdown
from dverge.errors import FileError
from dverge.evaluation.protocols import Protocol
from dverge.reproduction.ablation import about, read_ablation
from dverge.reproduction.claims import HISTORY, Answer, Finding, Verdict
from dverge.reproduction.matching import ReproducedTable, Reproduction
from dverge.reproduction.printed import COLUMNS, PAPER, REPORT, Claim
from dverge.reproduction.unseen import unseen_text
from dverge.results import MIXTURE_NAME

DEFINITION = (
    "A figure is reproduced if the printed one lies within the 95 % interval (Wilson) of ours "
    "under the report's own protocol on its own validation images; where there are several "
    "trainings, from the lowest end of their intervals to the highest. Intervals are "
    "about the choice of images. Chance in training comes on top, and a submodel's number "
    "means nothing across trainings, so submodels may differ by more."
)
READING = (
    "A claim does not hold where the numbers clearly say the opposite; where they say neither, it "
    "cannot be said. Differences are of the same images, in points, with 95 % intervals: of "
    "several trainings their mean, and the lowest and highest end of their intervals."
)
SOURCE_TITLES = {
    str(Protocol.REPORT): "As the report measures",
    str(Protocol.STANDARD): "Under the standard protocol",
    HISTORY: "In the training's course",
}
OUTCOME_TITLES = {
    Answer.HOLDS: "Holds",
    Answer.ONLY_AS_REPORTED: "Only as the report measures",
    Answer.FAILS: "Does not hold",
    Answer.OPEN: "Cannot be said",
}
PROTOCOL_DIFFERENCES = {
    "Weights": "report is as printed. here is the same protocol on our weights: other random "
    "numbers in training, so other networks.",
    "no attack": "the report averages ten random draws of 256 validation images, which moves its "
    "figure by up to a point; here counts each of the 1,024 once, standard each test image.",
    "FGSM": "one step along the gradient's sign, the same attack in both, eps 0.03. standard also "
    "counts an image as lost that was wrong before, and attacks the mixture in four ways, keeping "
    "the worst.",
    "PGD L∞": "the report takes 5 steps of 0.007 that nothing holds back, up to 0.035; standard is "
    "the strong attack within 8/255 (0.031): margins towards one wrong class after the other, "
    "which finds what AutoAttack finds.",
    "PGD L2": "the report's five steps of length 0.03 reach 0.15 at most; standard is the strong "
    "attack within 0.5. These two columns are different questions.",
    "AutoAttack": "the standard set of four attacks, L∞ 8/255 and L2 0.5, where it was computed.",
}
"""Why figures differ, by column."""


# --- sentences ---


def count_reproduced(
    reproduction: Reproduction,
    tables: Iterable[ReproducedTable] | None = None,
    mixtures: bool = False,
) -> tuple[int, int, int]:
    """The number of printed figures that are reproduced, that were measured here, and of all.

    Args:
        tables: which tables; all if None.
        mixtures: of the mixtures alone.
    """
    chosen = reproduction.tables if tables is None else tables
    lines = [line for table in chosen for line in reproduction.lines(table) if line.printed]
    lines = [line for line in lines if not mixtures or line.model == MIXTURE_NAME]
    verdicts = [line.is_reproduced(column) for line in lines for column in COLUMNS]
    return verdicts.count(True), len(verdicts) - verdicts.count(None), len(verdicts)


def headline(reproduction: Reproduction) -> str:
    """How many of the report's figures are reproduced."""
    found, measured, printed = count_reproduced(reproduction)
    best, of, _ = count_reproduced(reproduction, mixtures=True)
    if not measured:
        return f"None of the report's {printed} figures has been measured here yet."
    which = f"the report's {printed} figures"
    if measured < printed:
        which = f"the {measured} of {which} that were measured here"
    mixtures = f", {best} of {of} for the mixtures" if of else ""
    return f"{found} of {which} lie within our 95 % intervals{mixtures}."


def outcome_counts(verdicts: Sequence[Verdict]) -> str:
    """How many claims hold."""
    counts = Counter(verdict.outcome for verdict in verdicts)
    titles = {
        Answer.HOLDS: "hold",
        Answer.ONLY_AS_REPORTED: "hold only as the report measures",
        Answer.FAILS: "do not hold",
        Answer.OPEN: "cannot be said",
    }
    parts = [f"{counts[outcome]} {text}" for outcome, text in titles.items() if counts[outcome]]
    return f"Of {len(verdicts)} claims, {', '.join(parts)}."


def images_text(reproduction: Reproduction) -> str:
    """Which images the columns are of."""
    names = {Protocol.REPORT: "here", Protocol.STANDARD: "standard"}
    names |= {Protocol.AUTOATTACK: "AutoAttack", Protocol.HEADLINE: "headline"}
    parts = [
        f"{names[protocol]}: {images.title}" for protocol, images in reproduction.images.items()
    ]
    return f"Images: {'; '.join(['report: 1,024 validation images', *parts])}."


def training_text(reproduction: Reproduction, table: ReproducedTable) -> str:
    """Which trainings a table's figures here are of, and how many printed ones are reproduced."""
    if not table.trained:
        return "There is no checkpoint here that was trained this way."
    cards = [(trained.info.name, trained.info.card) for trained in table.trained]
    each = [
        f"{name} (seed {card.seed}{_hours(card.training_seconds)}"
        f"{f' on {card.device}' if card.device else ''})"
        for name, card in cards
    ]
    took = f" The report took {table.printed.took}." if table.printed.took else ""
    found, measured, _ = count_reproduced(reproduction, [table])
    return f"{found} of {measured} figures are reproduced. Here: {', '.join(each)}.{took}"


def _hours(seconds: float | None) -> str:
    if not seconds:
        return ""
    return f", {seconds / 3600:.1f} h" if seconds >= 3600 else f", {seconds / 60:.0f} min"


def compared_text(claim: Claim) -> str:
    """What a claim compares."""
    if claim.figure:
        return f"Losses of Figure {claim.figure}"
    ours = claim.ours.training.partition(",")[0]
    if claim.theirs is None:
        return f"Each {ours} submodel"
    theirs = claim.theirs.training.partition(",")[0]
    if claim.best_submodel:
        return f"{ours} mixture against the best {theirs} submodel"
    if ours == theirs:
        return f"{ours} mixture, {claim.ours.epochs} against {claim.theirs.epochs} epochs"
    single = ", under attacks on single submodels" if claim.single else ""
    return f"{ours} mixture against {theirs} mixture{single}"


def quote_text(claim: Claim) -> str:
    """The report's words and where they are, or that it has none."""
    if not claim.quote:
        return "The report does not compare these."
    return f"“{claim.quote}” §\N{NO-BREAK SPACE}{claim.section}"


def finding_text(finding: Finding) -> str:
    """The numbers in a sentence."""
    if not finding.parts:
        missing = "There is no training of this kind here yet."
        return missing if finding.source == HISTORY else "Not measured yet."
    text = "; ".join(f"{part.title} {part.text}" for part in finding.parts)
    images = dict.fromkeys(f"{r.n:,} {r.split} images" for r in finding.results)
    on = f"; on {' and '.join(images)}" if images else ""
    start = text if finding.source == HISTORY else f"{text[:1].upper()}{text[1:]}"
    return f"{start}{on}."


def differences_markdown() -> str:
    """Why figures differ, as a list."""
    return "\n".join(
        f"- **{column[:1].upper()}{column[1:]}**: {text}"
        for column, text in PROTOCOL_DIFFERENCES.items()
    )


# --- documents ---


def report_markdown(reproduction: Reproduction, verdicts: Sequence[Verdict]) -> str:
    """All of it, to read."""
    parts = [
        "# The report's tables and figures again",
        f"The report: {REPORT}. Its method: {PAPER}.",
    ]
    parts += [headline(reproduction), DEFINITION]
    parts.append(f"Accuracies in per cent. {images_text(reproduction)}")
    for table in reproduction.tables:
        frame = table_frame(reproduction.lines(table))
        parts += [f"## {table.printed.title}", to_markdown(frame)]
        parts.append(training_text(reproduction, table))
    parts += ["## Beyond the report", to_markdown(table_frame(reproduction.mixtures))]
    parts.append(unseen_text(reproduction))
    parts += _ablation_parts()
    parts += ["## Why they differ", differences_markdown()]
    parts += ["## What holds, and what does not", f"{outcome_counts(verdicts)} {READING}"]
    for outcome, title in OUTCOME_TITLES.items():
        those = [verdict for verdict in verdicts if verdict.outcome is outcome]
        if those:
            parts += [f"### {title}", "\n".join(map(_markdown_of, those))]
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def _ablation_parts() -> list[str]:
    """What matters in the tuned recipe, or why that cannot be shown."""
    try:
        variants = read_ablation()
    except FileError as error:
        return [str(error)]
    return [to_markdown(ablation_frame(variants)), about(variants)] if variants else []


def _markdown_of(verdict: Verdict) -> str:
    """A claim, the report's words, what is compared by which rule, and the numbers."""
    claim = verdict.claim
    lines = [f"- **{claim.text}** ({quote_text(claim)}) {compared_text(claim)}. {claim.rule}"]
    lines += [
        f"  - {SOURCE_TITLES[finding.source]}: **{finding.answer}**. {finding_text(finding)}"
        for finding in verdict.findings
    ]
    if claim.why and verdict.outcome is not Answer.HOLDS:
        lines.append(f"  - {claim.why}")
    return "\n".join(lines)


def report_latex(reproduction: Reproduction) -> str:
    """The tables as LaTeX tabulars (with booktabs), each under its title as a comment."""
    parts = [
        f"% {table.printed.title}. {training_text(reproduction, table)}\n"
        f"{to_latex(table_frame(reproduction.lines(table)))}"
        for table in reproduction.tables
    ]
    return "\n".join([f"% Accuracies in per cent. {images_text(reproduction)}\n", *parts])


def report_values(reproduction: Reproduction, verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """All of it as plain JSON values."""
    found, measured, printed = count_reproduced(reproduction)
    frame = cell_frame(reproduction)
    return {
        "report": REPORT,
        "headline": headline(reproduction),
        "reproduced": {"covered": found, "measured": measured, "printed": printed},
        "images": {
            str(protocol): {"split": str(images.split), "n": images.n, "data": images.data}
            for protocol, images in reproduction.images.items()
        },
        "cells": frame.astype(object).where(frame.notna(), None).to_dict("records"),
        "figures": [
            {
                "figure": figure.printed.number,
                "caption": figure.printed.caption,
                "whole": figure.whole,
                "trainings": {each.info.name: each.history for each in figure.curves},
            }
            for figure in reproduction.figures
        ],
        "statements": [_values_of(verdict) for verdict in verdicts],
    }


def _values_of(verdict: Verdict) -> dict[str, Any]:
    claim = verdict.claim
    return {
        "text": claim.text,
        "quote": claim.quote,
        "section": claim.section,
        "rule": str(claim.rule),
        "outcome": str(verdict.outcome),
        "why": claim.why,
        "findings": [
            {
                "under": finding.source,
                "judgement": str(finding.answer),
                "words": finding_text(finding),
                "figures": [result.to_dict() for result in finding.results],
            }
            for finding in verdict.findings
        ],
    }
