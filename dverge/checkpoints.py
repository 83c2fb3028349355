"""An ensemble on disk: a folder with its members, a card and its training history.

checkpoints/<name>/
    card.json          what it is and how it came to be
    member-1.safetensors …
    history.jsonl      one row an epoch
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from dverge.errors import CheckpointError
from dverge.models import CLASS_COUNT, Conv, Ensemble
from dverge.stored import check_name, new_folder, write_json

CARD = "card.json"
HISTORY = "history.jsonl"
FORMAT = 1
RESULT_FIELDS = {"model", "attack", "split", "n", "accuracy", "ci_low", "ci_high"}
HISTORY_FIELDS = {  # of every row; a training may add more
    "epoch",
    "train_loss",
    "val_loss",
    "val_accuracy",
    "mixture_val_loss",
    "mixture_val_accuracy",
}


@dataclass(frozen=True)
class Card:
    """What a checkpoint says of itself.

    Attributes:
        method: how it was trained: vanilla, dverge, dverge-advt, advt, imported.
        architecture: of every member; "conv" is the report's network.
        members: SHA-256 of each member's file, by file name, in member order.
        seed: the run's seed, None if unknown.
        config: the full training configuration.
        data_digest: SHA-256 of the training images and labels, None if unknown.
        versions: packages it was trained with.
        device: what it was trained on.
        training_seconds: time spent training.
        results: accuracies measured when it was made, each with its split, n and interval.
        classes: what the outputs stand for, in order; empty means CIFAR-10's classes.
    """

    method: str
    architecture: str
    members: dict[str, str]
    seed: int | None = None
    config: dict[str, Any] = field(default_factory=dict)
    data_digest: str | None = None
    versions: dict[str, str] = field(default_factory=dict)
    device: str = ""
    training_seconds: float | None = None
    results: list[dict[str, Any]] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    format: int = FORMAT


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


@dataclass(frozen=True)
class BrokenCheckpoint:
    """A folder that is no usable checkpoint, and why."""

    name: str
    reason: str


def checkpoints_folder() -> Path:
    """Where checkpoints are kept: the repository's, or $DVERGE_CHECKPOINTS."""
    given = os.environ.get("DVERGE_CHECKPOINTS")
    return Path(given) if given else Path(__file__).parents[1] / "checkpoints"


def save(
    name: str,
    ensemble: Ensemble,
    *,
    method: str,
    root: Path | None = None,
    history: Sequence[dict[str, Any]] = (),
    **details: Any,
) -> CheckpointInfo:
    """Write a new checkpoint, whole or not at all.

    Args:
        name: of its folder.
        ensemble: Conv members.
        method: see Card.
        root: the folder of checkpoints; the default one if None.
        history: rows for history.jsonl.
        details: further fields of the Card.

    Raises:
        CheckpointError: the name is taken.
        ConfigError: the name cannot be a folder's.
    """
    folder = (root or checkpoints_folder()) / check_name(name)
    try:
        with new_folder(folder) as temporary:
            digests = {}
            for i, member in enumerate(ensemble.members, 1):
                weights = {k: v.detach().cpu().contiguous() for k, v in member.state_dict().items()}
                file = f"member-{i}.safetensors"
                safetensors.torch.save_file(weights, temporary / file)
                digests[file] = file_digest(temporary / file)
            card = Card(method, Conv.architecture, digests, **details)
            write_json(temporary / CARD, asdict(card))
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
        CheckpointError: there is no card, or it is not one.
    """
    try:
        raw = json.loads((folder / CARD).read_text(encoding="utf-8"))
        card = _card(raw)
    except FileNotFoundError:
        raise CheckpointError(
            f"{folder} is no checkpoint: it has no {CARD}. Plain weight files are taken in by "
            "python -m dverge import."
        ) from None
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise _broken(folder, f"its {CARD} cannot be read ({error})") from None
    if card.format != FORMAT:
        raise _broken(folder, f"its format is {card.format}, this version reads {FORMAT}")
    if card.architecture != Conv.architecture:
        raise _broken(folder, f"its architecture is {card.architecture!r}, not 'conv'", mend="")
    if not card.members:
        raise _broken(folder, "its card lists no members")
    return CheckpointInfo(folder.name, folder, card)


def _card(raw: dict[str, Any]) -> Card:
    """The card of these fields. Raises TypeError or ValueError if it cannot be."""
    card = Card(**raw)
    kinds = {"members": dict, "config": dict, "versions": dict, "results": list, "classes": list}
    for name, kind in kinds.items():
        if not isinstance(getattr(card, name), kind):
            raise ValueError(f"{name} is no {kind.__name__}")
    texts = (card.method, *card.members.values(), *card.classes)
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("method, digests and classes must be text")
    if card.classes and len(card.classes) != CLASS_COUNT:
        raise ValueError(f"it names {len(card.classes)} classes; there are {CLASS_COUNT} outputs")
    if not all(_has(row, RESULT_FIELDS) for row in card.results):
        raise ValueError(f"each of its results must have {', '.join(sorted(RESULT_FIELDS))}")
    return card


def _has(row: Any, due: set[str]) -> bool:
    return isinstance(row, dict) and due <= row.keys()


def load(checkpoint: CheckpointInfo | Path | str) -> Ensemble:
    """Load a checkpoint's members, verifying digests, keys and shapes.

    Args:
        checkpoint: its info, its folder, or its name in the default folder.

    Raises:
        CheckpointError: anything is missing, altered, or of another architecture.
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
    """The folder of a checkpoint given by path, or by name in root (the default folder if None).

    Raises:
        CheckpointError: there is none; the message lists those there are.
    """
    # A checkpoint's name comes first: the working directory may hold a folder called the same.
    root = root or checkpoints_folder()
    folders = [f for f in (root / name, Path(name)) if f.is_dir()]
    for folder in folders:
        if (folder / CARD).exists() or folder == folders[-1]:
            return folder.absolute()
    names = ", ".join(info.name for info in list_all(root)[0]) or "none"
    raise CheckpointError(f"there is no checkpoint {str(name)!r}; those there are: {names}.")


