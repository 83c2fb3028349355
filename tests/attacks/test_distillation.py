"""Distilled features (Eq. 1) against a plain loop, and what must hold of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from dverge.attacks import REPORT_DISTILLATION, AttackConfig, Norm, distill, distill_path
from dverge.errors import ConfigError
from dverge.models import LAYERS, Conv, Ensemble, seeded_conv

LINF = Norm.LINF
all_layers = pytest.mark.parametrize("layer", range(1, LAYERS + 1))


@pytest.fixture
def member(ensemble: Ensemble) -> Conv:
    """One with enlarged weights, in float64."""
    found = ensemble.double().members[1]
    assert isinstance(found, Conv)
    return found


@pytest.fixture
def sources(images: Tensor) -> Tensor:
    return images.double()


@pytest.fixture
def targets(sources: Tensor) -> Tensor:
    return sources.roll(3, 0)


def distance(member: Conv, image: Tensor, target: Tensor, layer: int) -> Tensor:
    """‖f^l(z) - f^l(x)‖² of one image and one target."""
    difference = member.features(image[None], layer) - member.features(target[None], layer)
    return (difference**2).sum()


def literal(
    member: Conv, source: Tensor, target: Tensor, layer: int, config: AttackConfig
) -> Tensor:
    """Eq. 1 of one pair, from the words: signed steps, each projected, with momentum if any."""
    z, before = source, torch.zeros_like(source)
    for _ in range(config.steps):
        z = z.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(distance(member, z, target, layer), z)
        if config.momentum:
            before = config.momentum * before + gradient / gradient.abs().sum()
            gradient = before
        z = z.detach() - config.step_size * gradient.sign()
        z = torch.maximum(torch.minimum(z, source + config.eps), source - config.eps).clamp(0, 1)
    return z


@all_layers
@pytest.mark.parametrize(
    "config",
    [
        REPORT_DISTILLATION,
        AttackConfig(LINF, 0.07, 0.007, 10, momentum=1),
        AttackConfig(LINF, 0.02, 0.01, 6, momentum=0.4),
        AttackConfig(LINF, 0.3, 0.2, 3),
    ],
    ids=lambda config: f"{config.eps}-{config.steps}-{config.momentum}",
)
def test_it_is_the_literal_loop(
    member: Conv, sources: Tensor, targets: Tensor, layer: int, config: AttackConfig
) -> None:
    found = distill(member, sources, targets, layer, config)
    for one, source, target in zip(found, sources, targets, strict=True):
        expected = literal(member, source, target, layer, config)
        torch.testing.assert_close(one, expected, rtol=0, atol=1e-12)


@all_layers
def test_a_step_goes_down_the_gradient_of_eq_1(
    member: Conv, sources: Tensor, targets: Tensor, layer: int
) -> None:
    """An L2 step shows the gradient's direction; the slopes are found by finite differences."""
    inner = 0.25 + sources / 2  # far from the box
    moved = distill(member, inner, targets, layer, AttackConfig(Norm.L2, 1, 1e-3, 1))
    generator = torch.Generator().manual_seed(layer)
    for source, target, end in zip(inner, targets, moved, strict=True):
        downhill = (end - source) / 1e-3
        assert downhill.norm() == pytest.approx(1)
        steepest = slope(member, source, target, layer, downhill)
        assert steepest < 0
        for _ in range(4):
            noise = torch.randn(source.shape, generator=generator, dtype=torch.float64)
            direction = downhill + noise / noise.norm()
            due = steepest * (direction * downhill).sum().item()
            found = slope(member, source, target, layer, direction)
            assert found == pytest.approx(due, rel=1e-4)


def slope(member: Conv, image: Tensor, target: Tensor, layer: int, direction: Tensor) -> float:
    """How fast the distance of Eq. 1 grows along a direction."""
    size = 1e-7
    up, down = (
        distance(member, image + sign * size * direction, target, layer) for sign in (1, -1)
    )
    return (up - down).item() / (2 * size)


@all_layers
@pytest.mark.parametrize("random_start", [False, True])
def test_a_path_is_every_step_with_its_distance(
    member: Conv, sources: Tensor, targets: Tensor, layer: int, random_start: bool
) -> None:
    config = AttackConfig(LINF, 0.03, 0.012, 4, random_start=random_start, seed=3)
    path = distill_path(member, sources, targets, layer, config)
    assert len(path.images) == len(path.objective) == 5
    assert path.images[0].equal(sources) is not random_start
    for steps in range(1, 5):
        stopped = distill(member, sources, targets, layer, replace(config, steps=steps))
        assert path.images[steps].equal(stopped)
    for images, objective in zip(path.images, path.objective, strict=True):
        for one, target, value in zip(images, targets, objective, strict=True):
            due = -distance(member, one, target, layer).item()
            assert value.item() == pytest.approx(due, rel=1e-9)


@all_layers
@pytest.mark.parametrize("config", [REPORT_DISTILLATION, AttackConfig(LINF, 0.07, 0.007, 10, True)])
def test_near_the_source_in_the_box_and_like_the_target(
    member: Conv, sources: Tensor, targets: Tensor, layer: int, config: AttackConfig
) -> None:
    found = distill(member, sources, targets, layer, config)
    assert found.shape == sources.shape and found.dtype == sources.dtype
    assert (found - sources).abs().max() <= 0.07 + 1e-12
    assert 0 <= found.min() <= found.max() <= 1
    for source, one, target in zip(sources, found, targets, strict=True):
        nearer = distance(member, one, target, layer) / distance(member, source, target, layer)
        assert nearer < 0.9


