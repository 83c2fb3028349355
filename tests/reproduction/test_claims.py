"""Verdicts on the report's claims: the rules, and what the shipped results say."""

from __future__ import annotations

from pathlib import Path

import pytest

from dverge import checkpoints
from dverge.evaluation.comparison import Difference
from dverge.reproduction.claims import (
    CHECKS,
    Answer,
    Finding,
    Verdict,
    agreed,
    every,
    judge_all,
)
from dverge.reproduction.matching import (
    reproduce,
)
from dverge.reproduction.printed import (
    CLAIMS,
    DVERGE,
    DVERGE_ADVT,
    VANILLA,
    Rule,
)
from tests.reproduction.report_shelf import answers, claim_of

ROOT = Path(__file__).parents[2]
YES, NO, OPEN = Answer.HOLDS, Answer.FAILS, Answer.OPEN


@pytest.mark.parametrize(
    ("rule", "low", "high", "answer"),
    [
        (Rule.CLEARLY_MORE, 0.1, 5, True),
        (Rule.CLEARLY_MORE, -0.1, 5, None),
        (Rule.CLEARLY_MORE, -5, -0.1, False),
        (Rule.TEN_POINTS_MORE, 8, 12, True),
        (Rule.TEN_POINTS_MORE, 12, 15, True),
        (Rule.TEN_POINTS_MORE, 8, 9.9, False),
        (Rule.TEN_POINTS_MORE, -20, -1, False),
        (Rule.TEN_POINTS_MORE, -1, 11, None),
        (Rule.OVER_TEN_POINTS_MORE, 10.1, 15, True),
        (Rule.OVER_TEN_POINTS_MORE, 9.9, 15, None),
        (Rule.OVER_TEN_POINTS_MORE, 5, 9.9, False),
        (Rule.NOT_LESS, -2.9, 1, True),
        (Rule.NOT_LESS, 1, 4, True),
        (Rule.NOT_LESS, -3.1, 1, None),
        (Rule.NOT_LESS, -3.1, -0.1, False),
        (Rule.NOT_LESS, -1, -0.1, False),
    ],
)
def test_what_a_difference_says(rule: Rule, low: float, high: float, answer: bool | None) -> None:
    assert CHECKS[rule](Difference((low + high) / 2, low, high)) is answer


@pytest.mark.parametrize(
    ("known", "in_all", "by_all"),
    [
        ([YES, YES], YES, YES),
        ([NO, NO], NO, NO),
        ([YES, NO], NO, OPEN),
        ([YES, OPEN], OPEN, OPEN),
        ([NO, OPEN], NO, OPEN),
        ([OPEN], OPEN, OPEN),
        ([], OPEN, OPEN),
    ],
)
def test_several_answers(known: list[Answer], in_all: Answer, by_all: Answer) -> None:
    assert every(known) is in_all
    assert agreed(known) is by_all


@pytest.mark.parametrize(
    ("findings", "outcome"),
    [
        ([("report", YES), ("standard", YES)], Answer.HOLDS),
        ([("report", YES), ("standard", NO)], Answer.ONLY_AS_REPORTED),
        ([("report", YES), ("standard", OPEN)], Answer.ONLY_AS_REPORTED),
        ([("report", NO), ("standard", YES)], Answer.FAILS),
        ([("report", NO), ("standard", NO)], Answer.FAILS),
        ([("report", OPEN), ("standard", YES)], Answer.OPEN),
        ([("report", OPEN), ("standard", NO)], Answer.OPEN),
        ([("standard", YES), ("report", OPEN)], Answer.HOLDS),
        ([("standard", YES), ("report", NO)], Answer.OPEN),
        ([("standard", NO), ("report", YES)], Answer.FAILS),
        ([("standard", OPEN), ("report", YES)], Answer.OPEN),
        ([("history", YES)], Answer.HOLDS),
    ],
)
def test_the_first_finding_decides_and_others_restrict_it(
    findings: list[tuple[str, Answer]], outcome: Answer
) -> None:
    assert Verdict(CLAIMS[0], tuple(Finding(*each) for each in findings)).outcome is outcome


def test_the_shipped_results_give_these_verdicts() -> None:
    """As they were when each was a function of its own."""
    expected = [
        ("A vanilla classifier is correct", Answer.HOLDS, [YES, YES]),
        ("A vanilla classifier overfits", Answer.HOLDS, [YES]),
        ("DVERGE's mixture beats its own", Answer.ONLY_AS_REPORTED, [YES, OPEN]),
        ("DVERGE's mixture beats the vanilla sub", Answer.OPEN, [OPEN, NO]),
        ("DVERGE gains ten points", Answer.ONLY_AS_REPORTED, [YES, NO]),
        ("DVERGE's mixture beats the vanilla mix", Answer.ONLY_AS_REPORTED, [YES, NO]),
        ("Attacks on single submodels", Answer.HOLDS, [YES]),
        ("DVERGE keeps the clean", Answer.HOLDS, [YES, OPEN]),
        ("DVERGE's training losses stall", Answer.HOLDS, [YES]),
        ("DVERGE+AdvT gains over ten", Answer.OPEN, [OPEN, YES]),
        ("DVERGE+AdvT costs no clean", Answer.FAILS, [NO, OPEN]),
        ("DVERGE+AdvT is better after 50", Answer.OPEN, [OPEN, OPEN]),
        ("DVERGE+AdvT's losses stall", Answer.OPEN, [OPEN]),
        ("DVERGE adds to what", Answer.FAILS, [NO, NO]),
    ]
    verdicts = judge_all(reproduce(checkpoints.list_all(ROOT / "checkpoints")[0]))
    for verdict, (start, outcome, each) in zip(verdicts, expected, strict=True):
        assert verdict.claim.text.startswith(start)
        assert (verdict.outcome, answers(verdict)) == (outcome, each)


def test_figures_that_explanations_quote_are_the_tables() -> None:
    beats = claim_of("DVERGE's mixture beats the vanilla sub").why
    best = max(row[3] for row in VANILLA.rows.values())
    assert f"{DVERGE.rows['mixture'][3]:.2f} % against {best:.2f} %" in beats
    clean = [table.rows["mixture"][0] for table in (DVERGE_ADVT, DVERGE)]
    text = claim_of("DVERGE+AdvT costs no clean").why
    assert f"{clean[0]:.2f} % against {clean[1]:.2f} %" in text
