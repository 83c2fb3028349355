"""Two ways of doing the same, timed in turn in one run, so that a busy machine slows both."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

ROUNDS = 7
ROUND_SECONDS = 0.5  # that a round of the slower way takes at least


@dataclass(frozen=True)
class Comparison:
    """Milliseconds a call, medians over the rounds; the ratio is plain / fast.

    Attributes:
        plain_ms, fast_ms: of either way.
        ratio: median of the rounds' ratios.
        ratio_low, ratio_high: the smallest and largest of them.
    """

    plain_ms: float
    fast_ms: float
    ratio: float
    ratio_low: float
    ratio_high: float


def compare(
    plain: Callable[[], object], fast: Callable[[], object], device: torch.device
) -> Comparison:
    """Time both, after a warm-up of each."""
    milliseconds(plain, 2, device)
    milliseconds(fast, 20, device)
    calls = 1 + int(1000 * ROUND_SECONDS / milliseconds(plain, 2, device))
    rounds = [
        (milliseconds(plain, calls, device), milliseconds(fast, calls, device))
        for _ in range(ROUNDS)
    ]
    ratios = [slow / quick for slow, quick in rounds]
    return Comparison(
        statistics.median(slow for slow, _ in rounds),
        statistics.median(quick for _, quick in rounds),
        statistics.median(ratios),
        min(ratios),
        max(ratios),
    )


def milliseconds(call: Callable[[], object], count: int, device: torch.device) -> float:
    """The mean over so many calls, the device's work included."""
    _wait(device)
    began = time.perf_counter()
    for _ in range(count):
        call()
    _wait(device)
    return 1000 * (time.perf_counter() - began) / count


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
