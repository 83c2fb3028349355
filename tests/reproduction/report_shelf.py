"""Checkpoints like the report's trainings, with figures made by hand instead of measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from dverge import checkpoints
from dverge.checkpoints import CheckpointInfo
from dverge.data import Split
from dverge.evaluation.protocols import PLANS, EvaluationConfig, Protocol
from dverge.models import Ensemble, seeded_conv
from dverge.reproduction.trained import SETTINGS
from dverge.results import result_of
from dverge.training import PRESETS, Method, StartedConfig

N = 1000
COLUMNS = ("clean", "fgsm", "pgd-linf", "pgd-l2")
MODELS = ("member-1", "member-2", "member-3", "mixture")
Counts = Mapping[str, Sequence[int]]  # by column: right images of N, of each model in order


def trained(
    root: Path,
    name: str,
    method: str,
    epochs: int,
    seed: int = 0,
    weights: int | None = None,
    history: Sequence[dict[str, Any]] = (),
    start: str = "vanilla-3xconv-s0",
    clean: int | None = None,
    **changed: Any,
) -> CheckpointInfo:
    """A checkpoint of the report's recipe, of weights of its own.

    Args:
        weights: what they are seeded with; by its name if None.
        clean: right test images of 10,000 that its card states of the mixture.
        changed: settings that are not the recipe's.
    """
    first = sum(name.encode()) * 7 if weights is None else weights
    ensemble = Ensemble([seeded_conv(3 * first + i) for i in range(3)])
    preset = PRESETS[Method(method)]["report"]
    config = preset.to_dict() | {"epochs": epochs, "seed": seed}
    if isinstance(preset, StartedConfig):
        folder = root / start
        digest = checkpoints.read(folder).digest if start and folder.is_dir() else ""
        config |= {"start": start, "start_digest": digest}
    results = []
    if clean is not None:
        right = torch.arange(10_000) < clean
        results = [result_of(right.double(), "mixture", "clean", Split.TEST)]
    return checkpoints.save(
        name,
        ensemble,
        method=method,
        root=root,
        history=history,
        seed=seed,
        config=config | changed,
        results=results,
        device="CPU, 2 threads",
        training_seconds=3600.0,
    )


def measure(
    info: CheckpointInfo,
    protocol: Protocol,
    counts: Counts,
    n: int = N,
    data: str = "aa" * 32,
    seed: int = 0,
    members_only: Mapping[str, int] | None = None,
    split: Split | None = None,
) -> None:
    """Keep figures of a checkpoint: each model right on its first so many of n images.

    Args:
        counts: by column, as Counts.
        data: the images' digest.
        members_only: by column, the mixture's under the attacks on single members.
    """
    config = EvaluationConfig((info.name,), protocol, seed=seed)
    split = split or PLANS[protocol].split
    subject = Subject(info.digest, protocol, config.version, split, n, data, seed)
    for measurement in config.known_measurements():
        parameters = measurement.parameters()
        due = SETTINGS[protocol].get(measurement.attack, {"not": "a column"})
        fits = all(parameters.get(key) == value for key, value in due.items())
        if not fits or measurement.attack not in counts:
            continue
        attack = measurement.attack
        rows = [
            _row(model, attack, split, right, n, parameters, _victim(model, attack, protocol))
            for model, right in zip(MODELS, counts[attack], strict=True)
        ]
        if members_only and attack in members_only:
            single = members_only[attack]
            rows.append(_row("mixture", attack, split, single, n, parameters, "members"))
        add_finished(info, subject, Finished(attack, parameters, "CPU, 2 threads", rows))


def _victim(model: str, attack: str, protocol: Protocol) -> str:
    if attack == "clean":
        return ""
    return "worst" if model == "mixture" and protocol is not Protocol.REPORT else model


def _row(
    model: str, attack: str, split: Split, right: int, n: int, parameters: Any, victim: str
) -> Any:
    bits = torch.arange(n) < right
    named = {"victim": victim} if victim else {}
    return result_of(bits, model, attack, split, parameters=parameters | named)


def epochs_of(
    members: Sequence[Sequence[float]],
    mixture: Sequence[float],
    validation: Sequence[Sequence[float]] | None = None,
    accuracy: Sequence[float] | None = None,
    layers: Sequence[int] | None = None,
) -> list[dict[str, Any]]:
    """A history: training losses of the members by epoch, and the mixture's validation loss."""
    count = len(mixture)
    return [
        {
            "epoch": i + 1,
            "train_loss": [each[i] for each in members],
            "terms": {"clean": [each[i] for each in members]},
            "layer": layers[i] if layers else None,
            "val_loss": [each[i] for each in (validation or members)],
            "val_accuracy": [0.6] * len(members),
            "mixture_val_loss": mixture[i],
            "mixture_val_accuracy": accuracy[i] if accuracy else 0.6,
        }
        for i in range(count)
    ]
