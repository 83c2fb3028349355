"""The tuned recipe on test images that it was not chosen on."""

from __future__ import annotations

from dataclasses import replace

import torch

from dverge.data import Split, load
from dverge.evaluation.comparison import difference
from dverge.evaluation.protocols import Protocol
from dverge.reproduction.matching import Reproduction, TrainedEnsemble
from dverge.reproduction.printed import DVERGE_ADVT, TUNED_ADVT
from dverge.results import MIXTURE_NAME, Result, result_of

ALL = 10_000  # test images


def on_unseen_images(result: Result) -> Result:
    """A result on all test images, narrowed to the 9,000 that are not bundled.

    On the thousand that are, the tuned recipe was compared with others while it was chosen.

    Raises:
        ValueError: the result is not of all test images, or keeps nothing of each image.
    """
    if result.n != ALL or result.split != Split.TEST or not result.held:
        raise ValueError("only a result on all test images can be narrowed to some of them")
    rest = ~torch.isin(torch.arange(ALL), load(Split.SAMPLE).indices)
    right = result.right()[rest]
    narrow = result_of(right, result.model, result.attack, result.split)
    figures = ("n", "accuracy", "ci_low", "ci_high", "held")
    return replace(result, answers="", **{name: getattr(narrow, name) for name in figures})


def unseen_text(reproduction: Reproduction) -> str:
    """The tuned mixture beside DVERGE+AdvT on the unseen images; "" where it was not measured."""
    measured = [_headline(reproduction.table(table).trained) for table in (TUNED_ADVT, DVERGE_ADVT)]
    chosen = (
        "The tuned recipe was chosen on 1,000 of the test images and on the validation images, so "
        "its figures on those may flatter it."
    )
    if not all(measured):
        return chosen
    (clean, strong), (other_clean, other_strong) = measured
    return (
        f"{chosen} On the other 9,000 test images its mixture is correct on {_of(clean)} without "
        f"attack and on {_of(strong)} under the strong attack at L∞ 8/255; that of "
        f"{other_clean.checkpoint} on {_of(other_clean)} and {_of(other_strong)}. The differences: "
        f"{difference(clean, other_clean)}, and {difference(strong, other_strong)}."
    )


def _headline(trained: tuple[TrainedEnsemble, ...]) -> tuple[Result, ...]:
    """The first training's mixture on the unseen images, without attack and under the strong."""
    for each in trained:
        keys = [(Protocol.HEADLINE, MIXTURE_NAME, column) for column in ("clean", "strong-linf")]
        found = [each.results[key] for key in keys if key in each.results]
        if len(found) == len(keys) and all(result.n == ALL and result.held for result in found):
            return tuple(map(on_unseen_images, found))
    return ()


def _of(result: Result) -> str:
    return f"{result.accuracy:.1f} % ({result.ci_low:.1f}–{result.ci_high:.1f})"
