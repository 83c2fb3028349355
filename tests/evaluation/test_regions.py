"""Decision regions: the plane's geometry, and every point held against a plain loop."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from dverge.attacks import MIXTURE, AttackConfig, Norm, Victim, all_probabilities, attack, pgd
from dverge.errors import ConfigError
from dverge.evaluation import Plane, Regions, attack_plane, regions, regions_on
from dverge.models import Ensemble, compiled

LINF, L2 = pgd(Norm.LINF, 8 / 255, random_start=False), pgd(Norm.L2, 1.0, random_start=False)
BOTH = pytest.mark.parametrize("config", [LINF, L2], ids=["linf", "l2"])


def length(image: Tensor, norm: Norm) -> float:
    return (image.abs().max() if norm is Norm.LINF else image.norm()).item()


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
def test_the_outline_is_at_eps_and_holds_the_points_within(
    config: AttackConfig, ensemble: Ensemble, images: Tensor
) -> None:
    found = regions(ensemble, images[:1], 3, config, extent=2 * config.eps, points=21)
    edge = found.plane.outline(12)
    assert edge[0].tolist() == pytest.approx(edge[-1].tolist(), abs=1e-6)
    for a, b in edge.tolist():
        delta = a * found.plane.u + b * found.plane.v
        assert length(delta, config.norm) == pytest.approx(config.eps, rel=1e-5)
    for i, b in enumerate(found.vertical.tolist()):
        for j, a in enumerate(found.horizontal.tolist()):
            size = length(a * found.plane.u + b * found.plane.v, config.norm)
            if abs(size - config.eps) > 1e-6:
                assert bool(found.within[i, j]) is (size < config.eps)


@BOTH
@pytest.mark.parametrize("fast", [False, True], ids=["plain", "compiled"])
def test_a_plain_loop_says_the_same(
    fast: bool, config: AttackConfig, ensemble: Ensemble, images: Tensor
) -> None:
    asked = compiled(ensemble) if fast else ensemble
    found = regions(asked, images[:1], 3, config, Victim(0), extent=40 * config.eps, points=5)
    plane, seen = found.plane, set()
    for i, b in enumerate(found.vertical.tolist()):
        for j, a in enumerate(found.horizontal.tolist()):
            image = (images[:1] + a * plane.u + b * plane.v).clamp(0, 1)
            probabilities = all_probabilities(ensemble, image)[:, 0]
            says = probabilities.argmax(1)
            assert found.classes[:, i, j].equal(says)
            assert torch.allclose(found.confidence[:, i, j], probabilities.max(1).values, atol=1e-4)
            seen |= set(says.tolist())
    assert len(seen) > 1
    assert found.horizontal.tolist() == pytest.approx([x * config.eps for x in range(-40, 41, 20)])


@BOTH
def test_centre_and_end_are_what_the_models_say_before_and_after(
    config: AttackConfig, ensemble: Ensemble, images: Tensor, labels: Tensor
) -> None:
    image, label = images[:1], int(labels[0])
    size = attack_plane(ensemble, image, label, config).path[-1, 0].item()
    found = regions(ensemble, image, label, config, extent=2 * size, points=5)
    end = attack(ensemble, image, labels[:1], config, MIXTURE).images
    before, after = (all_probabilities(ensemble, x)[:, 0].argmax(1) for x in (image, end))
    assert found.horizontal[2] == 0 and found.classes[:, 2, 2].equal(before)
    assert found.horizontal[3].item() == pytest.approx(size)
    assert found.classes[:, 2, 3].equal(after)


def test_the_plane_of_one_ensemble_shows_another(ensemble: Ensemble, images: Tensor) -> None:
    other = Ensemble(list(ensemble.members)[:2])
    plane = attack_plane(ensemble, images[:1], 3, LINF, Victim(2))  # the other has no such member
    here, there = (regions_on(plane, each, 3, extent=0.5, points=9) for each in (ensemble, other))
    assert there.classes.shape == (3, 9, 9)
    assert there.classes[:2].equal(here.classes[:2])


def made(plane: Plane, classes: list[list[list[int]]]) -> Regions:
    axis = torch.linspace(-1, 1, 3, dtype=torch.float64)
    said = torch.tensor(classes)
    within = torch.tensor([[0, 1, 0], [1, 1, 1], [0, 1, 0]], dtype=torch.bool)
    return Regions(plane, 6, 1.0, axis, axis, said, torch.ones_like(said).float(), within)


def test_what_is_kept_counts_only_points_in_the_ball(ensemble: Ensemble, images: Tensor) -> None:
    plane = attack_plane(ensemble, images[:1], 6, LINF)
    first = [[0, 6, 0], [6, 6, 1], [0, 0, 0]]
    last = [[6, 0, 6], [0, 6, 0], [6, 0, 6]]
    assert made(plane, [first, last]).kept().tolist() == pytest.approx([60, 20])
    assert made(plane, [first, last]).summary() == (
        "Within the eps ball on this plane, the true class, frog, is kept on 60 % by submodel 1 "
        "and 20 % by the mixture."
    )
    assert "on 60 % by submodel 1, 20 % by submodel 2 and 20 % by the mixture." in (
        made(plane, [first, last, last]).summary()
    )


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"points": 4}, "points is 4; it must be odd"),
        ({"points": 1}, "points is 1; it must be a whole number from 3 to 301"),
        ({"points": 303}, "points is 303"),
        ({"extent": 0.0}, "extent is 0.0; it must be a number above 0"),
        ({"extent": float("nan")}, "extent is nan"),
        ({"extent": float("inf")}, "extent is inf"),
        ({"label": 10}, "true class is 10; classes are 0 to 9"),
        ({"target": 1}, "only a targeted one has it"),
        ({"victim": Victim(3)}, "victim is member 4"),
        ({"config": pgd(Norm.LINF, 0.0)}, "leaves the image as it is"),
    ],
)
def test_what_cannot_be_drawn_is_refused(
    more: dict[str, Any], words: str, ensemble: Ensemble, images: Tensor
) -> None:
    settings: dict[str, Any] = {"label": 3, "config": LINF, "extent": 0.1, "points": 5}
    with pytest.raises(ConfigError, match=words):
        regions(ensemble, images[:1], **(settings | more))


def test_several_images_are_refused(ensemble: Ensemble, images: Tensor) -> None:
    with pytest.raises(ConfigError, match="the number of images is 2"):
        attack_plane(ensemble, images[:2], 3, LINF)