@all_layers
def test_a_batch_is_its_pairs_one_by_one(
    member: Conv, sources: Tensor, targets: Tensor, layer: int
) -> None:
    together = distill(member, sources, targets, layer)
    for i in range(len(sources)):
        alone = distill(member, sources[i : i + 1], targets[i : i + 1], layer)
        torch.testing.assert_close(alone[0], together[i], rtol=0, atol=1e-12)


def test_an_empty_batch(member: Conv) -> None:
    none = torch.zeros(0, 3, 32, 32).double()
    assert distill(member, none, none, 3).shape == none.shape


@all_layers
def test_a_source_that_is_its_target_stays(member: Conv, sources: Tensor, layer: int) -> None:
    """Its distance is zero already; so is the gradient."""
    assert distill(member, sources, sources, layer).equal(sources)


def test_the_seed_alone_decides_the_random_start(
    member: Conv, sources: Tensor, targets: Tensor
) -> None:
    def run(seed: int, steps: int = 3) -> Tensor:
        config = AttackConfig(LINF, 0.07, 0.007, steps, random_start=True, seed=seed)
        return distill(member, sources, targets, 3, config)

    torch.manual_seed(1)
    first, state = run(7), torch.get_rng_state()
    torch.manual_seed(2)
    assert run(7).equal(first)
    assert not run(8).equal(first)
    torch.manual_seed(1)
    assert torch.get_rng_state().equal(state)  # the global generator is never drawn from


def test_a_random_start_is_anywhere_in_the_ball(
    member: Conv, sources: Tensor, targets: Tensor
) -> None:
    """With steps of no length the start is what comes back."""
    config = AttackConfig(LINF, 0.07, 0.0, 1, random_start=True)
    inner = 0.25 + sources / 2  # far from the box
    offsets = (distill(member, inner, targets, 3, config) - inner) / 0.07
    assert offsets.abs().max() <= 1 + 1e-12
    assert offsets.abs().mean() == pytest.approx(0.5, abs=0.01)
    assert offsets.mean() == pytest.approx(0, abs=0.02)


def test_the_reports_settings() -> None:
    assert AttackConfig(LINF, 0.07, 0.007, 10) == REPORT_DISTILLATION


@pytest.mark.parametrize("random_start", [False, True])
def test_the_member_and_the_images_are_left_as_they_were(
    member: Conv, sources: Tensor, targets: Tensor, random_start: bool
) -> None:
    member.train()
    member.conv1.requires_grad_(False)
    kept = member.fc2.weight
    kept.grad = torch.ones_like(kept)
    weights = {name: value.clone() for name, value in member.state_dict().items()}
    needs = [parameter.requires_grad for parameter in member.parameters()]
    images = sources.clone(), targets.clone()
    config = replace(REPORT_DISTILLATION, random_start=random_start)

    found = distill(member, sources, targets, 4, config)

    assert all(weights[name].equal(value) for name, value in member.state_dict().items())
    assert [parameter.requires_grad for parameter in member.parameters()] == needs
    assert kept.grad.equal(torch.ones_like(kept))
    assert all(p.grad is None for p in member.parameters() if p is not kept)
    assert member.training
    assert sources.equal(images[0]) and targets.equal(images[1])
    assert not found.requires_grad


def test_nothing_around_it_matters(member: Conv, sources: Tensor, targets: Tensor) -> None:
    due = distill(member, sources, targets, 2)
    leaf = sources.clone().requires_grad_()
    with torch.no_grad():
        assert distill(member, sources, targets, 2).equal(due)
    assert distill(member.requires_grad_(False), leaf, targets, 2).equal(due)
    assert leaf.grad is None


@pytest.mark.parametrize("layer", [0, 6, -1, 2.0, "1", None])
def test_other_layers_are_refused(images: Tensor, layer: Any) -> None:
    with pytest.raises(ConfigError, match=r"layer is .*; it must be a whole number from 1 to 5"):
        distill(seeded_conv(0), images, images, layer)


def test_more_than_one_restart_is_refused(images: Tensor) -> None:
    config = AttackConfig(LINF, 0.07, 0.007, 10, random_start=True, restarts=2)
    with pytest.raises(ConfigError, match="restarts is 2; it must be a whole number from 1 to 1"):
        distill(seeded_conv(0), images, images, 3, config)


@pytest.mark.parametrize("of_targets", [False, True])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda x: x[0], r"images have shape \(3, 32, 32\); it must be N×3×32×32"),
        (lambda x: x[:, :1], r"images have shape \(8, 1, 32, 32\)"),
        (lambda x: x * 255, r"outside \[0, 1\]"),
        (lambda x: x - 0.5, r"outside \[0, 1\]"),
        (lambda x: x.where(x != x.max(), torch.nan), r"outside \[0, 1\]"),
        (lambda x: x[:5], r"there are \d sources for \d targets"),
    ],
)
def test_bad_images(
    images: Tensor, damage: Callable[[Tensor], Tensor], message: str, of_targets: bool
) -> None:
    sources, targets = (images, damage(images)) if of_targets else (damage(images), images)
    with pytest.raises(ConfigError, match=message):
        distill(seeded_conv(0), sources, targets, 3)
