"""A plane through an image: directions, path, distances and the eps ball, held against formulas."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dverge.attacks import MIXTURE, AttackConfig, Norm, Victim, attack, pgd
from dverge.errors import ConfigError
from dverge.exploration.plane import Plane, attack_plane
from dverge.models import Ensemble

LINF, L2 = pgd(Norm.LINF, 8 / 255, random_start=False), pgd(Norm.L2, 1.0, random_start=False)
BOTH = pytest.mark.parametrize("config", [LINF, L2], ids=["linf", "l2"])


def length(image: Tensor, norm: Norm) -> float:
    return (image.abs().max() if norm is Norm.LINF else image.norm()).item()


def scattered(plane: Plane, count: int) -> Tensor:
    """Coordinates in and about the eps ball, N×2."""
    noise = torch.rand(count, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return 3 * plane.config.eps * (2 * noise - 1)


@BOTH
def test_directions_are_orthogonal_and_of_length_one(
    config: AttackConfig, ensemble: Ensemble, images: Tensor
) -> None:
    plane = attack_plane(ensemble, images[:1], 3, config)
    cosine = (plane.u * plane.v).sum() / (plane.u.norm() * plane.v.norm())
    assert abs(cosine.item()) < 1e-6
    assert length(plane.u, config.norm) == pytest.approx(1, abs=1e-6)
    assert length(plane.v, config.norm) == pytest.approx(1, abs=1e-6)


@BOTH
def test_the_path_goes_from_the_image_to_where_the_attack_ends(
    config: AttackConfig, ensemble: Ensemble, images: Tensor
) -> None:
    plane = attack_plane(ensemble, images[:1], 3, config, Victim(1))
    end = attack(ensemble, images[:1], torch.tensor([3]), config, Victim(1)).images
    size = length(end - images[:1], config.norm)
    assert plane.path.shape == (config.steps + 1, 2)
    assert plane.path[0].tolist() == [0, 0]
    assert plane.path[-1].tolist() == pytest.approx([size, 0], abs=1e-6)
    (a, b), middle = plane.path[-1:].T, plane.path[config.steps // 2]
    assert (plane.images(a, b) - end).abs().max() < 1e-6
    course = attack(ensemble, images[:1], torch.tensor([3]), config, Victim(1), record=True).trace
    assert course is not None  # a projection leaves nothing along the axes
    a, b = middle.view(2, 1).float()
    rest = course.images[config.steps // 2] - images[:1] - a * plane.u - b * plane.v
    for axis in (plane.u, plane.v):
        assert abs((rest * axis).sum().item()) < 1e-4 * axis.norm().item()


def test_a_random_start_is_not_the_random_direction(ensemble: Ensemble, images: Tensor) -> None:
    config = pgd(Norm.L2, 1.0, seed=0)
    plane = attack_plane(ensemble, images[:1], 3, config, seed=0)
    assert abs(plane.path[0, 1].item()) < 0.1  # of 1: in 3,072 dimensions nearly orthogonal


def test_the_vertical_direction_is_the_seeds(ensemble: Ensemble, images: Tensor) -> None:
    planes = [attack_plane(ensemble, images[:1], 3, LINF, seed=seed) for seed in (4, 4, 5)]
    assert planes[0].v.equal(planes[1].v) and not planes[0].v.equal(planes[2].v)
    assert planes[0].u.equal(planes[2].u)


@BOTH
def test_images_are_the_clean_one_moved_and_clipped(
    config: AttackConfig, ensemble: Ensemble, images: Tensor
) -> None:
    plane = attack_plane(ensemble, images[:1], 3, config)
    points = 10 * scattered(plane, 20)  # so far that some pixels leave the box
    made = plane.images(*points.T)
    assert made.shape == (20, 3, 32, 32)
    assert (made == 0).any() and (made == 1).any()
    for (a, b), image in zip(points.tolist(), made, strict=True):
        due = (images[0].double() + a * plane.u[0].double() + b * plane.v[0].double()).clamp(0, 1)
        assert (image - due).abs().max() < 1e-6
    nowhere = torch.zeros(1)
    assert plane.images(nowhere, nowhere).equal(images[:1])


@BOTH
def test_the_outline_is_at_eps(config: AttackConfig, ensemble: Ensemble, images: Tensor) -> None:
    plane = attack_plane(ensemble, images[:1], 3, config)
    edge = plane.outline(12)
    assert edge[0].tolist() == pytest.approx(edge[-1].tolist(), abs=1e-6)
    for a, b in edge.tolist():
        assert length(a * plane.u + b * plane.v, config.norm) == pytest.approx(config.eps, rel=1e-5)


@BOTH
def test_a_point_is_within_if_its_distance_is_at_most_eps(
    config: AttackConfig, ensemble: Ensemble, images: Tensor
) -> None:
    plane = attack_plane(ensemble, images[:1], 3, config)
    points = scattered(plane, 400)
    within, distance = plane.within(*points.T), plane.distance(*points.T)
    for i, (a, b) in enumerate(points.tolist()):
        size = length(a * plane.u.double() + b * plane.v.double(), config.norm)
        assert distance[i].item() == pytest.approx(size, rel=1e-5)
        assert bool(within[i]) is (size <= config.eps)
    assert 20 < within.sum() < 380
    ends = torch.tensor([1, 1.001], dtype=torch.float64) * plane.path[-1, 0]
    assert plane.within(ends, torch.zeros(2)).tolist() == [True, False]


def test_the_ball_of_one_pixel_and_all_others_is_a_square(images: Tensor) -> None:
    u = torch.zeros(1, 3, 32, 32)
    u[0, 0, 0, 0] = 1
    plane = Plane(images[:1], u, 1 - u, torch.zeros(1, 2), LINF, MIXTURE, 0)
    points = scattered(plane, 400)
    due = points.abs().amax(1) <= LINF.eps
    assert plane.within(*points.T).equal(due) and due.any()
    corner = torch.tensor([0.999 * LINF.eps])
    assert plane.within(corner, corner).item() and plane.within(corner, -corner).item()


def test_several_images_are_refused(ensemble: Ensemble, images: Tensor) -> None:
    with pytest.raises(ConfigError, match="the number of images is 2"):
        attack_plane(ensemble, images[:2], 3, LINF)
