"""Steps, projections and random starts by their definitions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats  # type: ignore[import-untyped]  # comes with foolbox
from torch import Tensor

from dverge.attacks import AttackConfig, Norm, image_starts
from dverge.attacks.geometry import ascent, lengths, project, random_point

LINF, L2 = Norm.LINF, Norm.L2
NUMBERS = [5, 0, 9_999, 17, 3, 49_999, 1, 2]
GREY = torch.full((8, 3, 32, 32), 0.5, dtype=torch.float64)
SMALL = 1e-4  # one in ten thousand fair draws has a lower p-value; the seeds here are fixed
norms = pytest.mark.parametrize("norm", Norm)


def ball(norm: Norm, eps: float = 0.1, seed: int = 0) -> AttackConfig:
    return AttackConfig(norm, eps, 0.1, 1, random_start=True, seed=seed)


def test_each_image_has_its_own_length() -> None:
    batch = torch.zeros(2, 3, 4, 4)
    batch[0, 0, 0, 0], batch[0, 2, 3, 3], batch[1, 1, 2, 2] = 3, 4, -2
    assert lengths(batch).flatten().tolist() == [5, 2]


@pytest.mark.parametrize(
    ("norm", "gradient", "expected"),
    [
        (LINF, [3.0, -0.1, 0.0, 1e-30], [1, -1, 0, 1]),
        (L2, [3.0, -4.0, 0.0, 0.0], [0.6, -0.8, 0, 0]),
        (L2, [0.0, 0.0, 0.0, 0.0], [0, 0, 0, 0]),
        (LINF, [0.0, 0.0, 0.0, 0.0], [0, 0, 0, 0]),
    ],
)
def test_ascent(norm: Norm, gradient: list[float], expected: list[float]) -> None:
    direction = ascent(torch.tensor(gradient).view(1, 1, 2, 2), norm)
    torch.testing.assert_close(direction.flatten(), torch.tensor(expected, dtype=torch.float32))


@pytest.mark.parametrize(
    ("norm", "point", "expected"),
    [
        (LINF, [0.9, 0.45, 0.5, 0.2], [0.6, 0.45, 0.5, 0.4]),
        (L2, [0.8, 0.9, 0.5, 0.5], [0.56, 0.58, 0.5, 0.5]),  # (0.3, 0.4) is 0.5 long
        (L2, [0.53, 0.54, 0.5, 0.5], [0.53, 0.54, 0.5, 0.5]),
        (L2, [0.5, 0.5, 0.5, 0.5], [0.5, 0.5, 0.5, 0.5]),
    ],
)
def test_project_onto_a_ball_of_a_tenth_about_grey(
    norm: Norm, point: list[float], expected: list[float]
) -> None:
    points = torch.tensor(point, dtype=torch.float64).view(1, 1, 2, 2)
    projected = project(points, torch.full_like(points, 0.5), AttackConfig(norm, 0.1, 0.1, 1))
    torch.testing.assert_close(projected.flatten(), torch.tensor(expected, dtype=torch.float64))


@norms
def test_the_box_comes_after_the_ball(norm: Norm) -> None:
    origin = torch.tensor([0.05, 0.95]).view(1, 1, 1, 2)
    far = torch.tensor([-0.5, 2.0]).view(1, 1, 1, 2)
    assert project(far, origin, AttackConfig(norm, 0.3, 0.1, 1)).flatten().tolist() == [0, 1]


# --- random starts ---

Draw = Callable[[Tensor, AttackConfig], Tensor]


def batch_draw(origin: Tensor, config: AttackConfig) -> Tensor:
    return random_point(origin, config, torch.Generator().manual_seed(config.seed))


def image_draw(origin: Tensor, config: AttackConfig) -> Tensor:
    return image_starts(origin, range(len(origin)), config, restart=0)


draws = pytest.mark.parametrize("draw", [batch_draw, image_draw])


@draws
@norms
@pytest.mark.parametrize("eps", [0.0, 0.03, 1.0])
def test_starts_are_in_ball_and_box(draw: Draw, norm: Norm, eps: float) -> None:
    origin = torch.rand(50, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    origin[:5], origin[5:10] = 0, 1
    points = draw(origin, ball(norm, eps))
    delta = (points - origin).double()
    length = delta.abs().amax((1, 2, 3)) if norm is LINF else lengths(delta)
    assert length.max() <= eps * (1 + 1e-5)
    assert 0 <= points.min() <= points.max() <= 1
    assert eps == 0 or (delta != 0).flatten(1).any(1).all()


@draws
@pytest.mark.parametrize("size", [2, 32])
def test_starts_fill_the_cube_evenly(draw: Draw, size: int) -> None:
    grey = torch.full((400, 3, size, size), 0.5, dtype=torch.float64)
    offsets = (draw(grey, ball(LINF)) - grey) / 0.1
    values = offsets.flatten()[:40_000].numpy()
    assert stats.kstest(values, "uniform", args=(-1, 2)).pvalue > SMALL
    bound = 5 / 400**0.5
    assert offsets.mean(0).abs().max() < bound  # of each pixel: mean 0, variance 1/3
    assert offsets.square().mean(0).sub(1 / 3).abs().max() < bound


@draws
@pytest.mark.parametrize("size", [2, 32])
def test_starts_fill_the_l2_ball_evenly(draw: Draw, size: int) -> None:
    """In n dimensions the share of the ball within radius r is r^n."""
    grey = torch.full((400, 3, size, size), 0.5, dtype=torch.float64)
    offsets = ((draw(grey, ball(L2, seed=3)) - grey) / 0.1).flatten(1)
    radius, dimensions = offsets.norm(dim=1), offsets.shape[1]
    assert stats.kstest((radius**dimensions).numpy(), "uniform").pvalue > SMALL
    directions = offsets / radius[:, None]
    assert directions.mean(0).abs().max() < 5 / (400 * dimensions) ** 0.5  # no side is preferred
    assert directions.square().mean(0).mul(dimensions).sub(1).abs().max() < 0.5


@norms
def test_each_image_and_each_draw_is_its_own(norm: Norm) -> None:
    generator = torch.Generator().manual_seed(0)
    grey = torch.full((400, 1, 2, 2), 0.5)
    points = torch.cat([random_point(grey, ball(norm), generator) for _ in range(2)])
    assert len(points.flatten(1).unique(dim=0)) == 800


@norms
def test_permuting_or_splitting_a_batch_does_the_same_to_its_starts(
    norm: Norm, images: Tensor
) -> None:
    starts = image_starts(images, NUMBERS, ball(norm), 2)
    assert starts.shape == images.shape and starts.dtype == images.dtype
    order = [3, 7, 0, 1, 6, 2, 5, 4]
    permuted = image_starts(images[order], [NUMBERS[i] for i in order], ball(norm), 2)
    assert permuted.equal(starts[order])
    for i in range(0, 8, 3):
        part = slice(i, i + 3)
        assert image_starts(images[part], NUMBERS[part], ball(norm), 2).equal(starts[part])
    twice = image_starts(images[[4, 4]], [NUMBERS[4]] * 2, ball(norm), 2)
    assert twice.equal(starts[[4, 4]])
    for numbers in (np.array(NUMBERS), torch.tensor(NUMBERS), tuple(NUMBERS)):
        same = image_starts(images, numbers, ball(norm), 2)  # type: ignore[arg-type]
        assert same.equal(starts)


@norms
def test_an_offset_depends_on_neither_pixels_nor_other_settings(norm: Norm) -> None:
    offsets = image_starts(GREY, NUMBERS, ball(norm), 0) - GREY
    darker = image_starts(GREY - 0.2, NUMBERS, ball(norm), 0) - (GREY - 0.2)
    torch.testing.assert_close(darker, offsets, rtol=0, atol=1e-15)
    half = image_starts(GREY, NUMBERS, ball(norm, 0.05), 0) - GREY
    torch.testing.assert_close(2 * half, offsets, rtol=0, atol=1e-15)
    single = image_starts(GREY.float(), NUMBERS, ball(norm), 0) - GREY.float()
    torch.testing.assert_close(single.double(), offsets, rtol=0, atol=1e-7)
    other = replace(ball(norm), step_size=0.3, steps=40, restarts=5, momentum=0.5)
    assert (image_starts(GREY, NUMBERS, other, 0) - GREY).equal(offsets)


@norms
def test_seed_restart_and_number_each_change_it(norm: Norm, images: Tensor) -> None:
    numbers = list(range(8))
    starts = [
        image_starts(images, numbers, ball(norm, seed=seed), restart)
        for seed in (0, 1, 12)
        for restart in (0, 1, 2, 12)
    ]
    starts.append(image_starts(images, [n + 8 for n in numbers], ball(norm), 0))
    offsets = torch.cat([each - images for each in starts]).flatten(1)
    assert len(offsets.unique(dim=0)) == len(offsets) == 13 * 8


def test_successive_numbers_and_restarts_are_uncorrelated() -> None:
    grey = torch.full((64, 3, 32, 32), 0.5, dtype=torch.float64)
    offsets = [image_starts(grey, range(64), ball(LINF), r).flatten(1) - 0.5 for r in range(2)]
    correlation = torch.corrcoef(torch.cat(offsets)) - torch.eye(128, dtype=torch.float64)
    assert correlation.abs().max() < 5.5 / 3072**0.5


@draws
def test_the_global_generator_has_no_part_in_it(draw: Draw, images: Tensor) -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    starts = draw(images, ball(L2))
    assert torch.get_rng_state().equal(state)
    torch.manual_seed(2)
    assert draw(images, ball(L2)).equal(starts)
