"""Random starts that are a function of the seed, the restart and the image's number alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats  # type: ignore[import-untyped]  # comes with foolbox
from torch import Tensor

from dverge.attacks import AttackConfig, Norm, image_starts
from dverge.attacks.geometry import lengths

LINF, L2 = Norm.LINF, Norm.L2
NUMBERS = [5, 0, 9_999, 17, 3, 49_999, 1, 2]
SMALL = 1e-4  # a fair draw falls below this once in ten thousand; the seeds here are fixed


def ball(norm: Norm, eps: float = 0.1, seed: int = 0) -> AttackConfig:
    return AttackConfig(norm, eps, 0.1, 1, random_start=True, seed=seed)


@pytest.mark.parametrize("norm", Norm)
def test_permuting_and_splitting_the_batch_permutes_and_splits_them(
    norm: Norm, images: Tensor
) -> None:
    found = image_starts(images, NUMBERS, ball(norm), 2)
    assert found.shape == images.shape and found.dtype == images.dtype
    order = [3, 7, 0, 1, 6, 2, 5, 4]
    permuted = image_starts(images[order], [NUMBERS[i] for i in order], ball(norm), 2)
    assert permuted.equal(found[order])
    for i in range(0, 8, 3):
        part = slice(i, i + 3)
        assert image_starts(images[part], NUMBERS[part], ball(norm), 2).equal(found[part])
    twice = image_starts(images[[4, 4]], [NUMBERS[4]] * 2, ball(norm), 2)
    assert twice.equal(found[[4, 4]])


@pytest.mark.parametrize("norm", Norm)
def test_the_image_itself_moves_the_start_alone(norm: Norm) -> None:
    """The offset is the same about every image that is not near the box."""
    grey = torch.full((8, 3, 32, 32), 0.5, dtype=torch.float64)
    offsets = image_starts(grey, NUMBERS, ball(norm), 0) - grey
    darker = image_starts(grey - 0.2, NUMBERS, ball(norm), 0) - (grey - 0.2)
    torch.testing.assert_close(darker, offsets, rtol=0, atol=1e-15)
    half = image_starts(grey, NUMBERS, ball(norm, 0.05), 0) - grey
    torch.testing.assert_close(2 * half, offsets, rtol=0, atol=1e-15)
    single = image_starts(grey.float(), NUMBERS, ball(norm), 0) - grey.float()
    torch.testing.assert_close(single.double(), offsets, rtol=0, atol=1e-7)


@pytest.mark.parametrize("norm", Norm)
def test_seed_restart_and_number_each_change_it(norm: Norm, images: Tensor) -> None:
    numbers = [0, 1, 2, 3, 4, 5, 6, 7]
    found = [
        image_starts(images, numbers, ball(norm, seed=seed), restart)
        for seed in (0, 1, 12)
        for restart in (0, 1, 2, 12)
    ]
    found.append(image_starts(images, [n + 8 for n in numbers], ball(norm), 0))
    drawn = torch.cat([each - images for each in found]).flatten(1)
    assert len(drawn.unique(dim=0)) == len(drawn) == 13 * 8
    assert image_starts(images, numbers, ball(norm), 0).equal(found[0])


def test_the_budget_of_a_step_and_what_else_an_attack_is_do_not_matter(images: Tensor) -> None:
    other = replace(ball(LINF), step_size=0.3, steps=40, restarts=5, momentum=0.5)
    found = image_starts(images, NUMBERS, ball(LINF), 1)
    assert image_starts(images, NUMBERS, other, 1).equal(found)


def test_numbers_of_any_kind(images: Tensor) -> None:
    found = image_starts(images, NUMBERS, ball(L2), 1)
    for numbers in (np.array(NUMBERS), torch.tensor(NUMBERS), tuple(NUMBERS)):
        assert image_starts(images, numbers, ball(L2), 1).equal(found)  # type: ignore[arg-type]


@pytest.mark.parametrize("norm", Norm)
@pytest.mark.parametrize("eps", [0.0, 0.03, 1.0])
def test_in_ball_and_box(norm: Norm, eps: float) -> None:
    origin = torch.rand(50, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    origin[:5], origin[5:10] = 0, 1
    found = image_starts(origin, range(50), ball(norm, eps), 0)
    delta = (found - origin).double()
    length = delta.abs().amax((1, 2, 3)) if norm is LINF else lengths(delta)
    assert length.max() <= eps * (1 + 1e-5)
    assert 0 <= found.min() <= found.max() <= 1
    assert eps == 0 or (delta != 0).flatten(1).any(1).all()


@pytest.mark.parametrize("size", [2, 32])
def test_they_fill_the_cube_evenly(size: int) -> None:
    grey = torch.full((400, 3, size, size), 0.5, dtype=torch.float64)
    offsets = (image_starts(grey, range(400), ball(LINF), 0) - grey) / 0.1
    values = offsets.flatten()[:40_000].numpy()
    assert stats.kstest(values, "uniform", args=(-1, 2)).pvalue > SMALL
    bound = 5 / 400**0.5
    assert offsets.mean(0).abs().max() < bound  # of each pixel: mean 0, variance 1/3
    assert offsets.square().mean(0).sub(1 / 3).abs().max() < bound


@pytest.mark.parametrize("size", [2, 32])
def test_they_fill_the_l2_ball_evenly(size: int) -> None:
    """In n dimensions the share of the ball within radius r is r^n."""
    grey = torch.full((400, 3, size, size), 0.5, dtype=torch.float64)
    offsets = ((image_starts(grey, range(400), ball(L2), 0) - grey) / 0.1).flatten(1)
    radius, dimensions = offsets.norm(dim=1), offsets.shape[1]
    assert stats.kstest((radius**dimensions).numpy(), "uniform").pvalue > SMALL
    directions = offsets / radius[:, None]
    assert directions.mean(0).abs().max() < 5 / (400 * dimensions) ** 0.5
    assert directions.square().mean(0).mul(dimensions).sub(1).abs().max() < 0.5


def test_successive_numbers_and_restarts_are_not_related() -> None:
    grey = torch.full((64, 3, 32, 32), 0.5, dtype=torch.float64)
    drawn = [image_starts(grey, range(64), ball(LINF), r).flatten(1) - 0.5 for r in range(2)]
    related = torch.corrcoef(torch.cat(drawn)) - torch.eye(128, dtype=torch.float64)
    assert related.abs().max() < 5.5 / 3072**0.5


def test_the_global_generator_is_neither_drawn_from_nor_heeded(images: Tensor) -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    found = image_starts(images, NUMBERS, ball(L2), 0)
    assert torch.get_rng_state().equal(state)
    torch.manual_seed(2)
    assert image_starts(images, NUMBERS, ball(L2), 0).equal(found)
