"""Verdicts on the report's claims about losses, from histories made by hand."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from dverge.checkpoints import CheckpointInfo
from dverge.reproduction.claims import (
    Answer,
    Finding,
    LearningCurve,
    judge,
)
from dverge.reproduction.matching import (
    Curves,
    ReproducedFigure,
    reproduce,
)
from dverge.reproduction.printed import (
    CLAIMS,
    REPORT_FIGURES,
)
from tests.reproduction.report_shelf import epochs_of, make_card

YES, NO, OPEN = Answer.HOLDS, Answer.FAILS, Answer.OPEN


def test_levels_are_means_over_a_tenth_of_the_epochs() -> None:
    curve = LearningCurve(range(1, 101))
    assert curve.window == 10
    assert curve.last == sum(range(91, 101)) / 10 and curve.first == sum(range(1, 11)) / 10
    assert curve.level(50) == sum(range(41, 51)) / 10
    assert curve.level(3) == curve.first and curve.level(500) == curve.last
    assert LearningCurve(range(1, 31)).window == 5
    short = LearningCurve([3.0, 1.0])
    assert (short.last, short.risen, short.lowest_epoch) == (2.0, 0, 2)


def test_a_rise_shows_in_levels_not_in_single_epochs() -> None:
    steady = [2.0] * 50
    steady[20] = 0.1
    assert LearningCurve(steady).risen == pytest.approx((2.0 - 1.62) / 1.62)  # (4·2 + 0.1) / 5
    assert LearningCurve([1.0] * 25 + [1.5] * 25).risen == pytest.approx(0.5)
    assert LearningCurve([2.0] * 25 + [1.5] * 25).risen == 0


def test_what_is_still_to_fall() -> None:
    falling = [100.0 - i for i in range(100)]  # from level 95.5 at epoch 10 to 5.5 at the end
    curve = LearningCurve(falling)
    shares = [curve.still_to_fall(epoch) for epoch in (10, 55, 100)]
    assert shares == pytest.approx([1, 0.5, 0])
    assert LearningCurve([1.0] * 20).still_to_fall(10) == 1
    falling[54] += 9  # one epoch of ten
    assert LearningCurve(falling).still_to_fall(55) == pytest.approx(0.51)


def judge_losses(
    number: int,
    *trainings: Sequence[Sequence[float]],
    validation: Sequence[Sequence[float]] | None = None,
    mixture: Sequence[float] | None = None,
) -> Finding:
    """The finding on a figure from trainings with these losses of their submodels."""
    curves = tuple(
        Curves(
            CheckpointInfo(f"s{i}", Path("nowhere"), make_card("", "", 0)),
            epochs_of(losses, mixture or losses[0], validation),
        )
        for i, losses in enumerate(trainings)
    )
    figures = tuple(ReproducedFigure(f, curves) for f in REPORT_FIGURES)
    (claim,) = [claim for claim in CLAIMS if claim.figure == number]
    (finding,) = judge(claim, replace(reproduce([]), figures=figures)).findings
    return finding


def valley(epochs: int, bottom: int, rise: float = 0.02) -> list[float]:
    """A loss that falls to a bottom and rises after it."""
    return [1 + (0.1 * (bottom - i) if i < bottom else rise * (i - bottom)) for i in range(epochs)]


@pytest.mark.parametrize(
    ("epochs", "bottoms", "rise", "answer"),
    [
        (100, (29, 24, 34), 0.02, YES),
        (100, (29, 24, 60), 0.02, NO),
        (100, (29, 24, 10), 0.02, NO),
        (100, (29, 24, 34), 0.00001, NO),  # it stays where it was
        (30, (20, 21, 22), 0.02, OPEN),  # too short
    ],
)
def test_overfitting_after_30_epochs(
    epochs: int, bottoms: tuple[int, int, int], rise: float, answer: Answer
) -> None:
    validation = [valley(epochs, bottom, rise) for bottom in bottoms]
    finding = judge_losses(2, [[2 - 0.01 * i for i in range(epochs)]] * 3, validation=validation)
    assert finding.answer is answer
    first, second, third = (bottom + 1 for bottom in bottoms)
    text = f"validation losses lowest at epochs {first}, {second} and {third} of {epochs}, "
    assert finding.parts[0].text.startswith(text)


def noisy(seed: int) -> list[float]:
    """A loss that falls and levels off, with noise."""
    draw = random.Random(seed)
    return [2 * math.exp(-i / 40) + draw.gauss(0, 0.05) for i in range(200)]


STRAIGHT = [2 - 0.01 * i for i in range(200)]


@pytest.mark.parametrize(
    ("trainings", "answer"),
    [
        ([[noisy(0), noisy(1), noisy(2)]], YES),
        ([[STRAIGHT, noisy(0), noisy(1)]], NO),
        ([[[1 + 0.001 * i for i in range(200)]] * 3], NO),  # it never fell
        ([[noisy(0), noisy(1), noisy(2)], [STRAIGHT] * 3], OPEN),  # trainings disagree
    ],
)
def test_stalling_at_the_end(trainings: list[list[list[float]]], answer: Answer) -> None:
    finding = judge_losses(3, *trainings)
    assert finding.answer is answer
    assert [part.title for part in finding.parts] == [f"s{i}:" for i in range(len(trainings))]


def until(epoch: int) -> list[float]:
    """A loss of 50 epochs that falls until one of them."""
    return [5 - 0.03 * min(i, epoch) for i in range(50)]


@pytest.mark.parametrize(
    ("members", "mixture", "answer"),
    [
        (until(39), until(39), YES),
        (until(50), until(50), NO),  # still falling at 40
        (until(25), until(25), NO),  # stalled well before
        (until(39), until(50), NO),  # one that falls on decides
    ],
)
def test_stalling_around_epoch_40(
    members: list[float], mixture: list[float], answer: Answer
) -> None:
    assert judge_losses(4, [members] * 3, mixture=mixture).answer is answer
