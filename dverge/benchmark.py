"""How much faster the engines and the compiled members are than plain PyTorch.

Both ways do the same work and are timed in turn in one process, so that other load on the machine
slows both.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from dverge.attacks import MIXTURE, Norm, attack, pgd
from dverge.data import Split, Stream, load
from dverge.models import LAYERS, Ensemble, compiled, seeded_conv
from dverge.training import CONFIGS, DvergeConfig, LayerChoice, Method, Training, TrainingConfig
from dverge.training.objective import stream_names
from dverge.training.plain import Batch, PlainLoop

WARM_UP_CALLS = 20  # of the fast way, which compiles or captures itself at first
ROUNDS = 7
ROUND_SECONDS = 0.5  # least duration of a round of the plain way
ATTACKED_IMAGES = 256
MEMBERS = 3
TRAINING_IMAGES = 1000  # the bundled sample


@dataclass(frozen=True)
class Comparison:
    """Milliseconds a call of the plain and of the fast way; the ratio is plain / fast.

    Attributes:
        plain_ms, fast_ms: medians over the rounds.
        ratio: median of the ratios of the rounds.
        ratio_low, ratio_high: the smallest and largest of them.
    """

    plain_ms: float
    fast_ms: float
    ratio: float
    ratio_low: float
    ratio_high: float


@dataclass(frozen=True)
class BenchRow:
    """Milliseconds an iteration of three members at batch 32; the ratio is plain / engine.

    Attributes:
        method: what is trained, with the report's settings.
        layer: the layer whose features are distilled; None if none are.
        device, threads: where, and PyTorch's number of CPU threads.
        plain_ms, engine_ms: medians over the rounds, of the plain loop and the engine.
        ratio, ratio_low, ratio_high: see Comparison.
        images_per_second: of all members together, by the engine.
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
        """The fields as plain JSON values."""
        return asdict(self)


def bench(device: torch.device) -> Iterator[BenchRow]:
    """Time the training of each method, and of each layer where it distils, on the sample."""
    for method in (Method.VANILLA, Method.ADVT, Method.DVERGE, Method.DVERGE_ADVT):
        config = CONFIGS[method](training_images=TRAINING_IMAGES)
        if isinstance(config, DvergeConfig):
            for layer in range(1, LAYERS + 1):
                yield _row(replace(config, layer=LayerChoice(str(layer))), layer, device)
        else:
            yield _row(config, None, device)


def bench_attack(device: torch.device) -> Comparison:
    """Time PGD of ten steps on the mixture, with members of PyTorch and with compiled ones."""
    plain = Ensemble([seeded_conv(i).to(device).requires_grad_(False) for i in range(MEMBERS)])
    fast = compiled(plain)
    images = load(Split.SAMPLE).to(device).subset(slice(ATTACKED_IMAGES))
    pixels, labels = images.pixels(), images.labels
    config = pgd(Norm.LINF, 8 / 255, steps=10, random_start=False)
    return compare(
        lambda: attack(plain, pixels, labels, config, MIXTURE),
        lambda: attack(fast, pixels, labels, config, MIXTURE),
        device,
    )


def compare(
    plain: Callable[[], object], fast: Callable[[], object], device: torch.device
) -> Comparison:
    """Time both in turn, after some calls of each to warm up."""
    _milliseconds(plain, 2, device)
    _milliseconds(fast, WARM_UP_CALLS, device)
    calls = 1 + int(1000 * ROUND_SECONDS / _milliseconds(plain, 2, device))
    rounds = [
        (_milliseconds(plain, calls, device), _milliseconds(fast, calls, device))
        for _ in range(ROUNDS)
    ]
    ratios = [plain_ms / fast_ms for plain_ms, fast_ms in rounds]
    return Comparison(
        statistics.median(plain_ms for plain_ms, _ in rounds),
        statistics.median(fast_ms for _, fast_ms in rounds),
        statistics.median(ratios),
        min(ratios),
        max(ratios),
    )


def _row(config: TrainingConfig, layer: int | None, device: torch.device) -> BenchRow:
    plain, engine = _plain_steps(config, layer or 0, device), _engine_steps(config, device)
    times = compare(plain, engine, device)
    return BenchRow(
        method=str(config.method),
        layer=layer,
        device=str(device),
        threads=torch.get_num_threads(),
        plain_ms=times.plain_ms,
        engine_ms=times.fast_ms,
        ratio=times.ratio,
        ratio_low=times.ratio_low,
        ratio_high=times.ratio_high,
        images_per_second=1000 * config.batch_size * config.members / times.fast_ms,
    )


def _plain_steps(config: TrainingConfig, layer: int, device: torch.device) -> Callable[[], object]:
    """A function that runs one iteration of the plain loop."""
    images = load(Split.SAMPLE).to(device)
    members = [seeded_conv(i).to(device) for i in range(config.members)]
    loop = PlainLoop(members, config)
    streams = [Stream(images, config.batch_size, 0, name) for name in stream_names(config)]

    def endless_batches() -> Iterator[tuple[Batch, ...]]:
        for epoch in itertools.count():
            yield from zip(*(stream.epoch(epoch) for stream in streams), strict=True)

    batches = endless_batches()
    return lambda: loop.step(next(batches), layer, config.learning_rate)


def _engine_steps(config: TrainingConfig, device: torch.device) -> Callable[[], object]:
    """A function that runs one iteration of the real training."""
    images = load(Split.SAMPLE)
    steps = Training(replace(config, epochs=1000), images, images.subset(slice(1)), device).run()
    return lambda: next(steps)


def _milliseconds(call: Callable[[], object], count: int, device: torch.device) -> float:
    """The mean duration of so many calls, including what they start on the device."""
    _synchronize(device)
    start = time.perf_counter()
    for _ in range(count):
        call()
    _synchronize(device)
    return 1000 * (time.perf_counter() - start) / count


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
