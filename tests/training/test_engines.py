"""Both fast engines against Algorithm 1 as one reads it (dverge.training.plain), in float64."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from dverge.attacks import AttackConfig, Norm
from dverge.data import ImageSet, Stream
from dverge.models import LAYERS, Conv, seeded_conv
from dverge.models.kernels import passes as kernels
from dverge.training import (
    AdvtConfig,
    Attacked,
    Diversity,
    DvergeAdvtConfig,
    DvergeConfig,
    TrainingConfig,
    VanillaConfig,
)
from dverge.training.cpu_engine import CpuEngine
from dverge.training.engine import BatchInputs, Engine
from dverge.training.gpu_engine import GpuEngine
from dverge.training.objective import make_terms, noise_sets, stream_names, term_weights
from dverge.training.plain import PlainLoop, descend, feature_distance

ENGINES = [CpuEngine, GpuEngine]
DTYPES = [(torch.float32, 2e-5), (torch.float64, 1e-12)]
COMMON: dict[str, Any] = {
    "batch_size": 18,  # no multiple of the lanes
    "training_images": 40,  # the last batch has 4
    "learning_rate": 0.05,
    "weight_decay": 1e-3,
}
SHORT: dict[str, Any] = {
    "distill_steps": 2,
    "distill_step_size": 0.015,
    "distill_eps": 0.02,
    **COMMON,
}
ATTACK: dict[str, Any] = {"adv_steps": 2, "adv_step_size": 0.01, "adv_eps": 0.015}
CONFIGS: dict[str, TrainingConfig] = {
    "vanilla": VanillaConfig(**COMMON),
    "vanilla of 5": VanillaConfig(**COMMON, members=5),
    "dverge": DvergeConfig(**SHORT),
    "dverge of 2, Eq. 4 as printed": DvergeConfig(**SHORT, members=2, clean_weight=1, alpha=0.7),
    "dverge, authors' momentum": DvergeConfig(**SHORT, distill_momentum=1),
    "dverge from random starts": DvergeConfig(**SHORT, distill_random_start=True),
    "eq3": DvergeConfig(**SHORT, diversity=Diversity.EQ3, clean_weight=1),
    "eq3, capped": DvergeConfig(**SHORT, diversity=Diversity.EQ3, clean_weight=1, cap=2.4),
    "dverge-advt": DvergeAdvtConfig(**SHORT, **ATTACK, adv_weight=0.5),
    "dverge-advt, no random start": DvergeAdvtConfig(**SHORT, **ATTACK, adv_random_start=False),
    "advt": AdvtConfig(**COMMON, **ATTACK),
    "advt and clean": AdvtConfig(**COMMON, **ATTACK, clean_weight=0.3),
    "advt on the mixture": AdvtConfig(
        **COMMON, **ATTACK, attacked=Attacked.MIXTURE, clean_weight=0.3
    ),
    "advt of the mixture as one": AdvtConfig(
        **COMMON, **ATTACK, attacked=Attacked.MIXTURE, joint=True, clean_weight=0.3
    ),
}


def members_of(count: int, dtype: torch.dtype = torch.float64) -> list[Conv]:
    """Members with logits far enough apart that their gradients do not vanish."""
    members = [seeded_conv(seed).to(dtype).requires_grad_(False) for seed in range(count)]
    for member in members:
        member.fc3.weight.mul_(10)
    return members


def relative(found: Tensor, due: Tensor) -> float:
    return float((found - due).abs().max() / due.abs().max())


@pytest.fixture
def pairs(train_images: ImageSet) -> tuple[Tensor, Tensor]:
    """20 sources and 20 targets, float64."""
    pixels = train_images.pixels(slice(40)).double()
    return pixels[:20], pixels[20:]


def by_lanes(members: list[Conv], sources: Tensor, targets: Tensor, layer: int) -> Tensor:
    """Each member's gradient of Eq. 1's distance in the sources, by the kernels.

    After one step with momentum, the velocity is the gradient at L1 length one.
    """
    engine = CpuEngine(members, 0, 0)
    blocks = [engine.encode(images.unsqueeze(0))[0].numpy() for images in (sources, targets)]
    s = kernels.workspace(lambda length: torch.zeros(length, dtype=sources.dtype).numpy())
    found = torch.zeros(len(members), *blocks[0].shape, dtype=sources.dtype)
    for w, of_member in zip(engine.weights.numpy(), found, strict=True):
        for source, target, gradient in zip(*blocks, of_member, strict=True):
            kernels.distill(w, source, target, source.copy(), s, layer, 1.0, 0.01, 1, 1.0)
            gradient.copy_(torch.from_numpy(s.velocity))
    return engine.decode(found, len(sources))


def by_stacked(members: list[Conv], sources: Tensor, targets: Tensor, layer: int) -> Tensor:
    """The same, by the stacked network."""
    network = GpuEngine(members, 0, 0).network
    goal = network.features(targets.expand(len(members), *targets.shape), layer)
    z = sources.expand(len(members), *sources.shape).clone().requires_grad_()
    distance = (network.features(z, layer) - goal).square().sum()
    (gradient,) = torch.autograd.grad(distance, z)
    return gradient / gradient.abs().sum((2, 3, 4), keepdim=True)


@pytest.mark.parametrize("gradients", [by_lanes, by_stacked])
@pytest.mark.parametrize(("dtype", "tolerance"), DTYPES)
@pytest.mark.parametrize("layer", range(1, LAYERS + 1))
def test_input_gradients_of_eq1(
    gradients: Callable[[list[Conv], Tensor, Tensor, int], Tensor],
    dtype: torch.dtype,
    tolerance: float,
    layer: int,
    pairs: tuple[Tensor, Tensor],
) -> None:
    sources, targets = pairs
    members = members_of(3, dtype)
    found = gradients(members, sources.to(dtype), targets.to(dtype), layer)
    for member, gradient in zip(members_of(3), found, strict=True):
        z = sources.clone().requires_grad_()
        (due,) = torch.autograd.grad(feature_distance(member, z, targets, layer), z)
        assert relative(gradient, due / due.abs().sum((1, 2, 3), keepdim=True)) < tolerance


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("momentum", [0.0, 1.0])
@pytest.mark.parametrize("layer", range(1, LAYERS + 1))
def test_distilled_images(
    engine: type[Engine], momentum: float, layer: int, pairs: tuple[Tensor, Tensor]
) -> None:
    sources, targets = pairs
    members = members_of(2)
    config = AttackConfig(Norm.LINF, 0.07, 0.007, 10, momentum=momentum)
    fast = engine(members, 0.9, 0)
    source, target = (fast.encode(each.unsqueeze(0)) for each in pairs)
    start = source.expand(2, *source.shape[1:])
    found = fast.decode(fast.distill(source, target, start, layer, config), len(sources))
    for i, member in enumerate(members):
        due = descend(
            partial(feature_distance, member, targets=targets, layer=layer),
            member.requires_grad_(),
            sources,
            sources,
            config,
        )
        assert (due - sources).abs().max() > 0.06  # it moved
        torch.testing.assert_close(found[i], due, rtol=0, atol=1e-12)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", CONFIGS)
def test_weights_after_iterations(engine: type[Engine], name: str, train_images: ImageSet) -> None:
    """Six iterations over two epochs, with a layer each, with the plain loop's losses."""
    config = CONFIGS[name]
    images = train_images.subset(slice(config.training_images))
    fast_members, plain_members = members_of(config.members), members_of(config.members)
    fast = engine(fast_members, config.momentum, config.weight_decay)
    plain = PlainLoop(plain_members, config)
    weighting = torch.tensor(list(term_weights(config).values())).double()
    number = 0
    for epoch in range(2):
        each = [
            Stream(images, config.batch_size, 0, name).epoch(epoch) for name in stream_names(config)
        ]
        for batches in zip(*each, strict=True):
            batches = tuple((x.double(), y) for x, y in batches)
            layer, number = number % LAYERS + 1, number + 1
            given = given_of(fast, config, batches, number)
            found = fast.iterate(
                partial(make_terms, config),
                given,
                layer,
                config.learning_rate,
            )
            starts = starts_of(fast, config, given, len(batches[0][0]))
            due = plain.step(batches, layer, config.learning_rate, starts)
            torch.testing.assert_close(found, torch.tensor(due).double().T, rtol=1e-5, atol=1e-6)
            assert (weighting @ found).isfinite().all()
    for one, other in zip(fast_members, plain_members, strict=True):
        for (key, value), reference in zip(one.named_parameters(), other.parameters(), strict=True):
            assert relative(value, reference.detach()) < 1e-10, key


