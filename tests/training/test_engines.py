"""Both engines against the plain loop (dverge.training.plain), in float64.

Gradients by the kernels and the stacked network, layer by layer: see tests/models.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from dverge.attacks import AttackConfig, Norm
from dverge.data import ImageSet, Stream
from dverge.models import LAYERS, Conv, seeded_conv
from dverge.training import TrainingConfig
from dverge.training.cpu_engine import CpuEngine
from dverge.training.engine import BatchInputs, Engine
from dverge.training.gpu_engine import GpuEngine
from dverge.training.objective import make_terms, noise_sets, stream_names
from dverge.training.plain import Batch, PlainLoop, descend, feature_distance
from tests.training.small import RECIPES, VANILLA_RECIPES, plain_start, small_config

ENGINES: list[type[Engine]] = [CpuEngine, GpuEngine]
NAMES = [
    "all of vanilla",
    "no momentum",
    *(name for name in RECIPES if name not in VANILLA_RECIPES),
]


def make_members(count: int, dtype: torch.dtype = torch.float64) -> list[Conv]:
    """Members with logits far enough apart that their gradients do not vanish."""
    members = [seeded_conv(seed).to(dtype).requires_grad_(False) for seed in range(count)]
    for member in members:
        member.fc3.weight.mul_(10)
    return members


def relative_difference(value: Tensor, expected: Tensor) -> float:
    return float((value - expected).abs().max() / expected.abs().max())


@pytest.fixture(scope="module")
def pairs(train_images: ImageSet) -> tuple[Tensor, Tensor]:
    """20 sources and 20 targets, float64."""
    pixels = train_images.pixels(slice(40)).double()
    return pixels[:20], pixels[20:]


@pytest.mark.parametrize("momentum", [0.0, 1.0])
@pytest.mark.parametrize("layer", range(1, LAYERS + 1))
def test_distilled_images(momentum: float, layer: int, pairs: tuple[Tensor, Tensor]) -> None:
    sources, targets = pairs
    config = AttackConfig(Norm.LINF, 0.07, 0.02, 5, momentum=momentum)  # the ball binds
    images = []
    for member in make_members(2):
        distance = partial(feature_distance, member, targets=targets, layer=layer)
        images.append(descend(distance, member.requires_grad_(), sources, sources, config))
        assert (images[-1] - sources).abs().max() > 0.06  # it moved
    for kind in ENGINES:
        engine = kind(make_members(2), 0.9, 0)
        source, target = (engine.encode(each.unsqueeze(0)) for each in pairs)
        start = source.expand(2, *source.shape[1:])
        distilled = engine.distill(source, target, start, layer, config)
        distilled = engine.decode(distilled, len(sources))
        torch.testing.assert_close(distilled, torch.stack(images), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_weights_after_iterations(name: str, train_images: ImageSet) -> None:
    """Four iterations, each from another layer, with the plain loop's losses."""
    fields, weights = RECIPES[name]
    # Batches of no multiple of the lanes, the last of 4 images.
    sizes: dict[str, Any] = {"batch_size": 18, "training_images": 40, "learning_rate": 0.05}
    config = replace(small_config(**fields), **sizes)
    settings, first_layer = (config.momentum, config.weight_decay), list(RECIPES).index(name)
    plain = PlainLoop(make_members(config.members), config)
    engines = [kind(make_members(config.members), *settings) for kind in ENGINES]
    for i, batches in enumerate(batches_of_two_epochs(config, train_images)[:4]):
        batches = tuple((images.double(), labels) for images, labels in batches)
        inputs = [inputs_with_noise(engine, config, batches, seed=i) for engine in engines]
        layer, start = (first_layer + i) % LAYERS + 1, plain_start(config, engines[0], inputs[0])
        expected = torch.tensor(plain.step(batches, layer, config.learning_rate, start)).double().T
        assert expected.isfinite().all() and len(expected) == len(weights)
        for engine, own in zip(engines, inputs, strict=True):
            terms = engine.iterate(partial(make_terms, config), own, layer, config.learning_rate)
            torch.testing.assert_close(terms, expected, rtol=1e-5, atol=1e-6)
    for m, member in enumerate(plain.members):
        sections = [parameter.numel() for parameter in member.parameters()]
        for engine in engines:
            parts = engine.weights[m].split(sections)
            for part, parameter in zip(parts, member.parameters(), strict=True):
                assert relative_difference(part, parameter.detach().flatten()) < 1e-10


def batches_of_two_epochs(config: TrainingConfig, images: ImageSet) -> list[tuple[Batch, ...]]:
    used = images.subset(slice(config.training_images))
    streams = [Stream(used, config.batch_size, 0, name) for name in stream_names(config)]
    epochs = (zip(*(stream.epoch(i) for stream in streams), strict=True) for i in range(2))
    return list(itertools.chain(*epochs))


def inputs_with_noise(
    engine: Engine, config: TrainingConfig, batches: tuple[Batch, ...], seed: int
) -> BatchInputs:
    """The batches in the engine's layout, with noise that is the same for every engine."""
    images = torch.stack([images for images, _ in batches])
    generator, encoded = torch.Generator().manual_seed(seed), []
    for sets in noise_sets(config).values():
        noise = torch.rand(sets, *images.shape[1:], generator=generator, dtype=images.dtype) * 2 - 1
        encoded.append(engine.encode(noise) if sets else noise)
    return BatchInputs(engine.encode(images), torch.stack([y for _, y in batches]), *encoded)


@pytest.mark.parametrize("kind", ENGINES)
def test_layout_round_trip(kind: type[Engine]) -> None:
    images = torch.rand(2, 21, 3, 32, 32)
    engine = kind(make_members(2, torch.float32), 0.9, 0)
    assert engine.decode(engine.encode(images), 21).equal(images)


def test_any_number_of_threads_gives_the_same_bits(train_images: ImageSet) -> None:
    fields, _ = RECIPES["dverge-advt"]
    config = small_config(**fields)
    weights = []
    for threads in (1, 1, 2, 5):
        engine = CpuEngine(make_members(3, torch.float32), 0.9, 0, threads=threads)
        for batches in batches_of_two_epochs(config, train_images)[:3]:
            inputs = inputs_with_noise(engine, config, batches, seed=1)
            engine.iterate(partial(make_terms, config), inputs, 2, 0.01)
        weights.append(engine.weights)
    assert all(each.equal(weights[0]) for each in weights)
