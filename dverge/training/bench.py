"""Which way of stepping several members is faster here: both on the same work, in turn."""

from __future__ import annotations

import statistics
import time
from dataclasses import asdict, dataclass
from typing import Any

import torch

from dverge.data import Split, Stream, load
from dverge.models import seeded_conv
from dverge.training.engines import Engine, Sequential, Stacked

MEMBERS, BATCH_SIZE = 3, 32
ROUNDS, STEPS = 7, 30


@dataclass(frozen=True)
class BenchRow:
    """Milliseconds a training step of three members at batch 32; the ratio is plain / engine.

    Attributes:
        method: what is trained.
        device, threads: where, and PyTorch's number of CPU threads.
        plain_ms, engine_ms: medians over the rounds, one after the other and stacked.
        ratio: median of the rounds' ratios; above 1, stacked is faster.
        ratio_low, ratio_high: the smallest and largest of them.
    """

    method: str
    device: str
    threads: int
    plain_ms: float
    engine_ms: float
    ratio: float
    ratio_low: float
    ratio_high: float

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


def bench_vanilla(device: torch.device) -> BenchRow:
    """Time the sequential and the stacked engine in alternating rounds on the bundled sample."""
    images = load(Split.SAMPLE).to(device)
    streams = [Stream(images, BATCH_SIZE, 0, f"member-{i}") for i in range(MEMBERS)]
    batches = [stream.epoch(0) for stream in streams]
    work = list(zip(*batches, strict=True))[:STEPS]
    engines: list[Engine] = []
    for kind in (Sequential, Stacked):
        members = [seeded_conv(i).to(device) for i in range(MEMBERS)]
        engines.append(kind(members, momentum=0.9, weight_decay=0.0))

    def milliseconds(engine: Engine) -> float:
        _wait(device)
        began = time.perf_counter()
        for step in work:
            engine.step(step, learning_rate=1e-3)
        _wait(device)
        return 1000 * (time.perf_counter() - began) / len(work)

    for engine in engines:
        milliseconds(engine)  # warm up
    rounds = [(milliseconds(engines[0]), milliseconds(engines[1])) for _ in range(ROUNDS)]
    ratios = [plain / stacked for plain, stacked in rounds]
    return BenchRow(
        "vanilla",
        str(device),
        torch.get_num_threads(),
        statistics.median(plain for plain, _ in rounds),
        statistics.median(stacked for _, stacked in rounds),
        statistics.median(ratios),
        min(ratios),
        max(ratios),
    )


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
