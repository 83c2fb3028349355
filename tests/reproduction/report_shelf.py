"""Checkpoints like the report's trainings, with results made by hand instead of measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from dverge import checkpoints
from dverge.checkpoints import Card, CheckpointInfo
from dverge.data import Split
from dverge.evaluation.protocols import PLANS, EvaluationConfig, Protocol
from dverge.evaluation.store import ResultFile, add_results
from dverge.models import Conv, Ensemble, seeded_conv
from dverge.reproduction.claims import Answer, Verdict
from dverge.reproduction.printed import CLAIMS, SETTINGS, Claim
from dverge.results import Result, result_of
from dverge.training import PRESETS, Method, StartedConfig

N = 1000
COLUMNS = ("clean", "fgsm", "pgd-linf", "pgd-l2")
MODELS = ("member-1", "member-2", "member-3", "mixture")
Counts = Mapping[str, Sequence[int]]  # by column: correct images of N, for each model in order


def trained(
    root: Path,
    name: str,
    method: str,
    epochs: int,
    seed: int = 0,
    weights: int | None = None,
    history: Sequence[dict[str, Any]] = (),
    start: str = "vanilla-3xconv-s0",
    **changed: Any,
) -> CheckpointInfo:
    """Save a checkpoint of the report's recipe, with weights of its own.

    Args:
        weights: what they are seeded with; the name if None.
        changed: settings that differ from the recipe.
    """
    first = sum(name.encode()) * 7 if weights is None else weights
    ensemble = Ensemble([seeded_conv(3 * first + i) for i in range(3)])
    preset = PRESETS[Method(method)]["report"]
    config = preset.to_dict() | {"epochs": epochs, "seed": seed}
    if isinstance(preset, StartedConfig):
        folder = root / start
        digest = checkpoints.read(folder).digest if start and folder.is_dir() else ""
        config |= {"start": start, "start_digest": digest}
    return checkpoints.save(
        name,
        ensemble,
        method=method,
        root=root,
        history=history,
        seed=seed,
        config=config | changed,
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
    split: Split | None = None,
) -> None:
    """Keep results of a checkpoint, in which each model is correct on the first of n images.

    Args:
        counts: on how many, by column.
        data: the images' digest.
        split: the protocol's own if None.
    """
    config = EvaluationConfig((info.name,), protocol, seed=seed)
    split = split or PLANS[protocol].split
    file = ResultFile(info.digest, protocol, config.version, split, n, data, seed)
    for column, by_model in counts.items():
        attack, setting = SETTINGS[protocol][column]
        (parameters,) = [
            measurement.parameters()
            for measurement in config.known_measurements()
            if measurement.attack == attack and setting.items() <= measurement.parameters().items()
        ]
        results = [
            result(model, attack, correct, protocol, parameters, n, split)
            for model, correct in zip(MODELS, by_model, strict=True)
        ]
        add_results(info, file, results)


def result(
    model: str,
    attack: str,
    correct: int,
    protocol: Protocol,
    parameters: Mapping[str, Any] = {},
    n: int = N,
    split: Split = Split.TEST,
    victim: str = "",
    **about: Any,
) -> Result:
    """A model's result under an attack on itself, on the mixture the worst of all."""
    if not victim and attack != "clean":
        victim = "worst" if model == "mixture" and protocol is not Protocol.REPORT else model
    parameters = {**parameters} | ({"victim": victim} if victim else {})
    about |= {"parameters": parameters, "protocol": protocol, "device": "CPU"}
    return result_of(torch.arange(n) < correct, model, attack, split, **about)


def epochs_of(
    members: Sequence[Sequence[float]],
    mixture: Sequence[float],
    validation: Sequence[Sequence[float]] | None = None,
    layers: Sequence[int] | None = None,
) -> list[dict[str, Any]]:
    """A history of the members' training losses and the mixture's validation loss by epoch."""
    return [
        {
            "epoch": i + 1,
            "train_loss": [each[i] for each in members],
            "terms": {"clean": [each[i] for each in members]},
            "layer": layers[i] if layers else None,
            "val_loss": [each[i] for each in (validation or members)],
            "val_accuracy": [0.6] * len(members),
            "mixture_val_loss": mixture[i],
            "mixture_val_accuracy": 0.6,
        }
        for i in range(len(mixture))
    ]


def make_card(method: str, digest: str, seed: int) -> Card:
    return Card(
        method,
        Conv.architecture,
        {"member-1.safetensors": digest},
        seed,
        {},
        None,
        {},
        "",
        None,
        [],
    )


def claim_of(start: str) -> Claim:
    (claim,) = [claim for claim in CLAIMS if claim.text.startswith(start)]
    return claim


def answers(verdict: Verdict) -> list[Answer]:
    return [finding.answer for finding in verdict.findings]
