"""A short curve of two checkpoints, and evaluations of it, for tests."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch

from dverge import checkpoints
from dverge.attacks import Attack, Norm, fgsm, pgd
from dverge.data import ImageSet, Split
from dverge.evaluation.evaluation import Evaluation
from dverge.evaluation.measurements import (
    Clean,
    Measurement,
    ProjectedGradient,
    ReportAttack,
)
from dverge.evaluation.protocols import PLANS, EvaluationConfig, Protocol
from dverge.results import Result

Patch = pytest.MonkeyPatch


class Call(NamedTuple):
    """A batch that was measured."""

    attack: str
    victim: str
    attempt: int
    numbers: tuple[int, ...]
    network: type


Calls = list[Call]
Expected = dict[str, list[Result]]
ATTACKS = {"clean", "fgsm", "pgd-linf", "pgd-l2"}


def small(seed: int) -> list[Measurement]:
    """What the short curve measures: each kind once."""
    return [
        Clean(),
        ProjectedGradient("fgsm", fgsm(0.004), thorough=True),
        ProjectedGradient("pgd-linf", pgd(Norm.LINF, 0.005, steps=2, restarts=2, seed=seed)),
        ReportAttack(Attack.PGD_L2),
    ]


def use_plan(monkeypatch: Patch, measurements: Callable[[int], list[Measurement]]) -> None:
    plan = replace(PLANS[Protocol.CURVE], measurements=measurements, images=12)
    monkeypatch.setitem(PLANS, Protocol.CURVE, plan)


def prepare(monkeypatch: Patch) -> None:
    """A short curve, in float64, where the order of sums decides nothing, on a clock that rests."""
    use_plan(monkeypatch, small)
    read, pixels = checkpoints.load, ImageSet.pixels
    monkeypatch.setattr(checkpoints, "load", lambda info: read(info).double())
    monkeypatch.setattr(ImageSet, "pixels", lambda self, *at: pixels(self, *at).double())
    clock = SimpleNamespace(perf_counter=lambda: 0.0)
    monkeypatch.setattr("dverge.evaluation.evaluation.time", clock)


def use_batches_of(size: int, monkeypatch: Patch) -> None:
    """Measure so many images at once."""
    monkeypatch.setattr(Measurement, "batch_size", lambda self, device: size)


def config_of(*names: str, **settings: Any) -> EvaluationConfig:
    settings = {"split": Split.SAMPLE, "images": 12, "device": "cpu", **settings}
    return EvaluationConfig.of(names or ("three", "two"), Protocol.CURVE, **settings)


def evaluation_of(root: Path, *names: str, **settings: Any) -> Evaluation:
    return Evaluation(config_of(*names, **settings), root=root)


def all_results(evaluation: Evaluation) -> list[Result]:
    results = [each for finished in evaluation.run() for each in finished or []]
    assert evaluation.failures == []
    return results


def forget(root: Path) -> None:
    for folder in root.glob("*/evaluations"):
        shutil.rmtree(folder)


def saved_and_read(state: dict[str, Any]) -> dict[str, Any]:
    """As a run's folder keeps it."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    read: dict[str, Any] = torch.load(file, weights_only=True)
    return read


def refuse(*_: Any) -> Any:
    raise AssertionError("something is computed")
