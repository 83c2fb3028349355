"""Figures 2 to 4 from histories made by hand, and what is said of their course."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest

from dverge import checkpoints
from dverge.errors import CheckpointError
from dverge.reproduction.figures import FigureAgain, reproduce_figures
from dverge.reproduction.learning import LearningCurve
from dverge.reproduction.statements import Judgement
from tests.reproduction.report_shelf import epochs_of, trained

ROOT = Path(__file__).parents[2]
YES, NO, OPEN = Judgement.HOLDS, Judgement.FAILS, Judgement.OPEN


# --- a curve ---


def test_levels_are_means_over_a_tenth_of_the_epochs() -> None:
    curve = LearningCurve(range(1, 101))
    assert curve.window == 10
    assert curve.level() == sum(range(91, 101)) / 10
    assert curve.level(50) == sum(range(41, 51)) / 10
    assert curve.level(3) == sum(range(1, 11)) / 10  # the first level there is
    assert curve.level(500) == curve.level()
    assert len(curve.levels) == 91
    assert LearningCurve(range(1, 31)).window == 5


def test_a_history_shorter_than_a_window() -> None:
    curve = LearningCurve([3.0, 1.0])
    assert curve.level() == 2.0 and curve.levels == []
    assert (curve.risen, curve.fallen, curve.lowest_epoch) == (0, 0, 2)


def test_the_lowest_and_highest_epoch_count_from_one() -> None:
    curve = LearningCurve([3, 1, 5, 2, 2, 2])
    assert (curve.lowest_epoch, curve.highest_epoch) == (2, 3)


def test_risen_and_fallen_are_told_from_levels_not_from_single_epochs() -> None:
    steady = [2.0] * 50
    steady[20] = 0.1
    assert LearningCurve(steady).risen == pytest.approx((2.0 - 1.62) / 1.62)  # (4·2 + 0.1) / 5
    up = LearningCurve([1.0] * 25 + [1.5] * 25)
    assert up.risen == pytest.approx(0.5) and up.fallen == 0
    down = LearningCurve([2.0] * 25 + [1.5] * 25)
    assert down.fallen == pytest.approx(0.25) and down.risen == 0


def test_what_is_still_to_fall() -> None:
    curve = LearningCurve([100 - i for i in range(100)])
    # from level 95.5 at epoch 10 to 5.5 at the end
    assert curve.still_to_fall(10) == 1
    assert curve.still_to_fall(55) == pytest.approx(0.5)
    assert curve.still_to_fall(100) == 0
    assert LearningCurve([1.0] * 20).still_to_fall(10) == 1
    spiked = [100.0 - i for i in range(100)]
    spiked[54] += 9  # one epoch of ten
    assert LearningCurve(spiked).still_to_fall(55) == pytest.approx(0.51)


def test_noise_that_groups_explain_and_noise_that_they_do_not() -> None:
    draw = random.Random(0)
    layers = [draw.randint(1, 5) for _ in range(200)]
    trend = [5 * math.exp(-i / 60) for i in range(200)]
    by_layer = [t + 0.2 * layer for t, layer in zip(trend, layers, strict=True)]
    by_chance = [t + draw.gauss(0, 0.3) for t in trend]
    assert LearningCurve(by_layer).explained(layers) > 0.9
    assert LearningCurve(by_chance).explained(layers) < 0.1
    assert LearningCurve([1.0] * 50).explained([1, 2] * 25) == 0
    assert LearningCurve([1.0, 2.0]).explained([1, 2]) == 0


# --- the figures ---


def figure(root: Path, number: int) -> FigureAgain:
    again = reproduce_figures(checkpoints.list_all(root)[0])
    assert [each.printed.number for each in again] == [2, 3, 4]
    return again[number - 2]


def judged(root: Path, number: int) -> list[Judgement]:
    found = figure(root, number)
    return [finding.judgement for each in found.statements for finding in each.findings]


def words(root: Path, number: int, which: int = 0) -> str:
    return figure(root, number).statements[which].findings[0].words


def test_without_a_training_nothing_is_drawn_and_nothing_said(tmp_path: Path) -> None:
    for number, count in ((2, 1), (3, 3), (4, 1)):
        found = figure(tmp_path, number)
        assert found.curves == () and len(found.statements) == count
        assert judged(tmp_path, number) == [OPEN] * count
        assert words(tmp_path, number) == "There is no training of this kind here yet."


def valley(epochs: int, bottom: int, rise: float = 0.02) -> list[float]:
    """A loss that falls to a bottom and rises after it."""
    return [1 + (0.1 * (bottom - i) if i < bottom else rise * (i - bottom)) for i in range(epochs)]


@pytest.mark.parametrize(
    ("bottoms", "rise", "verdict"),
    [
        ((29, 24, 34), 0.02, YES),
        ((29, 24, 60), 0.02, NO),
        ((29, 24, 10), 0.02, NO),
        ((29, 24, 34), 0.00001, NO),  # it stays where it was
    ],
)
def test_overfitting_is_told_of_a_hundred_epochs(
    tmp_path: Path, bottoms: tuple[int, int, int], rise: float, verdict: Judgement
) -> None:
    validation = [valley(100, bottom, rise) for bottom in bottoms]
    falling = [2 - 0.01 * i for i in range(100)]
    history = epochs_of([falling] * 3, falling, validation)
    trained(tmp_path, "vanilla-3xconv-s0-100", "vanilla", 100, history=history)
    trained(tmp_path, "vanilla-3xconv-s0", "vanilla", 30, history=history[:30])
    assert figure(tmp_path, 2).whole
    assert judged(tmp_path, 2) == [verdict]
    named = ", ".join(str(b + 1) for b in bottoms[:2]) + f" and {bottoms[2] + 1}"
    assert f"of 100 epochs, validation losses are lowest at epochs {named}," in words(tmp_path, 2)


def test_of_thirty_epochs_it_cannot_be_said(tmp_path: Path) -> None:
    losses = [valley(30, bottom) for bottom in (20, 21, 22)]
    history = epochs_of(losses, losses[0])
    trained(tmp_path, "vanilla-3xconv-s0", "vanilla", 30, history=history)
    found = figure(tmp_path, 2)
    assert [each.info.name for each in found.curves] == ["vanilla-3xconv-s0"] and not found.whole
    assert judged(tmp_path, 2) == [OPEN]
    assert "of 30 epochs" in words(tmp_path, 2)


def decay(epochs: int, scale: float, first: float = 2.0) -> list[float]:
    return [first * math.exp(-i / scale) for i in range(epochs)]


def dverge(root: Path, members: list[list[float]], name: str = "d-s0", **more: object) -> None:
    mixture = more.pop("mixture", [0.9 + 0.002 * i for i in range(200)])
    accuracy = more.pop("accuracy", [0.70 - 0.0002 * i for i in range(200)])
    layers = more.pop("layers", [1 + i % 5 for i in range(200)])
    seed = more.pop("seed", 0)
    history = epochs_of(members, mixture, members, accuracy, layers)  # type: ignore[arg-type]
    trained(root, name, "dverge", 200, int(str(seed)), history=history)


def noisy(values: list[float], seed: int = 0) -> list[float]:
    draw = random.Random(seed)
    return [value + draw.gauss(0, 0.05) for value in values]


def test_figure_3_as_the_report_has_it(tmp_path: Path) -> None:
    dverge(tmp_path, [noisy(decay(200, 40), i) for i in range(3)])
    assert judged(tmp_path, 3) == [YES, YES, YES]
    said = words(tmp_path, 3, 2)
    assert "lowest, 0.900 nats, at epoch 1 and 1.298 at the end" in said
    assert "highest, 70.0 %, at epoch 1 and 66.0 % at the end" in said


def test_a_loss_that_goes_on_falling_does_not_stall(tmp_path: Path) -> None:
    straight = [2 - 0.01 * i for i in range(200)]
    dverge(tmp_path, [straight, noisy(decay(200, 40)), noisy(decay(200, 40))])
    assert judged(tmp_path, 3)[0] is NO


def test_a_loss_that_never_fell_does_not_stall(tmp_path: Path) -> None:
    dverge(tmp_path, [[1 + 0.001 * i for i in range(200)]] * 3)
    assert judged(tmp_path, 3)[0] is NO


def test_noise_of_the_layers_is_not_that_of_the_steps(tmp_path: Path) -> None:
    draw = random.Random(1)
    layers = [draw.randint(1, 5) for _ in range(200)]
    members = [[v + 0.1 * layer for v, layer in zip(decay(200, 40), layers, strict=True)]] * 3
    dverge(tmp_path, members, layers=layers)
    assert judged(tmp_path, 3)[1] is NO


@pytest.mark.parametrize(
    ("mixture", "accuracy"),
    [
        ([0.9] * 200, [0.70 - 0.0002 * i for i in range(200)]),
        ([0.9 + 0.002 * i for i in range(200)], [0.7] * 200),
    ],
)
def test_a_mixture_that_does_not_drift(
    tmp_path: Path, mixture: list[float], accuracy: list[float]
) -> None:
    dverge(tmp_path, [decay(200, 40)] * 3, mixture=mixture, accuracy=accuracy)
    assert judged(tmp_path, 3)[2] is NO


def test_trainings_must_agree(tmp_path: Path) -> None:
    dverge(tmp_path, [noisy(decay(200, 40), i) for i in range(3)])
    dverge(tmp_path, [[2 - 0.01 * i for i in range(200)]] * 3, "d-s1", seed=1)
    assert judged(tmp_path, 3)[0] is OPEN
    said = words(tmp_path, 3)
    assert "d-s0: training losses" in said and "d-s1: training losses" in said
    assert [each.info.name for each in figure(tmp_path, 3).curves] == ["d-s0", "d-s1"]


@pytest.mark.parametrize(
    ("stall", "verdict"),
    [
        (39, YES),  # until then a straight line
        (50, NO),  # still falling at 40
        (25, NO),  # stalled well before
    ],
)
def test_stalling_around_epoch_40(tmp_path: Path, stall: int, verdict: Judgement) -> None:
    loss = [5 - 0.03 * min(i, stall) for i in range(50)]
    history = epochs_of([loss] * 3, loss)
    trained(tmp_path, "dverge-advt-3xconv-s0", "dverge-advt", 50, history=history)
    assert judged(tmp_path, 4) == [verdict]
    lowest = min(stall, 49) + 1
    assert f"lowest at epoch {lowest} of 50" in words(tmp_path, 4)


def test_one_loss_that_falls_on_decides(tmp_path: Path) -> None:
    stalls = [5 - 0.03 * min(i, 39) for i in range(50)]
    falls = [5 - 0.03 * i for i in range(50)]
    history = epochs_of([stalls] * 3, falls)
    trained(tmp_path, "dverge-advt-3xconv-s0", "dverge-advt", 50, history=history)
    assert judged(tmp_path, 4) == [NO]


def test_a_training_without_a_history_is_left_out(tmp_path: Path) -> None:
    trained(tmp_path, "d-s0", "dverge", 200)
    assert figure(tmp_path, 3).curves == ()


def test_a_broken_history_is_one_clear_message(tmp_path: Path) -> None:
    trained(tmp_path, "d-s0", "dverge", 200)
    (tmp_path / "d-s0" / "history.jsonl").write_text("{")
    with pytest.raises(CheckpointError, match=r"history\.jsonl cannot be read"):
        reproduce_figures(checkpoints.list_all(tmp_path)[0])


def test_the_shipped_histories_are_told_by_what_they_hold() -> None:
    """The lowest validation loss of the shipped DVERGE run, against a plain look at its file."""
    root = ROOT / "checkpoints"
    rows = checkpoints.read_history(checkpoints.read(root / "dverge-3xconv-s0"))
    lowest = min(rows, key=lambda row: row["mixture_val_loss"])
    said = words(root, 3, 2)
    assert f"lowest, {lowest['mixture_val_loss']:.3f} nats, at epoch {lowest['epoch']}" in said
