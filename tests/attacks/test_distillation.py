"""Distilled features (Eq. 1) against a plain loop and finite differences, and their properties."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from dverge.attacks import REPORT_DISTILLATION, AttackConfig, Norm, distill, distill_path
from dverge.errors import ConfigError
from dverge.models import LAYERS, Conv, Ensemble, seeded_conv
from tests.attacks.case import BAD_IMAGES

LINF = Norm.LINF
all_layers = pytest.mark.parametrize("layer", range(1, LAYERS + 1))


@dataclass(frozen=True)
class Pairs:
    """A member with enlarged weights, and 8 pairs of images, in float64."""

    member: Conv
    sources: Tensor
    targets: Tensor

    def distill(self, layer: int, config: AttackConfig = REPORT_DISTILLATION) -> Tensor:
        return distill(self.member, self.sources, self.targets, layer, config)

    def distance(self, image: Tensor, target: Tensor, layer: int) -> Tensor:
        """‖f^l(z) - f^l(x)‖² of one image and one target."""
        features = (self.member.features(each[None], layer) for each in (image, target))
        return ((next(features) - next(features)) ** 2).sum()

    def slope(self, image: Tensor, target: Tensor, layer: int, direction: Tensor) -> float:
        """How fast the distance grows along a direction, by finite differences."""
        step = 1e-7 * direction
        up = self.distance(image + step, target, layer)
        return (up - self.distance(image - step, target, layer)).item() / 2e-7

    def literal(self, i: int, layer: int, config: AttackConfig) -> Tensor:
        """Eq. 1 of one pair, written out: signed steps, each projected, with momentum if any."""
        source, target = self.sources[i], self.targets[i]
        z, velocity = source, torch.zeros_like(source)
        for _ in range(config.steps):
            z = z.clone().requires_grad_()
            (gradient,) = torch.autograd.grad(self.distance(z, target, layer), z)
            if config.momentum:
                velocity = config.momentum * velocity + gradient / gradient.abs().sum()
                gradient = velocity
            z = z.detach() - config.step_size * gradient.sign()
            z = torch.maximum(torch.minimum(z, source + config.eps), source - config.eps)
            z = z.clamp(0, 1)
        return z


@pytest.fixture
def pairs(ensemble: Ensemble, images: Tensor) -> Pairs:
    member, sources = ensemble.double().members[1], images.double()
    assert isinstance(member, Conv)
    return Pairs(member, sources, sources.roll(3, 0))


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
def test_it_is_the_literal_loop(pairs: Pairs, layer: int, config: AttackConfig) -> None:
    for i, result in enumerate(pairs.distill(layer, config)):
        expected = pairs.literal(i, layer, config)
        torch.testing.assert_close(result, expected, rtol=0, atol=1e-12)


@all_layers
def test_a_step_goes_down_the_gradient_of_eq_1(pairs: Pairs, layer: int) -> None:
    """An L2 step shows the direction of the gradient."""
    inner = replace(pairs, sources=0.25 + pairs.sources / 2)  # far from the box
    moved = inner.distill(layer, AttackConfig(Norm.L2, 1, 1e-3, 1))
    generator = torch.Generator().manual_seed(layer)
    for source, target, end in zip(inner.sources, inner.targets, moved, strict=True):
        downhill = (end - source) / 1e-3
        assert downhill.norm() == pytest.approx(1)
        steepest = pairs.slope(source, target, layer, downhill)
        assert steepest < 0
        for _ in range(4):
            noise = torch.randn(source.shape, generator=generator, dtype=torch.float64)
            direction = downhill + noise / noise.norm()
            slope = pairs.slope(source, target, layer, direction)
            expected = steepest * (direction * downhill).sum().item()
            assert slope == pytest.approx(expected, rel=1e-4)


@all_layers
@pytest.mark.parametrize("random_start", [False, True])
def test_a_path_is_every_iterate_with_its_distance(
    pairs: Pairs, layer: int, random_start: bool
) -> None:
    config = AttackConfig(LINF, 0.03, 0.012, 4, random_start=random_start, seed=3)
    path = distill_path(pairs.member, pairs.sources, pairs.targets, layer, config)
    assert len(path.images) == len(path.objective) == 5
    assert path.images[0].equal(pairs.sources) is not random_start
    for steps in range(1, 5):
        assert path.images[steps].equal(pairs.distill(layer, replace(config, steps=steps)))
    for images, objective in zip(path.images, path.objective, strict=True):
        for image, target, value in zip(images, pairs.targets, objective, strict=True):
            distance = pairs.distance(image, target, layer).item()
            assert value.item() == pytest.approx(-distance, rel=1e-9)


@all_layers
@pytest.mark.parametrize("config", [REPORT_DISTILLATION, AttackConfig(LINF, 0.07, 0.007, 10, True)])
def test_it_is_near_the_source_in_the_box_and_like_the_target(
    pairs: Pairs, layer: int, config: AttackConfig
) -> None:
    result = pairs.distill(layer, config)
    assert result.shape == pairs.sources.shape and result.dtype == pairs.sources.dtype
    assert (result - pairs.sources).abs().max() <= 0.07 + 1e-12
    assert 0 <= result.min() <= result.max() <= 1
    for source, end, target in zip(pairs.sources, result, pairs.targets, strict=True):
        start = pairs.distance(source, target, layer)
        assert pairs.distance(end, target, layer) < 0.9 * start


@all_layers
def test_a_source_that_is_its_own_target_stays(pairs: Pairs, layer: int) -> None:
    """Its distance is zero, and so is the gradient."""
    own = replace(pairs, targets=pairs.sources)
    assert own.distill(layer).equal(pairs.sources)


def test_an_empty_batch(pairs: Pairs) -> None:
    empty = torch.zeros(0, 3, 32, 32).double()
    assert Pairs(pairs.member, empty, empty).distill(3).shape == empty.shape


def test_the_seed_alone_decides_the_random_start(pairs: Pairs) -> None:
    def run(seed: int) -> Tensor:
        return pairs.distill(3, AttackConfig(LINF, 0.07, 0.007, 3, random_start=True, seed=seed))

    torch.manual_seed(1)
    first, state = run(7), torch.get_rng_state()
    torch.manual_seed(2)
    assert run(7).equal(first)
    assert not run(8).equal(first)
    torch.manual_seed(1)
    assert torch.get_rng_state().equal(state)  # the global generator is not used


def test_a_random_start_is_anywhere_in_the_ball(pairs: Pairs) -> None:
    """With a step size of zero, the result is the start."""
    config = AttackConfig(LINF, 0.07, 0.0, 1, random_start=True)
    inner = replace(pairs, sources=0.25 + pairs.sources / 2)  # far from the box
    offsets = (inner.distill(3, config) - inner.sources) / 0.07
    assert offsets.abs().max() <= 1 + 1e-12
    assert offsets.abs().mean() == pytest.approx(0.5, abs=0.01)
    assert offsets.mean() == pytest.approx(0, abs=0.02)


def test_the_reports_settings() -> None:
    assert AttackConfig(LINF, 0.07, 0.007, 10) == REPORT_DISTILLATION


@pytest.mark.parametrize("random_start", [False, True])
def test_the_member_and_the_images_stay_as_they_are(pairs: Pairs, random_start: bool) -> None:
    member = pairs.member.train()
    member.conv1.requires_grad_(False)
    with_gradient = member.fc2.weight
    with_gradient.grad = torch.ones_like(with_gradient)
    weights = {name: value.clone() for name, value in member.state_dict().items()}
    flags = [parameter.requires_grad for parameter in member.parameters()]
    images = pairs.sources.clone(), pairs.targets.clone()

    result = pairs.distill(4, replace(REPORT_DISTILLATION, random_start=random_start))

    assert all(weights[name].equal(value) for name, value in member.state_dict().items())
    assert [parameter.requires_grad for parameter in member.parameters()] == flags
    assert with_gradient.grad.equal(torch.ones_like(with_gradient))
    assert all(p.grad is None for p in member.parameters() if p is not with_gradient)
    assert member.training
    assert pairs.sources.equal(images[0]) and pairs.targets.equal(images[1])
    assert not result.requires_grad


def test_grad_mode_frozen_weights_and_leaf_images_make_no_difference(pairs: Pairs) -> None:
    expected = pairs.distill(2)
    with torch.no_grad():
        assert pairs.distill(2).equal(expected)
    leaf = pairs.sources.clone().requires_grad_()
    frozen = Pairs(pairs.member.requires_grad_(False), leaf, pairs.targets)
    assert frozen.distill(2).equal(expected)
    assert leaf.grad is None


@pytest.mark.parametrize("layer", [0, 6, -1, 2.0, "1", None])
def test_other_layers_are_refused(pairs: Pairs, layer: Any) -> None:
    with pytest.raises(ConfigError, match=r"layer is .*; it must be a whole number from 1 to 5"):
        pairs.distill(layer)


def test_more_than_one_restart_is_refused(pairs: Pairs) -> None:
    config = AttackConfig(LINF, 0.07, 0.007, 10, random_start=True, restarts=2)
    with pytest.raises(ConfigError, match="restarts is 2; it must be a whole number from 1 to 1"):
        pairs.distill(3, config)


@pytest.mark.parametrize("of_targets", [False, True])
@pytest.mark.parametrize(
    ("damage", "message"),
    [*BAD_IMAGES, (lambda x: x[:5], r"there are \d sources for \d targets")],
)
def test_bad_images_are_refused(
    images: Tensor, damage: Callable[[Tensor], Tensor], message: str, of_targets: bool
) -> None:
    sources, targets = (images, damage(images)) if of_targets else (damage(images), images)
    with pytest.raises(ConfigError, match=message):
        distill(seeded_conv(0), sources, targets, 3)
