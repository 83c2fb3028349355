"""The benchmark's arithmetic, on a clock of the test's own."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch

from dverge.benchmark import ROUNDS, bench_attack, compare


def test_medians_and_ratios_over_the_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    now, done = 0.0, {"plain": 0, "fast": 0}

    def work(name: str, seconds: Callable[[], float]) -> Callable[[], None]:
        def call() -> None:
            nonlocal now
            now += seconds()
            done[name] += 1

        return call

    monkeypatch.setattr("dverge.benchmark.time", SimpleNamespace(perf_counter=lambda: now))
    # A plain call takes 0.2 s, so 3 calls fill a round of 0.5 s. The fast way, after 20 calls to
    # warm up, takes from 10 to 70 ms, another duration in each round.
    fast = itertools.chain([0.0] * 20, *([0.01 * i] * 3 for i in range(1, ROUNDS + 1)))
    times = compare(
        work("plain", lambda: 0.2), work("fast", lambda: next(fast)), torch.device("cpu")
    )
    assert done == {"plain": 2 + 2 + 3 * ROUNDS, "fast": 20 + 3 * ROUNDS}
    assert (times.plain_ms, times.fast_ms) == pytest.approx((200, 40))
    assert (times.ratio, times.ratio_low, times.ratio_high) == pytest.approx((5, 200 / 70, 20))


def test_compiled_members_are_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dverge.benchmark.ROUNDS", 3)
    monkeypatch.setattr("dverge.benchmark.ROUND_SECONDS", 0.0)
    monkeypatch.setattr("dverge.benchmark.ATTACKED_IMAGES", 16)
    assert bench_attack(torch.device("cpu")).ratio > 1
