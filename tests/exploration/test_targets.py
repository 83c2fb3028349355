"""The grid of targeted attacks against a plain loop over single images."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import binomtest  # type: ignore[import-untyped]  # comes with foolbox

from dverge.attacks import MIXTURE, Norm, Victim, image_starts, pgd
from dverge.attacks.gradient import ascend, victim_logits, victim_objective
from dverge.data import ImageSet, Split, load
from dverge.errors import ConfigError
from dverge.exploration.targets import TargetGrid, target_grid
from dverge.models import Ensemble

CONFIG = pgd(Norm.LINF, 0.02, steps=3, seed=5)


@pytest.fixture(scope="module")
def some(ensemble: Ensemble) -> ImageSet:
    """Thirty images, two thirds of them labelled as the mixture predicts."""
    images = load(Split.SAMPLE).subset(slice(4, None, 34))
    with torch.no_grad():
        labels = ensemble(images.pixels()).argmax(1)
    labels[::3] = (labels[::3] + 1) % 10
    return ImageSet(images.split, images.images, labels, images.indices)


def by_hand(ensemble: Ensemble, images: ImageSet, victim: Victim) -> tuple[list, list]:
    reached, attacked = [[0] * 10 for _ in range(10)], [0] * 10
    targeted = pgd(Norm.LINF, 0.02, steps=3, seed=5, targeted=True)
    for i in range(len(images)):
        x, label = images.pixels(i), int(images.labels[i])
        with torch.no_grad():
            if int(victim_logits(ensemble, x, victim).argmax()) != label:
                continue
        attacked[label] += 1
        for target in range(10):
            if target == label:
                continue
            start = image_starts(x, [int(images.indices[i])], targeted, 0)
            objective = victim_objective(ensemble, torch.tensor([target]), targeted, victim)
            end = ascend(objective, start, x, targeted, keep_all=False).images[-1]
            with torch.no_grad():
                predicted = int(victim_logits(ensemble, end, victim).argmax())
            reached[label][target] += predicted == target
    return reached, attacked


@pytest.mark.parametrize("victim", [MIXTURE, Victim(1)], ids=str)
def test_counts_are_those_of_a_plain_loop(
    ensemble: Ensemble, some: ImageSet, victim: Victim
) -> None:
    reported: list[float] = []
    grid = target_grid(ensemble, some, CONFIG, victim, reported.append)
    reached, attacked = by_hand(ensemble, some, victim)
    assert grid.attacked.tolist() == attacked
    assert grid.reached.tolist() == reached
    assert 0 < grid.reached.sum() < 9 * sum(attacked)
    assert grid.config.targeted and grid.victim == victim
    assert reported == sorted(reported) and reported[0] > 0 and reported[-1] == 1


def grid_by_hand(reached: dict[tuple[int, int], int], attacked: dict[int, int]) -> TargetGrid:
    counts, images = torch.zeros(10, 10, dtype=torch.int64), torch.zeros(10, dtype=torch.int64)
    for cell, count in reached.items():
        counts[cell] = count
    for label, count in attacked.items():
        images[label] = count
    return TargetGrid(counts, images, CONFIG, MIXTURE)


def test_figures_by_hand() -> None:
    # class 5 is the target of all six images and reached by four; class 3 by three of six
    grid = grid_by_hand({(0, 3): 1, (0, 5): 4, (2, 3): 2}, {0: 4, 2: 2})
    rate = grid.rate()
    assert rate[0, 3] == 25 and rate[0, 5] == 100 and rate[2, 3] == 100 and rate[2, 5] == 0
    assert math.isnan(rate[0, 0]) and math.isnan(rate[7, 3])
    known = binomtest(1, 4).proportion_ci(method="wilson")
    assert grid.interval(0, 3) == pytest.approx((100 * known.low, 100 * known.high))
    assert grid.summary() == (
        "13 % of 54 targeted attacks reach their target; the easiest to reach is dog, with 67 %."
    )
    assert "nothing to attack" in grid_by_hand({}, {}).summary()


def test_a_class_is_no_target_of_its_own_images() -> None:
    # 2 of the 4 images of other classes reach class 5; its own 6 do not count
    grid = grid_by_hand({(0, 5): 2, (5, 0): 1}, {0: 4, 5: 6})
    assert "easiest to reach is dog, with 50 %" in grid.summary()


def test_restarts_and_a_missing_victim_are_refused(ensemble: Ensemble, some: ImageSet) -> None:
    with pytest.raises(ConfigError, match="restarts is 2"):
        target_grid(ensemble, some, pgd(Norm.LINF, 0.02, restarts=2))
    with pytest.raises(ConfigError, match="victim is member 4"):
        target_grid(ensemble, some, CONFIG, Victim(3))
