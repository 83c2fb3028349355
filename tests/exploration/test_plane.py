"""A plane through an image: directions, path, distances and the eps ball, against formulas."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dverge.attacks import MIXTURE, AttackConfig, Norm, StrongConfig, Victim, attack, pgd
from dverge.errors import ConfigError
from dverge.exploration.examine import examine
from dverge.exploration.plane import Plane, attack_plane
from dverge.models import Ensemble

LINF, L2 = pgd(Norm.LINF, 8 / 255, random_start=False), pgd(Norm.L2, 1.0, random_start=False)


@pytest.fixture(scope="module", params=[LINF, L2], ids=["linf", "l2"])
def plane(request: pytest.FixtureRequest, ensemble: Ensemble, images: Tensor) -> Plane:
    return attack_plane(ensemble, images[:1], 3, request.param, Victim(1))


def length(image: Tensor, norm: Norm) -> float:
    return (image.abs().max() if norm is Norm.LINF else image.norm()).item()


def scattered(plane: Plane, count: int) -> Tensor:
    """Coordinates in and around the eps ball, N×2."""
    noise = torch.rand(count, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return 3 * plane.config.eps * (2 * noise - 1)


def test_directions_are_orthogonal_and_of_length_one(plane: Plane) -> None:
    cosine = (plane.u * plane.v).sum() / (plane.u.norm() * plane.v.norm())
    assert abs(cosine.item()) < 1e-6
    for axis in (plane.u, plane.v):
        assert length(axis, plane.config.norm) == pytest.approx(1, abs=1e-6)


def test_the_path_goes_from_the_image_to_the_attacks_end(
    plane: Plane, ensemble: Ensemble, images: Tensor
) -> None:
    config = plane.config
    assert isinstance(config, AttackConfig)
    result = attack(ensemble, images[:1], torch.tensor([3]), config, Victim(1), record=True)
    size = length(result.images - images[:1], config.norm)
    assert plane.path.shape == (config.steps + 1, 2)
    assert plane.path[0].tolist() == [0, 0]
    assert plane.path[-1].tolist() == pytest.approx([size, 0], abs=1e-6)
    assert (plane.images(*plane.path[-1:].T) - result.images).abs().max() < 1e-6
    assert result.trace is not None  # a projection leaves nothing along the axes
    a, b = plane.path[config.steps // 2].view(2, 1).float()
    rest = result.trace.images[config.steps // 2] - images[:1] - a * plane.u - b * plane.v
    for axis in (plane.u, plane.v):
        assert abs((rest * axis).sum().item()) < 1e-4 * axis.norm().item()


def test_a_random_start_is_not_the_random_direction(ensemble: Ensemble, images: Tensor) -> None:
    plane = attack_plane(ensemble, images[:1], 3, pgd(Norm.L2, 1.0, seed=0), seed=0)
    assert abs(plane.path[0, 1].item()) < 0.1  # of 1: in 3,072 dimensions nearly orthogonal


def test_the_strong_attack_spans_a_plane_by_the_attempt_that_is_shown(
    ensemble: Ensemble, images: Tensor, labels: Tensor
) -> None:
    config, label = StrongConfig(Norm.LINF, 0.01), int(labels[1])
    outcome = examine(ensemble, images[1:2], label, config, number=9)
    plane = attack_plane(ensemble, images[1:2], label, config, number=9)
    assert len(plane.path) == len(outcome.course.images)
    assert (plane.images(*plane.path[-1:].T) - outcome.adversarial).abs().max() < 1e-6


def test_the_seed_decides_the_random_direction(ensemble: Ensemble, images: Tensor) -> None:
    planes = [attack_plane(ensemble, images[:1], 3, LINF, seed=seed) for seed in (4, 4, 5)]
    assert planes[0].v.equal(planes[1].v) and not planes[0].v.equal(planes[2].v)
    assert planes[0].u.equal(planes[2].u)


def test_images_are_the_clean_one_moved_and_clipped(plane: Plane, images: Tensor) -> None:
    points = 10 * scattered(plane, 20)  # so far that some pixels are clipped
    moved = plane.images(*points.T)
    assert moved.shape == (20, 3, 32, 32)
    assert (moved == 0).any() and (moved == 1).any()
    for (a, b), image in zip(points.tolist(), moved, strict=True):
        expected = images[0].double() + a * plane.u[0].double() + b * plane.v[0].double()
        assert (image - expected.clamp(0, 1)).abs().max() < 1e-6
    assert plane.images(torch.zeros(1), torch.zeros(1)).equal(images[:1])


def test_the_outline_is_at_eps(plane: Plane) -> None:
    edge, eps = plane.outline(12), plane.config.eps
    assert edge[0].tolist() == pytest.approx(edge[-1].tolist(), abs=1e-6)
    for a, b in edge.tolist():
        assert length(a * plane.u + b * plane.v, plane.config.norm) == pytest.approx(eps, rel=1e-5)


def test_a_point_is_within_if_its_distance_is_at_most_eps(plane: Plane) -> None:
    points = scattered(plane, 400)
    within, distance = plane.within(*points.T), plane.distance(*points.T)
    for i, (a, b) in enumerate(points.tolist()):
        size = length(a * plane.u.double() + b * plane.v.double(), plane.config.norm)
        assert distance[i].item() == pytest.approx(size, rel=1e-5)
        assert bool(within[i]) is (size <= plane.config.eps)
    assert 20 < within.sum() < 380
    ends = torch.tensor([1, 1.001], dtype=torch.float64) * plane.path[-1, 0]
    assert plane.within(ends, torch.zeros(2)).tolist() == [True, False]


def test_the_ball_of_one_pixel_and_all_others_is_a_square(images: Tensor) -> None:
    u = torch.zeros(1, 3, 32, 32)
    u[0, 0, 0, 0] = 1
    plane = Plane(images[:1], u, 1 - u, torch.zeros(1, 2), LINF, MIXTURE, 0)
    points = scattered(plane, 400)
    expected = points.abs().amax(1) <= LINF.eps
    assert plane.within(*points.T).equal(expected) and expected.any()
    corner = torch.tensor([0.999 * LINF.eps])
    assert plane.within(corner, corner).item() and plane.within(corner, -corner).item()


def test_several_images_are_refused(ensemble: Ensemble, images: Tensor) -> None:
    with pytest.raises(ConfigError, match="the number of images is 2"):
        attack_plane(ensemble, images[:2], 3, LINF)
