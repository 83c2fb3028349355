"""An ensemble on disk: a folder with its members, a card and its training history.

checkpoints/<name>/
    card.json          what it is and how it was made
    member-1.safetensors …
    history.jsonl      one row an epoch
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import safetensors
import safetensors.torch
import torch
from msgspec import Meta
from torch import Tensor

from dverge.errors import CheckpointError, DvergeError, require
from dverge.models import CLASS_COUNT, Conv, Ensemble
from dverge.results import Result
from dverge.stored import (
    FORMAT,
    Broken,
    Count,
    NonNegative,
    Number,
    Seed,
    Setting,
    Share,
    check_name,
    new_folder,
    read_json,
    read_jsonl,
    write_json,
)

CARD = "card.json"
HISTORY = "history.jsonl"
Losses = Annotated[list[Number], Meta(min_length=1)]


@dataclass(frozen=True)
class Card:
    """The description of a checkpoint.

    Attributes:
        method: how it was trained: vanilla, dverge, dverge-advt, advt, imported.
        architecture: of every member; "conv" is the report's network.
        members: SHA-256 of each member's file, by file name, in member order.
        seed: the run's seed, None if unknown.
        config: the full training configuration.
        data_digest: SHA-256 of the training images and labels, None if unknown.
        versions: packages it was trained with.
        device: what it was trained on.
        training_seconds: time spent training, None if unknown.
        results: accuracies measured when it was made.
        classes: the names of the outputs, in order; empty means CIFAR-10's classes.
    """

    method: str
    architecture: str
    members: Annotated[dict[str, str], Meta(min_length=1)]
    seed: Seed | None
    config: dict[str, Setting]
    data_digest: str | None
    versions: dict[str, str]
    device: str
    training_seconds: NonNegative | None
    results: list[Result]
    classes: list[str] = field(default_factory=list)
    format: int = FORMAT

    def __post_init__(self) -> None:
        ours = self.architecture == Conv.architecture
        require(ours, "architecture", self.architecture, repr(Conv.architecture))
        ten = len(self.classes) in (0, CLASS_COUNT)
        names = ",".join(self.classes)
        require(ten, "classes", names, f"{CLASS_COUNT} names in the outputs' order")


@dataclass(frozen=True)
class EpochRow:
    """One epoch in a training's history or metrics; see training.EpochMetrics."""

    epoch: Count
    train_loss: Losses
    val_loss: Losses
    val_accuracy: Annotated[list[Share], Meta(min_length=1)]
    mixture_val_loss: Number
    mixture_val_accuracy: Share
    terms: dict[str, Losses] = field(default_factory=dict)
    layer: Count | None = None
    learning_rate: Number = 0.0
    images_per_second: Number = 0.0
    seconds: Number = 0.0


@dataclass(frozen=True)
class CheckpointInfo:
    """A checkpoint whose card was read; its members are not loaded yet.

    `digest` is of the members' digests: equal weights have equal digests, whatever the name.
    """

    name: str
    folder: Path
    card: Card

    @property
    def digest(self) -> str:
        return hashlib.sha256("".join(self.card.members.values()).encode()).hexdigest()


def checkpoints_folder() -> Path:
    """Where checkpoints are kept: the repository's, or $DVERGE_CHECKPOINTS."""
    chosen = os.environ.get("DVERGE_CHECKPOINTS")
    return Path(chosen) if chosen else Path(__file__).parents[1] / "checkpoints"


def save(
    name: str,
    ensemble: Ensemble,
    *,
    method: str,
    root: Path | None = None,
    history: Sequence[Mapping[str, Any]] = (),
    **details: Any,
) -> CheckpointInfo:
    """Write a new checkpoint, whole or not at all.

    Args:
        name: of its folder.
        ensemble: Conv members.
        method: see Card.
        root: the folder of checkpoints; the default one if None.
        history: rows for history.jsonl.
        details: further fields of the Card; those left out are unknown or empty.

    Raises:
        CheckpointError: the name is taken.
        ConfigError: the name cannot be a folder's, or the classes are not ten.
    """
    folder = (root or checkpoints_folder()) / check_name(name)
    unknown: dict[str, Any] = dict.fromkeys(("seed", "data_digest", "training_seconds"))
    empty: dict[str, Any] = {"config": {}, "versions": {}, "device": "", "results": []}
    try:
        with new_folder(folder) as temporary:
            digests = {}
            for i, member in enumerate(ensemble.members, 1):
                weights = {k: v.detach().cpu().contiguous() for k, v in member.state_dict().items()}
                file = f"member-{i}.safetensors"
                safetensors.torch.save_file(weights, temporary / file)
                digests[file] = file_digest(temporary / file)
            card = Card(method, Conv.architecture, digests, **unknown | empty | details)
            stored_results = [result.stored() for result in card.results]
            write_json(temporary / CARD, asdict(card) | {"results": stored_results})
            lines = "".join(json.dumps(row) + "\n" for row in history)
            (temporary / HISTORY).write_text(lines, encoding="utf-8")
    except FileExistsError:
        raise CheckpointError(
            f"checkpoint {name!r} is there already; choose another name or delete {folder}."
        ) from None
    return CheckpointInfo(name, folder, card)


