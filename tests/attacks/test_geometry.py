"""Steps, balls and random points by their definitions."""

from __future__ import annotations

import pytest
import torch
from scipy import stats  # type: ignore[import-untyped]  # comes with foolbox

from dverge.attacks import AttackConfig, Norm
from dverge.attacks.geometry import ascent, lengths, project, random_point

LINF, L2 = Norm.LINF, Norm.L2
GREY = torch.full((400, 1, 2, 2), 0.5, dtype=torch.float64)
SMALL = 1e-4  # a fair draw falls below this once in ten thousand; the seeds here are fixed


def drawn(norm: Norm, origin: torch.Tensor, eps: float, seed: int = 0) -> torch.Tensor:
    config = AttackConfig(norm, eps, 0.1, 1, random_start=True)
    return random_point(origin, config, torch.Generator().manual_seed(seed))


def test_lengths_are_of_each_image() -> None:
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
    found = ascent(torch.tensor(gradient).view(1, 1, 2, 2), norm)
    torch.testing.assert_close(found.flatten(), torch.tensor(expected, dtype=torch.float32))


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
    found = project(points, GREY[:1], AttackConfig(norm, 0.1, 0.1, 1))
    torch.testing.assert_close(found.flatten(), torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("norm", Norm)
def test_the_box_comes_after_the_ball(norm: Norm) -> None:
    origin = torch.tensor([0.05, 0.95]).view(1, 1, 1, 2)
    config = AttackConfig(norm, 0.3, 0.1, 1)
    found = project(torch.tensor([-0.5, 2.0]).view(1, 1, 1, 2), origin, config)
    assert found.flatten().tolist() == [0, 1]


@pytest.mark.parametrize("norm", Norm)
@pytest.mark.parametrize("eps", [0.0, 0.03, 1.0])
def test_random_points_are_in_ball_and_box(norm: Norm, eps: float) -> None:
    origin = torch.rand(50, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    points = drawn(norm, origin, eps)
    delta = (points - origin).double()
    length = delta.abs().amax((1, 2, 3)) if norm is LINF else lengths(delta)
    assert length.max() <= eps * (1 + 1e-5)
    assert 0 <= points.min() <= points.max() <= 1


def test_random_points_fill_the_cube_evenly() -> None:
    offsets = (drawn(LINF, GREY, 0.2) - GREY) / 0.2
    assert stats.kstest(offsets.flatten().numpy(), "uniform", args=(-1, 2)).pvalue > SMALL


@pytest.mark.parametrize("size", [2, 32])
def test_random_points_fill_the_ball_evenly(size: int) -> None:
    """In n dimensions the share of the ball within radius r is r^n."""
    origin = torch.full((400, 3, size, size), 0.5, dtype=torch.float64)
    offsets = ((drawn(L2, origin, 0.2, seed=3) - origin) / 0.2).flatten(1)
    radius = offsets.norm(dim=1)
    dimensions = offsets.shape[1]
    assert stats.kstest((radius**dimensions).numpy(), "uniform").pvalue > SMALL
    directions = offsets / radius[:, None]
    assert directions.mean(0).abs().max() < 0.3 * (12 / dimensions) ** 0.5  # no side is preferred
    squares = directions.square().mean(0) * dimensions
    assert squares.sub(1).abs().max() < 0.5


@pytest.mark.parametrize("norm", Norm)
def test_each_image_and_each_draw_is_its_own(norm: Norm) -> None:
    generator = torch.Generator().manual_seed(0)
    config = AttackConfig(norm, 0.1, 0.1, 1, random_start=True)
    first, second = (random_point(GREY, config, generator) for _ in range(2))
    assert len(torch.cat([first, second]).flatten(1).unique(dim=0)) == 2 * len(GREY)
