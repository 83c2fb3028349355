"""How much faster the engine of a device is than the plain loop: both on the same work, in turn."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from dverge.data import Split, Stream, load
from dverge.models import LAYERS, seeded_conv
from dverge.timing import compare
from dverge.training.config import (
    AdvtConfig,
    DvergeAdvtConfig,
    DvergeConfig,
    LayerChoice,
    Method,
    TrainingConfig,
    VanillaConfig,
)
from dverge.training.objective import streams
from dverge.training.plain import PlainLoop
from dverge.training.trainer import Training


@dataclass(frozen=True)
class BenchRow:
    """Milliseconds an iteration of three members at batch 32 takes; the ratio is plain / engine.

    Attributes:
        method: what is trained, with the report's settings.
        layer: that is distilled from, None where nothing is.
        device, threads: where, and PyTorch's number of CPU threads.
        plain_ms, engine_ms: medians over the rounds, of the plain loop and the fast engine.
        ratio: median of the rounds' ratios.
        ratio_low, ratio_high: the smallest and largest of them.
        images_per_second: of all members, by the engine.
    """

    method: str
    layer: int | None
    device: str
    threads: int
    plain_ms: float
    engine_ms: float
    ratio: float
    ratio_low: float
    ratio_high: float
    images_per_second: float

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


def bench(device: torch.device, methods: tuple[Method, ...] = tuple(Method)) -> Iterator[BenchRow]:
    """Time each method, and each layer of those that distil, on the bundled sample."""
    if Method.VANILLA in methods:
        yield _row(VanillaConfig(training_images=1000), None, device)
    if Method.ADVT in methods:
        yield _row(AdvtConfig(training_images=1000), None, device)
    for config in (DvergeConfig(training_images=1000), DvergeAdvtConfig(training_images=1000)):
        if config.method in methods:
            for layer in range(1, LAYERS + 1):
                fixed = replace(config, layer=LayerChoice(str(layer)))
                yield _row(fixed, layer, device)


def _row(config: TrainingConfig, layer: int | None, device: torch.device) -> BenchRow:
    plain, fast = _plain_steps(config, layer or 0, device), _fast_steps(config, device)
    found = compare(plain, fast, device)
    return BenchRow(
        method=str(config.method),
        layer=layer,
        device=str(device),
        threads=torch.get_num_threads(),
        plain_ms=found.plain_ms,
        engine_ms=found.fast_ms,
        ratio=found.ratio,
        ratio_low=found.ratio_low,
        ratio_high=found.ratio_high,
        images_per_second=1000 * config.batch_size * config.members / found.fast_ms,
    )


def _plain_steps(config: TrainingConfig, layer: int, device: torch.device) -> Callable[[], object]:
    """One iteration of the plain loop a call."""
    images = load(Split.SAMPLE).to(device)
    members = [seeded_conv(i).to(device) for i in range(config.members)]
    loop = PlainLoop(members, config)

    def batches() -> Iterator[Any]:
        names = streams(config)
        for epoch in itertools.count():
            each = [Stream(images, config.batch_size, 0, name).epoch(epoch) for name in names]
            yield from zip(*each, strict=True)

    supply = batches()
    return lambda: loop.step(next(supply), layer, config.learning_rate)


def _fast_steps(config: TrainingConfig, device: torch.device) -> Callable[[], object]:
    """One iteration of the real training a call."""
    images = load(Split.SAMPLE)
    endless = replace(config, epochs=1000)
    steps = Training(endless, images, images.subset(slice(1)), device).run()
    return lambda: next(steps)
