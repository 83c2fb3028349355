"""Verdicts on one answer, their counts and their sentences."""

from __future__ import annotations

import pytest

from dverge.exploration.verdicts import MIXTURE_WORDS, Verdict, judge, succeeded, summarise

HOLDS, FOOLED, WRONG = Verdict.HOLDS, Verdict.FOOLED, Verdict.WRONG_BEFORE
REACHED, MISSED, BEFORE = Verdict.REACHED, Verdict.MISSED, Verdict.TARGET_BEFORE


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [(3, 3, HOLDS), (3, 5, FOOLED), (5, 5, WRONG), (5, 3, WRONG), (5, 7, WRONG)],
)
def test_verdicts_for_true_class_3(before: int, after: int, verdict: Verdict) -> None:
    assert judge(3, before, after) is verdict


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        *[(3, 3, HOLDS), (3, 8, REACHED), (3, 5, MISSED), (5, 8, WRONG), (5, 5, WRONG)],
        *[(8, 8, BEFORE), (8, 3, BEFORE), (8, 5, BEFORE)],
    ],
)
def test_verdicts_for_true_class_3_and_target_8(before: int, after: int, verdict: Verdict) -> None:
    assert judge(3, before, after, target=8) is verdict


def test_what_was_correct_before_is_counted() -> None:
    assert succeeded([FOOLED, HOLDS, WRONG]) == (1, 2)
    assert succeeded([REACHED, MISSED, HOLDS, WRONG, BEFORE]) == (1, 3)
    assert succeeded([WRONG, BEFORE]) == (0, 0)


@pytest.mark.parametrize(
    ("verdicts", "targeted", "sentence"),
    [
        ([FOOLED, FOOLED, HOLDS, HOLDS], False, "2 of 3 submodels fooled, the mixture holds."),
        ([FOOLED, FOOLED], False, "1 of 1 submodel fooled, the mixture is fooled."),
        (
            [WRONG, FOOLED, HOLDS, WRONG],
            False,
            "1 of 3 submodels fooled, 1 wrong before; the mixture was wrong before the attack.",
        ),
        (
            [REACHED, MISSED, REACHED, REACHED],
            True,
            "Target reached on 2 of 3 submodels, the mixture says the target.",
        ),
        (
            [BEFORE, MISSED, WRONG, MISSED],
            True,
            "Target reached on 0 of 3 submodels, 1 wrong before, 1 on the target before; "
            "the mixture is wrong, but does not say the target.",
        ),
    ],
)
def test_sentences(verdicts: list[Verdict], targeted: bool, sentence: str) -> None:
    assert summarise(verdicts, targeted) == sentence


def test_a_mixture_that_was_wrong_before_may_say_the_target() -> None:
    sentence = "Target reached on 0 of 1 submodel, 1 wrong before; "
    assert summarise([WRONG, WRONG], True).startswith(sentence + "the mixture was wrong before")
    says = summarise([WRONG, WRONG], True, says_target=True)
    assert says == sentence + "the mixture, wrong before, says the target."


def test_each_verdict_has_words() -> None:
    assert MIXTURE_WORDS.keys() == set(Verdict)
