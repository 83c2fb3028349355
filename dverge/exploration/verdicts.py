"""What an attack does to one model's answer on one image, and how verdicts are counted."""

from __future__ import annotations

import enum
from collections.abc import Sequence


class Verdict(enum.StrEnum):
    """The outcome for one model; a targeted attack succeeds only where its target is reached."""

    HOLDS = "holds"
    FOOLED = "fooled"
    WRONG_BEFORE = "wrong before the attack"
    REACHED = "target reached"
    MISSED = "wrong, but not the target"
    TARGET_BEFORE = "said the target before the attack"


MIXTURE_WORDS = {
    Verdict.HOLDS: "the mixture holds",
    Verdict.FOOLED: "the mixture is fooled",
    Verdict.WRONG_BEFORE: "the mixture was wrong before the attack",
    Verdict.REACHED: "the mixture says the target",
    Verdict.MISSED: "the mixture is wrong, but does not say the target",
    Verdict.TARGET_BEFORE: "the mixture said the target before the attack",
}
SUCCESSES = (Verdict.FOOLED, Verdict.REACHED)
NOTES = {Verdict.WRONG_BEFORE: "wrong before", Verdict.TARGET_BEFORE: "on the target before"}
"""How a sentence names the verdicts that leave an attack nothing to do."""


def judge(label: int, before: int, after: int, target: int | None = None) -> Verdict:
    """The verdict on a model.

    Args:
        label: the image's true class, 0–9.
        before, after: the classes that the model predicts before and after the attack.
        target: the class that a targeted attack aims at, else None.
    """
    if before == target:
        return Verdict.TARGET_BEFORE
    if before != label:
        return Verdict.WRONG_BEFORE
    if after == label:
        return Verdict.HOLDS
    if target is None:
        return Verdict.FOOLED
    return Verdict.REACHED if after == target else Verdict.MISSED


def succeeded(verdicts: Sequence[Verdict]) -> tuple[int, int]:
    """How many are successes of the attack, and how many were correct before it."""
    counted = [verdict for verdict in verdicts if verdict not in NOTES]
    return sum(verdict in SUCCESSES for verdict in counted), len(counted)


def mixture_words(verdict: Verdict, says_target: bool = False) -> str:
    """The verdict on the mixture in words.

    Args:
        verdict: on the mixture.
        says_target: it predicts the target after the attack, whatever it predicted before.
    """
    if verdict is Verdict.WRONG_BEFORE and says_target:
        return "the mixture, wrong before, says the target"
    return MIXTURE_WORDS[verdict]


def summarise(
    verdicts: Sequence[Verdict], targeted: bool = False, says_target: bool = False
) -> str:
    """The result in a sentence, such as "2 of 3 submodels fooled, the mixture holds.".

    Args:
        verdicts: on each member, then on the mixture.
        targeted: the attack has a target.
        says_target: see mixture_words.
    """
    *members, mixture = verdicts
    noun = "submodel" if len(members) == 1 else "submodels"
    count = f"{sum(each in SUCCESSES for each in members)} of {len(members)} {noun}"
    parts = [f"Target reached on {count}" if targeted else f"{count} fooled"]
    for verdict, note in NOTES.items():
        if number := members.count(verdict):
            parts.append(f"{number} {note}")
    end = "; " if len(parts) > 1 else ", "
    return f"{', '.join(parts)}{end}{mixture_words(mixture, says_target)}."