def list_all(root: Path | None = None) -> tuple[list[CheckpointInfo], list[BrokenCheckpoint]]:
    """All checkpoints by name, and the folders that are none, with the reason."""
    root = root or checkpoints_folder()
    good, broken = [], []
    folders = sorted(root.iterdir()) if root.is_dir() else []
    for folder in folders:
        if folder.name.startswith(".") or not folder.is_dir():
            continue
        try:
            good.append(read(folder))
        except CheckpointError as error:
            broken.append(BrokenCheckpoint(folder.name, str(error)))
    return good, broken


def read_history(info: CheckpointInfo) -> list[dict[str, Any]]:
    """Rows of a checkpoint's history.jsonl; none if it has no such file.

    Raises:
        CheckpointError: a row is not JSON, or lacks one of HISTORY_FIELDS.
    """
    path = info.folder / HISTORY
    if not path.is_file():
        return []
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise _broken(info.folder, f"its {HISTORY} cannot be read ({error})") from None
    if not all(_has(row, HISTORY_FIELDS) for row in rows):
        raise _broken(info.folder, f"a row of its {HISTORY} is no epoch's figures")
    return rows


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def member_of(weights: dict[str, Tensor], where: str) -> Conv:
    """A Conv with these weights, read from where.

    Raises:
        CheckpointError: it names the first difference from a Conv's keys, shapes and finite values.
    """
    member = Conv()
    due = {name: tuple(value.shape) for name, value in member.state_dict().items()}
    missing, foreign = sorted(due.keys() - weights.keys()), sorted(weights.keys() - due.keys())
    if missing or foreign:
        raise CheckpointError(
            f"{where} is of another architecture than Conv: missing {missing or 'nothing'}, "
            f"unknown {foreign or 'nothing'}."
        )
    for name, shape in due.items():
        if tuple(weights[name].shape) != shape:
            raise CheckpointError(
                f"{where} is of another architecture than Conv: {name} has shape "
                f"{tuple(weights[name].shape)}, due is {shape}."
            )
        if not _is_finite(weights[name]):
            raise CheckpointError(f"{where}: {name} holds values that are not finite numbers.")
    member.load_state_dict(weights)
    return member.requires_grad_(False)


def _is_finite(values: Tensor) -> bool:
    """Whether these are plain floating-point numbers, finite as float32 (what a Conv holds)."""
    plain = values.is_floating_point() and values.layout is torch.strided and not values.is_meta
    return plain and bool(values.float().isfinite().all())


def _broken(
    folder: Path, reason: str, mend: str = " Restore the folder or delete it."
) -> CheckpointError:
    return CheckpointError(f"checkpoint {folder.name!r} cannot be used: {reason}.{mend}")
