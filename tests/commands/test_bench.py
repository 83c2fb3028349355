"""`python -m dverge bench`."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from dverge.__main__ import main
from dverge.training import CONFIGS, Method, VanillaConfig

Output = pytest.CaptureFixture[str]
Refusal = Callable[[list[str]], str]


def test_bench(folder: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dverge.benchmark.WARM_UP_CALLS", 1)
    monkeypatch.setattr("dverge.benchmark.ROUNDS", 2)
    monkeypatch.setattr("dverge.benchmark.ROUND_SECONDS", 0.0)
    monkeypatch.setattr("dverge.benchmark.ATTACKED_IMAGES", 16)
    distill: dict[str, Any] = {"distill_steps": 1}
    attack: dict[str, Any] = {"adv_steps": 1}
    monkeypatch.setattr(
        "dverge.benchmark.CONFIGS",
        {
            Method.VANILLA: VanillaConfig,
            Method.ADVT: partial(CONFIGS[Method.ADVT], **attack),
            Method.DVERGE: partial(CONFIGS[Method.DVERGE], **distill),
            Method.DVERGE_ADVT: partial(CONFIGS[Method.DVERGE_ADVT], **distill, **attack),
        },
    )
    assert main(["bench", "--device", "cpu", "--json", "rows.json"]) == 0
    printed = capsys.readouterr().out.splitlines()
    rows = json.loads((folder / "rows.json").read_text())
    layers = [(row["method"], row["layer"]) for row in rows]
    distilled = [(method, layer) for method in ("dverge", "dverge-advt") for layer in range(1, 6)]
    assert layers == [("vanilla", None), ("advt", None), *distilled]
    assert "on cpu, 1 threads" in printed[0]
    for row, line in zip(rows, printed[2:-5], strict=True):
        assert (row["device"], row["threads"]) == ("cpu", 1)
        assert row["plain_ms"] > 0 and row["engine_ms"] > 0
        assert row["ratio_low"] <= row["ratio"] <= row["ratio_high"]
        assert row["images_per_second"] == pytest.approx(3 * 32 * 1000 / row["engine_ms"])
        assert line.split()[:3] == [
            row["method"],
            str(row["layer"] or "-"),
            f"{row['plain_ms']:.1f}",
        ]
    for method, line in zip(Method, printed[-5:-1], strict=True):
        plain = [row["plain_ms"] for row in rows if row["method"] == method]
        assert line.startswith(f"{method}: {sum(plain) / len(plain):.1f} ms plain, ")
    assert printed[-1].startswith("PGD of 10 steps on the mixture of 3 members")


@pytest.mark.parametrize("device", ["cuda:9", "tpu"])
def test_bench_on_a_device_that_is_not_here(device: str, refusal: Refusal) -> None:
    assert f"device is '{device}'" in refusal(["bench", "--device", device])
