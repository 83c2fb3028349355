"""What the report states, and whether our figures bear it out: the pieces of such a judgement."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from dverge.data import Split
from dverge.evaluation.comparison import Difference, difference
from dverge.evaluation.naming import ATTACK_TITLES, attack_title, model_title, victim_title
from dverge.evaluation.protocols import Protocol
from dverge.reproduction.checks import Check, agreed, every
from dverge.results import Result, result_of


class Judgement(enum.StrEnum):
    """What the figures say of a statement."""

    HOLDS = "holds"
    FAILS = "does not hold"
    OPEN = "cannot be said"

    @classmethod
    def of(cls, value: bool | None) -> Judgement:
        return cls.OPEN if value is None else cls.HOLDS if value else cls.FAILS


class Outcome(enum.StrEnum):
    """What becomes of a statement over all that was looked at."""

    HOLDS = "holds"
    ONLY_THEN = "holds as the report measures, not clearly otherwise"
    FAILS = "does not hold"
    OPEN = "cannot be said"


@dataclass(frozen=True)
class Finding:
    """What one protocol's figures, or a training's history, say of a statement.

    Attributes:
        under: "report", "standard" or "history".
        judgement: the verdict.
        words: what it is computed from, with its figures.
        rows: those figures.
    """

    under: str
    judgement: Judgement
    words: str
    rows: tuple[Result, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "under": self.under,
            "judgement": str(self.judgement),
            "words": self.words,
            "figures": [row.to_dict() for row in self.rows],
        }


@dataclass(frozen=True)
class Statement:
    """A sentence of the report, or one that it should be asked, and what is found.

    Attributes:
        text: the statement.
        quote: the report's words; empty where it does not say so itself.
        section: where they stand.
        rule: when it counts as holding.
        findings: what is found; the first one decides.
        why: what explains a difference between protocols, or from the report.
    """

    text: str
    quote: str
    section: str
    rule: str
    findings: tuple[Finding, ...]
    why: str = ""

    @property
    def outcome(self) -> Outcome:
        first, *rest = self.findings
        others = {finding.judgement for finding in rest}
        if first.judgement is Judgement.HOLDS and others - {Judgement.HOLDS}:
            if first.under == Protocol.REPORT:
                return Outcome.ONLY_THEN
            if Judgement.FAILS in others:
                return Outcome.OPEN
        return Outcome(str(first.judgement))

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "text": self.text,
            "quote": self.quote,
            "section": self.section,
            "rule": self.rule,
            "outcome": str(self.outcome),
            "why": self.why,
            "findings": [finding.to_dict() for finding in self.findings],
        }


@dataclass(frozen=True)
class Compared:
    """One figure of several trainings or submodels beside its counterpart.

    Attributes:
        title: the attack.
        ours, theirs: in the same order, on the same images each.
    """

    title: str
    ours: tuple[Result, ...]
    theirs: tuple[Result, ...]

    @property
    def differences(self) -> list[Difference]:
        both = zip(self.ours, self.theirs, strict=True)
        return [difference(a, b) for a, b in both]

    def judged(self, check: Check) -> bool | None:
        """The check's answer over all, where they agree."""
        return agreed(map(check, self.differences))

    @property
    def words(self) -> str:
        found = self.differences
        if len(found) == 1:
            ours, theirs = self.ours[0].accuracy, self.theirs[0].accuracy
            return f"{self.title}: {ours:.1f} % against {theirs:.1f} %, {found[0]}"
        low, high = (signed(f(each.points for each in found)) for f in (min, max))
        several = "submodels" if len({row.model for row in self.ours}) > 1 else "trainings"
        clear = sum(each.clear for each in found)
        told = "all" if clear == len(found) else f"{clear} of them"
        span = f"{low} to {high} points over {len(found)} {several}"
        return f"{self.title}: {span}, {told} clear of zero"


def compare(column: str, both: Sequence[tuple[Result | None, Result | None]]) -> Compared | None:
    """The pairs that are there, on equally many images; None if there is none."""
    found = [(a, b) for a, b in both if a and b and a.n == b.n]
    if not found:
        return None
    ours, theirs = zip(*((each_once(a), each_once(b)) for a, b in found), strict=True)
    return Compared(title_of(column, ours[0]), ours, theirs)


def finding(under: Protocol, compared: Sequence[Compared | None], check: Check) -> Finding:
    """The check over all columns."""
    there = [each for each in compared if each is not None]
    if not there:
        return missing(str(under))
    answers = [None if each is None else each.judged(check) for each in compared]
    rows = {id(row): row for each in there for row in (*each.ours, *each.theirs)}
    words = sentence([each.words for each in there], list(rows.values()))
    return Finding(str(under), Judgement.of(every(answers)), words, tuple(rows.values()))


def sentence(parts: Sequence[str], rows: Sequence[Result]) -> str:
    """Parts made a sentence, with the images that their figures are of."""
    images = dict.fromkeys(f"{row.n:,} {row.split} images" for row in rows)
    text = "; ".join(parts)
    return f"{text[:1].upper()}{text[1:]}; on {' and '.join(images)}."


def missing(under: str, words: str = "Not measured yet.") -> Finding:
    """A finding where there is nothing to judge by."""
    return Finding(under, Judgement.OPEN, words)


def each_once(row: Result) -> Result:
    """The figure with each image counted once, where it is a mean over random draws of them.

    Draws differ in which images they count twice: a difference is to be of the images themselves.
    """
    figure = row
    if "draws" not in figure.parameters or not figure.held:
        return row
    counted = result_of(figure.right(), figure.model, figure.attack, Split(figure.split))
    return replace(row, accuracy=counted.accuracy, ci_low=counted.ci_low, ci_high=counted.ci_high)


def title_of(column: str, row: Result) -> str:
    """An attack with its setting under the standard protocol; the report's by its bare name."""
    if row.protocol == Protocol.REPORT or column == "clean":
        return ATTACK_TITLES[column]
    return attack_title(row.attack, row.parameters)


def signed(points: float) -> str:
    """A difference with its sign."""
    return f"{points:+.1f}".replace("-", "−")


def source_of(row: Result) -> str:
    """What a figure is of, and the figure: what a sentence is computed from."""
    figure = row
    follows = figure.parameters.get("victim", "worst")
    followed = "" if follows in ("worst", figure.model) else f" following {victim_title(follows)}"
    return (
        f"{row.checkpoint}, {model_title(figure.model)}, {title_of(figure.attack, row)}{followed}: "
        f"{figure.accuracy:.1f} % ({figure.ci_low:.1f}–{figure.ci_high:.1f}) of {figure.n:,} "
        f"{figure.split} images"
    )