def given_of(
    engine: Engine, config: TrainingConfig, batches: tuple[tuple[Tensor, Tensor], ...], seed: int
) -> BatchInputs:
    images = engine.encode(torch.stack([x for x, _ in batches]))
    drawn = [
        engine.noise(sets, images, seed, i) for i, sets in enumerate(noise_sets(config).values())
    ]
    return BatchInputs(images, torch.stack([y for _, y in batches]), *drawn)


def starts_of(
    engine: Engine, config: TrainingConfig, given: BatchInputs, count: int
) -> Callable[[str, int, Tensor], Tensor]:
    """The random starts of an iteration, for the plain loop."""

    def start(term: str, i: int, images: Tensor) -> Tensor:
        distils = term == "distill"
        noise = given.distill_noise if distils else given.attack_noise
        if not len(noise):
            return images
        eps = getattr(config, "distill_eps" if distils else "adv_eps")
        return (images + eps * engine.decode(noise, count)[i]).clamp(0, 1)

    return start


@pytest.mark.parametrize("engine", ENGINES)
def test_layout_round_trip(engine: type[Engine]) -> None:
    images = torch.rand(2, 21, 3, 32, 32)
    fast = engine(members_of(2, torch.float32), 0.9, 0)
    assert fast.decode(fast.encode(images), 21).equal(images)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_any_number_of_threads_gives_the_same_bits(threads: int, train_images: ImageSet) -> None:
    config = CONFIGS["dverge-advt"]
    found = []
    for count in (1, threads):
        members = members_of(3, torch.float32)
        fast = CpuEngine(members, 0.9, 0, threads=count)
        supply = [Stream(train_images, 20, 0, name).epoch(0) for name in stream_names(config)]
        for batches in itertools.islice(zip(*supply, strict=True), 3):
            fast.iterate(
                partial(make_terms, config),
                given_of(fast, config, batches, 1),
                2,
                0.01,
            )
        found.append(fast.weights)
    assert found[0].equal(found[1])


def test_eq3_takes_half_of_the_coefficient() -> None:
    """Eq. 2 is half of a sum of two losses, of which one depends on a member's own weights."""
    config = CONFIGS["eq3"]
    assert isinstance(config, DvergeConfig)
    assert term_weights(config) == {"diversity": -0.5, "clean": 1}
    assert term_weights(replace(config, diversity=Diversity.EQ4, clean_weight=0)) == {
        "diversity": 1
    }