def read(folder: Path) -> CheckpointInfo:
    """Read a checkpoint's card.

    Raises:
        CheckpointError: there is no card.
        FileError: the card cannot be used.
    """
    if not (folder / CARD).exists():
        raise CheckpointError(
            f"{folder} is no checkpoint: it has no {CARD}. Plain weight files are imported by "
            "python -m dverge import."
        )
    return CheckpointInfo(folder.name, folder, read_json(folder / CARD, Card))


def load(checkpoint: CheckpointInfo | Path | str) -> Ensemble:
    """Load a checkpoint's members, verifying digests, keys and shapes.

    Args:
        checkpoint: its info, its folder, or its name in the default folder.

    Raises:
        CheckpointError: anything is missing, altered, or of another architecture.
        FileError: the card cannot be used.
    """
    info = checkpoint if isinstance(checkpoint, CheckpointInfo) else read(find(checkpoint))
    members = []
    for file, digest in info.card.members.items():
        path = info.folder / Path(file).name
        try:
            if file_digest(path) != digest:
                raise _broken(info.folder, f"{file} does not match the SHA-256 in its card")
            weights = safetensors.torch.load_file(path)
        except FileNotFoundError:
            raise _broken(info.folder, f"{file} is missing") from None
        except (safetensors.SafetensorError, OSError, ValueError) as error:
            raise _broken(info.folder, f"{file} cannot be read ({error})") from None
        members.append(member_of(weights, str(path)))
    return Ensemble(members).eval()


def find(name: Path | str, root: Path | None = None) -> Path:
    """The folder of a checkpoint that is named by its path, or by its name in root.

    Args:
        name: path or name.
        root: the folder of checkpoints; the default one if None.

    Raises:
        CheckpointError: there is none; the message lists the checkpoints that exist.
    """
    # A checkpoint's name comes first: the working directory may hold a folder called the same.
    root = root or checkpoints_folder()
    folders = [f for f in (root / name, Path(name)) if f.is_dir()]
    for folder in folders:
        if (folder / CARD).exists() or folder == folders[-1]:
            return folder.absolute()
    names = ", ".join(info.name for info in list_all(root)[0]) or "none"
    raise CheckpointError(f"there is no checkpoint {str(name)!r}; those there are: {names}.")


def list_all(root: Path | None = None) -> tuple[list[CheckpointInfo], list[Broken]]:
    """All checkpoints by name, and the folders that cannot be used, with the reason."""
    root = root or checkpoints_folder()
    good, broken = [], []
    for folder in sorted(root.iterdir()) if root.is_dir() else []:
        if folder.name.startswith(".") or not folder.is_dir():
            continue
        try:
            good.append(read(folder))
        except DvergeError as error:
            broken.append(Broken(folder, str(error)))
    return good, broken


def read_history(info: CheckpointInfo) -> list[dict[str, Any]]:
    """The rows of a checkpoint's history.jsonl, one for each epoch from the first; see EpochRow.

    There are none without such a file, or if it is damaged; see damaged_history.
    """
    rows, broken = _history(info)
    return [] if broken else rows


def damaged_history(info: CheckpointInfo) -> list[Broken]:
    """A checkpoint's history.jsonl if it cannot be used, with the reason."""
    return _history(info)[1]


def _history(info: CheckpointInfo) -> tuple[list[dict[str, Any]], list[Broken]]:
    path = info.folder / HISTORY
    rows, broken = read_jsonl(path, {"": EpochRow})
    counts = {(len(row["train_loss"]), len(row["val_loss"])) for row in rows}
    if len(counts) > 1 or [row["epoch"] for row in rows] != [*range(1, len(rows) + 1)]:
        reason = f"{path} cannot be used (its rows are not the epochs 1, 2, … of one training)."
        broken = broken or [Broken(path, reason)]
    return rows, broken


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def member_of(weights: dict[str, Tensor], where: str) -> Conv:
    """A Conv with these weights.

    Args:
        weights: a state dict.
        where: it was read from, for the message.

    Raises:
        CheckpointError: it names the first difference from a Conv's keys, shapes and finite values.
    """
    member = Conv()
    shapes = {name: tuple(value.shape) for name, value in member.state_dict().items()}
    missing = sorted(shapes.keys() - weights.keys())
    unknown = sorted(weights.keys() - shapes.keys())
    if missing or unknown:
        raise CheckpointError(
            f"{where} is of another architecture than Conv: missing {missing or 'nothing'}, "
            f"unknown {unknown or 'nothing'}."
        )
    for name, shape in shapes.items():
        if tuple(weights[name].shape) != shape:
            raise CheckpointError(
                f"{where} is of another architecture than Conv: {name} has shape "
                f"{tuple(weights[name].shape)} and not {shape}."
            )
        if not _is_finite(weights[name]):
            raise CheckpointError(f"{where}: {name} holds values that are not finite numbers.")
    member.load_state_dict(weights)
    return member.requires_grad_(False)


def _is_finite(values: Tensor) -> bool:
    """Whether these are plain floating-point numbers, finite as float32 (what a Conv holds)."""
    plain = values.is_floating_point() and values.layout is torch.strided and not values.is_meta
    return plain and bool(values.float().isfinite().all())


def _broken(folder: Path, reason: str) -> CheckpointError:
    return CheckpointError(
        f"checkpoint {folder.name!r} cannot be used: {reason}. Restore the folder or delete it."
    )
