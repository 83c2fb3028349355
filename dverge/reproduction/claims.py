"""Verdicts on the report's claims, by our results and by the course of our trainings."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from dverge.data import Split
from dverge.evaluation.comparison import Difference, difference
from dverge.evaluation.naming import ATTACK_TITLES, attack_title, model_title
from dverge.evaluation.protocols import Protocol
from dverge.reproduction.matching import (
    Cell,
    Curves,
    ReproducedTable,
    Reproduction,
    TrainedEnsemble,
)
from dverge.reproduction.printed import CLAIMS, MEMBERS, Claim, Rule
from dverge.results import MIXTURE_NAME, Result, models_of

NEAR, MARGIN = 5.0, 3.0  # points
RISEN = 0.01  # relative to its lowest level: a loss that is higher has risen
STALLED = 0.1  # share of a loss's whole fall: if less is left, the loss stalls
AROUND = 10  # epochs
HISTORY = "history"
SUBMODELS = models_of(MEMBERS)[:-1]
Pair = tuple[Result, Result | None]


class Answer(enum.StrEnum):
    """What results say of a claim; ONLY_AS_REPORTED is an outcome of both protocols together."""

    HOLDS = "holds"
    ONLY_AS_REPORTED = "holds as the report measures, not clearly otherwise"
    FAILS = "does not hold"
    OPEN = "cannot be said"

    @classmethod
    def of(cls, value: bool | None) -> Answer:
        return cls.OPEN if value is None else cls.HOLDS if value else cls.FAILS


@dataclass(frozen=True)
class Part:
    """What the results in one column, or the history of one training, say of a claim.

    Attributes:
        title: the attack, or the checkpoint.
        answer: what follows by the claim's rule.
        text: the numbers; of several trainings, their mean and the ends of all 95 % intervals.
        details: the numbers of each training.
    """

    title: str
    answer: Answer
    text: str
    details: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finding:
    """What the results under one protocol, or the histories, say of a claim.

    Attributes:
        source: "report", "standard" or "history".
        answer: what all parts come to.
        parts: the numbers; none if nothing was measured.
        results: those that they are computed from.
    """

    source: str
    answer: Answer
    parts: tuple[Part, ...] = ()
    results: tuple[Result, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """A claim and the findings on it, of which the first decides."""

    claim: Claim
    findings: tuple[Finding, ...]

    @property
    def outcome(self) -> Answer:
        """What both protocols come to."""
        first, *rest = self.findings
        others = {finding.answer for finding in rest}
        if first.answer is Answer.HOLDS and others - {Answer.HOLDS}:
            if first.source == Protocol.REPORT:
                return Answer.ONLY_AS_REPORTED
            if Answer.FAILS in others:
                return Answer.OPEN
        return first.answer


def judge_all(reproduction: Reproduction) -> list[Verdict]:
    """All claims, judged."""
    return [judge(claim, reproduction) for claim in CLAIMS]


def judge(claim: Claim, reproduction: Reproduction) -> Verdict:
    """Whether a claim holds, by the results under each protocol or by the training histories.

    Under a protocol it holds if it holds in every column, and trainings that are samples of the
    same agree.
    """
    if claim.figure:
        (figure,) = (f for f in reproduction.figures if f.printed.number == claim.figure)
        checked = [(curves.info.name, *LOSS_CHECKS[claim.rule](curves)) for curves in figure.curves]
        parts = tuple(Part(f"{name}:", Answer.of(holds), text) for name, holds, text in checked)
        return Verdict(claim, (Finding(HISTORY, agreed(part.answer for part in parts), parts),))
    protocols = [Protocol.REPORT, Protocol.STANDARD]
    if claim.single:
        protocols = [Protocol.STANDARD]
    elif claim.rule is Rule.NOT_LESS:  # there are more test images than validation images
        protocols.reverse()
    return Verdict(claim, tuple(_judge_results(claim, reproduction, each) for each in protocols))


def every(answers: Iterable[Answer]) -> Answer:
    """Holds if all do, fails if one does; else it cannot be said, as where there is none."""
    known = set(answers)
    if Answer.FAILS in known:
        return Answer.FAILS
    return Answer.HOLDS if known == {Answer.HOLDS} else Answer.OPEN


def agreed(answers: Iterable[Answer]) -> Answer:
    """What all say, of trainings that are samples of the same; else it cannot be said."""
    known = set(answers)
    return known.pop() if len(known) == 1 else Answer.OPEN


# --- by results ---


CHECKS: dict[Rule, Callable[[Difference], bool | None]] = {
    Rule.CLEARLY_MORE: lambda gain: gain.points > 0 if gain.clear else None,
    Rule.TEN_POINTS_MORE: lambda gain: False if gain.high < 10 else True if gain.low > 0 else None,
    Rule.OVER_TEN_POINTS_MORE: lambda gain: None if gain.low <= 10 <= gain.high else gain.low > 10,
    Rule.NOT_LESS: lambda gain: False if gain.high < 0 else True if gain.low > -MARGIN else None,
}
"""Whether a gain bears a claim out; False where it clearly says the opposite, None between."""


def _judge_results(claim: Claim, reproduction: Reproduction, protocol: Protocol) -> Finding:
    """All columns of a claim under a protocol."""
    by_column = {c: _pairs(claim, reproduction, protocol, c) for c in claim.columns}
    results = {id(r): r for pairs in by_column.values() for pair in pairs for r in pair if r}
    if not results:
        return Finding(str(protocol), Answer.OPEN)
    parts = tuple(_judge_column(claim.rule, column, pairs) for column, pairs in by_column.items())
    answer = every(part.answer for part in parts)
    return Finding(str(protocol), answer, parts, tuple(results.values()))


def _pairs(claim: Claim, reproduction: Reproduction, protocol: Protocol, column: str) -> list[Pair]:
    """Our results in a column, each beside the one that it is compared with, if any."""

    def results(trained: TrainedEnsemble | None, models: Sequence[str]) -> list[Result]:
        if trained is None:
            return []
        if claim.single:
            candidates = [trained.single.get(column)]
        elif protocol is Protocol.STANDARD and claim.columns == ("clean",):
            candidates = [_clean_on_most_images(trained, model) for model in models]
        else:
            candidates = [trained.results.get((protocol, model, column)) for model in models]
        return [result for result in candidates if result is not None]

    ours = reproduction.table(claim.ours)
    if claim.theirs is None:
        return [(each, None) for t in ours.trained for each in results(t, SUBMODELS)]
    pairs: list[Pair] = []
    their_models = SUBMODELS if claim.best_submodel else [MIXTURE_NAME]
    for mine in ours.trained:
        theirs = counterpart(mine, reproduction.table(claim.theirs))
        first, others = results(mine, [MIXTURE_NAME]), results(theirs, their_models)
        best = max(others, key=lambda result: result.accuracy, default=None)
        if first and best and first[0].n == best.n:
            pairs.append((first[0], best))
    return pairs


def counterpart(mine: TrainedEnsemble, theirs: ReproducedTable) -> TrainedEnsemble | None:
    """The training to compare with: what it started from, else of its seed, else the first."""
    start, seed = mine.info.card.config.get("start_digest"), mine.info.card.seed
    same_start = [other for other in theirs.trained if other.info.digest == start]
    same_seed = [other for other in theirs.trained if other.info.card.seed == seed]
    return next(iter([*same_start, *same_seed, *theirs.trained]), None)


def _clean_on_most_images(trained: TrainedEnsemble, model: str) -> Result | None:
    """Accuracy without attack, measured or stated on the card: of the most test images."""
    measured = trained.results.get((Protocol.STANDARD, model, "clean"))
    name, weights = trained.info.name, trained.info.digest
    stated = [
        replace(each, checkpoint=name, protocol=Protocol.STANDARD, weights=weights)
        for each in trained.info.card.results
        if (each.model, each.attack, each.split) == (model, "clean", Split.TEST)
    ]
    return max([*stated, *([measured] if measured else [])], key=lambda r: r.n, default=None)


def _judge_column(rule: Rule, column: str, pairs: Sequence[Pair]) -> Part:
    """What all trainings say in one column."""
    if not pairs:
        return Part(ATTACK_TITLES[column], Answer.OPEN, "not measured yet")
    ours = [result for result, _ in pairs]
    attack = attack_title(ours[0].attack, ours[0].parameters)
    title = ATTACK_TITLES[ours[0].attack]
    if rule is Rule.ABOUT_60:
        answer = every(Answer.of(r.ci_low - NEAR <= 60 <= r.ci_high + NEAR) for r in ours)
        cell = Cell(tuple(ours))
        details = tuple(f"{attack}: {_of_one(r)}" for r in ours)
        return Part(title, answer, f"{cell.mean:.1f} % ({cell.interval})", details)
    both = [(ours, theirs, difference(ours, theirs)) for ours, theirs in pairs if theirs]
    gains = [gain for _, _, gain in both]
    answer = agreed(Answer.of(CHECKS[rule](gain)) for gain in gains)
    low, high = min(gain.low for gain in gains), max(gain.high for gain in gains)
    mean = sum(gain.points for gain in gains) / len(gains)
    details = tuple(f"{attack}: {_of_one(a)} against {_of_one(b)}: {gain}" for a, b, gain in both)
    return Part(title, answer, f"{signed(mean)} ({signed(low)} to {signed(high)})", details)


def _of_one(result: Result) -> str:
    """An accuracy and whose it is."""
    return f"{result.checkpoint} {model_title(result.model)} ({result.accuracy:.1f} %)"


def signed(points: float) -> str:
    """A difference with its sign."""
    return f"{round(points, 1) + 0.0:+.1f}".replace("-", "−")  # no −0.0


# --- by histories ---


class LearningCurve:
    """A loss over the epochs, described by levels, so that single noisy epochs do not decide.

    A level is a mean over a tenth of the epochs, five at least. The values are one for each epoch.
    """

    def __init__(self, values: Sequence[float]) -> None:
        self.values = list(values)
        self.window = max(5, round(0.1 * len(self.values)))
        self.first, self.last = self.level(self.window), self.level(len(self.values))

    @property
    def lowest_epoch(self) -> int:
        """The epoch, from 1, of the lowest value."""
        return self.values.index(min(self.values)) + 1

    def level(self, epoch: int) -> float:
        """The mean over the window that ends with an epoch, or over the first window."""
        end = min(max(epoch, self.window), len(self.values))
        part = self.values[max(0, end - self.window) : end]
        return sum(part) / len(part)

    @property
    def risen(self) -> float:
        """How far the last level is above the lowest, relative to it."""
        lowest = min(self.level(epoch) for epoch in range(1, len(self.values) + 1))
        return (self.last - lowest) / abs(lowest)

    def still_to_fall(self, epoch: int) -> float:
        """Share of the whole fall that comes after an epoch; 1 for a loss that does not fall."""
        whole = self.first - self.last
        return (self.level(epoch) - self.last) / whole if whole > 0 else 1.0


def _members(curves: Curves, loss: str) -> list[LearningCurve]:
    """A loss of each submodel."""
    by_epoch = [row[loss] for row in curves.history]
    return [LearningCurve(values) for values in zip(*by_epoch, strict=True)]


def _overfits(curves: Curves) -> tuple[bool | None, str]:
    losses = _members(curves, "val_loss")
    lowest, risen = [each.lowest_epoch for each in losses], [each.risen for each in losses]
    rise = _listed(signed(100 * each) for each in risen)
    text = (
        f"validation losses lowest at epochs {_listed(lowest)} of {curves.epochs}, {rise} % at the "
        "end"
    )
    if curves.epochs <= 30 + AROUND:
        return None, f"{text}; too short to show a turn"
    both = zip(lowest, risen, strict=True)
    return all(abs(epoch - 30) <= AROUND and rise > RISEN for epoch, rise in both), text


def _stalls_at_the_end(curves: Curves) -> tuple[bool | None, str]:
    losses = _members(curves, "train_loss")
    left = [each.still_to_fall(curves.epochs - each.window) for each in losses]
    text = (
        f"{_shares(left)} % of the training losses' fall in the last {losses[0].window} epochs, to "
        f"{_listed(f'{each.last:.2f}' for each in losses)} nats"
    )
    fell = [each.last < each.first for each in losses]
    return all(fell) and max(left) < STALLED, text


def _stalls_around_40(curves: Curves) -> tuple[bool | None, str]:
    mixture = LearningCurve([row["mixture_val_loss"] for row in curves.history])
    losses = [*_members(curves, "train_loss"), mixture]
    after, before = ([each.still_to_fall(e) for each in losses] for e in (40, 40 - AROUND))
    text = (
        f"{_shares(after[:-1])} % of the training losses' fall is left after epoch 40 "
        f"({_shares(before[:-1])} % after epoch 30), {_shares(after[-1:])} % of the mixture's "
        f"validation loss's ({_shares(before[-1:])} %)"
    )
    return all(now < STALLED <= then for now, then in zip(after, before, strict=True)), text


LOSS_CHECKS: dict[Rule, Callable[[Curves], tuple[bool | None, str]]] = {
    Rule.OVERFITS_AFTER_30: _overfits,
    Rule.STALLS_AT_THE_END: _stalls_at_the_end,
    Rule.STALLS_AROUND_40: _stalls_around_40,
}


def _shares(values: Sequence[float]) -> str:
    return _listed(f"{100 * value:.0f}".replace("-", "−") for value in values)


def _listed(values: Iterable[object]) -> str:
    """Values in a sentence, such as "1, 2 and 3"."""
    *first, last = map(str, values)
    return f"{', '.join(first)} and {last}" if first else last
