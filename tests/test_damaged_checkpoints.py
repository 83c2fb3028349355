"""Checkpoints that are damaged: refused by name, and listed."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from dverge import checkpoints
from dverge.checkpoints import CheckpointInfo, EpochRow
from dverge.errors import CheckpointError, FileError
from dverge.models import Ensemble
from dverge.training import EpochMetrics
from tests.test_checkpoints import epoch_row

FIRST = "member-1.safetensors"
Weights = dict[str, Tensor]


def edit_card(folder: Path, **changes: Any) -> None:
    """Change fields of a card, or leave those out whose new value is an ellipsis."""
    card = json.loads((folder / "card.json").read_text()) | changes
    card = {name: value for name, value in card.items() if value is not ...}
    (folder / "card.json").write_text(json.dumps(card))


def rewrite_member(folder: Path, change: Callable[[Weights], Weights]) -> None:
    """Change a member's weights, with the digest in the card that belongs to them."""
    path = folder / FIRST
    # A copy: the loaded tensors are mapped to the file that is about to be replaced.
    weights = {name: value.clone() for name, value in safetensors.torch.load_file(path).items()}
    path.write_bytes(safetensors.torch.save(change(weights)))
    card = json.loads((folder / "card.json").read_text())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    edit_card(folder, members={**card["members"], FIRST: digest})


# --- histories ---


def test_a_history_has_the_figures_of_the_trainings_epochs() -> None:
    assert {each.name for each in fields(EpochRow)} == {each.name for each in fields(EpochMetrics)}


DAMAGED_HISTORIES: dict[str, tuple[list[Any], str]] = {
    "no figures": ([{"epoch": 1}], r"history\.jsonl, line 1, cannot be used"),
    "nonsense": ([epoch_row(1), "nonsense"], "line 2"),
    "one loss": ([epoch_row(1, train_loss=2.0)], "train_loss: Expected `array`"),
    "no losses": ([epoch_row(1, val_loss=[])], "val_loss: Expected `array` of length >= 1"),
    "per cent": ([epoch_row(1, mixture_val_accuracy=25.0)], "mixture_val_accuracy: Expected"),
    "an empty term": ([epoch_row(1, terms={"clean": []})], "terms"),
    "a gap": ([epoch_row(1), epoch_row(3)], "not the epochs 1, 2"),
    "twice": ([epoch_row(1), epoch_row(1)], "not the epochs 1, 2"),
    "three losses": ([epoch_row(1), epoch_row(2, val_loss=[1, 2, 3])], "of one training"),
}


@pytest.mark.parametrize(("rows", "reason"), DAMAGED_HISTORIES.values(), ids=DAMAGED_HISTORIES)
def test_a_damaged_history_counts_as_none_and_is_listed(
    rows: list[Any], reason: str, saved: CheckpointInfo
) -> None:
    path = saved.folder / "history.jsonl"
    assert checkpoints.read_history(saved) == checkpoints.damaged_history(saved) == []
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert checkpoints.read_history(saved) == []
    (broken,) = checkpoints.damaged_history(saved)
    assert broken.path == path
    assert re.search(reason, broken.reason) and str(path) in broken.reason
    path.unlink()
    assert checkpoints.read_history(saved) == checkpoints.damaged_history(saved) == []


# --- damage ---


def flip_a_byte(folder: Path) -> None:
    content = bytearray((folder / FIRST).read_bytes())
    content[-1] ^= 1
    (folder / FIRST).write_bytes(bytes(content))


def cut_short(folder: Path) -> None:
    rewritten = (folder / FIRST).read_bytes()[:1000]
    (folder / FIRST).write_bytes(rewritten)
    edit_card(folder, members={FIRST: hashlib.sha256(rewritten).hexdigest()})


def make_folder(folder: Path) -> None:
    (folder / FIRST).unlink()
    (folder / FIRST).mkdir()


def set_nan(weights: Weights) -> Weights:
    weights["fc3.bias"][4] = torch.nan
    return weights


ROW = {"model": "mixture", "attack": "clean", "split": "test", "n": 9}
FULL = {**ROW, "accuracy": 50, "ci_low": 40, "ci_high": 60}
TEN = "it must be 10 names in the outputs' order"
Damage = Callable[[Path], Any]
DAMAGED_CARDS: dict[str, tuple[dict[str, Any], str]] = {  # changes; ... for a field left out
    "no seed": ({"seed": ...}, "missing required field `seed`"),
    "no config": ({"config": ...}, "missing required field `config`"),
    "another field": ({"layers": 3}, "does not know its fields layers"),
    "another format": ({"format": 99}, "its format is not 1"),
    "architecture": ({"architecture": "resnet20"}, "architecture is 'resnet20'; it must be 'conv'"),
    "no members": ({"members": {}}, "members: Expected `object` of length >= 1"),
    "listed members": ({"members": [FIRST]}, "members: Expected `object`"),
    "a digest of 5": ({"members": {FIRST: 5}}, r"members\[...\]: Expected `str`"),
    "a config of 5": ({"config": 5}, "config: Expected `object`"),
    "half results": ({"results": [ROW]}, r"results\[0\]: Object missing"),
    "odd results": ({"results": [FULL, FULL | {"accuracy": 101}]}, r"results\[1\]\.accuracy: Exp"),
    "no results": ({"results": None}, "results: Expected `array`"),
    "classes in a line": ({"classes": "cat,dog"}, "classes: Expected `array`"),
    "two classes": ({"classes": ["cat", "dog"]}, f"classes is 'cat,dog'; {TEN}"),
    "numbered classes": ({"classes": list(range(10))}, r"classes\[0\]: Expected"),
}
DAMAGED_MEMBERS: dict[str, tuple[Damage, str]] = {
    "missing": (lambda f: (f / FIRST).unlink(), rf"{FIRST} is missing"),
    "flipped byte": (flip_a_byte, rf"{FIRST} does not match the SHA-256 in its card"),
    "cut short": (cut_short, rf"{FIRST} cannot be read"),
    "a folder": (make_folder, rf"{FIRST} cannot be read"),
    "a name that is none": (lambda f: edit_card(f, members={"a\0b": "0"}), "cannot be read"),
    "another shape": (
        lambda f: rewrite_member(f, lambda w: {**w, "fc3.bias": torch.zeros(11)}),
        r"another architecture than Conv: fc3\.bias has shape \(11,\) and not \(10,\)",
    ),
    "a missing layer": (
        lambda f: rewrite_member(f, lambda w: {k: v for k, v in w.items() if k != "fc2.bias"}),
        r"another architecture than Conv: missing \['fc2\.bias'\], unknown nothing",
    ),
    "another layer": (
        lambda f: rewrite_member(f, lambda w: {**w, "fc4.bias": torch.zeros(1)}),
        r"missing nothing, unknown \['fc4\.bias'\]",
    ),
    "NaN": (lambda f: rewrite_member(f, set_nan), r"fc3\.bias holds values that are not finite"),
    "whole numbers": (
        lambda f: rewrite_member(f, lambda w: {**w, "fc3.bias": torch.ones(10).long()}),
        r"fc3\.bias holds values that are not finite numbers",
    ),
}


@pytest.mark.parametrize(("changes", "message"), DAMAGED_CARDS.values(), ids=DAMAGED_CARDS)
def test_a_damaged_card_is_refused_and_listed_as_broken(
    saved: CheckpointInfo, changes: dict[str, Any], message: str
) -> None:
    shutil.copytree(saved.folder, saved.folder.with_name("other"))
    edit_card(saved.folder, **changes)
    for use in (checkpoints.read, checkpoints.load):
        with pytest.raises(FileError, match=message):
            use(saved.folder)
    good, (broken,) = checkpoints.list_all()
    assert [info.name for info in good] == ["other"]
    assert (broken.name, broken.path) == ("good", saved.folder)
    assert "good" in broken.reason


@pytest.mark.parametrize(("damage", "message"), DAMAGED_MEMBERS.values(), ids=DAMAGED_MEMBERS)
def test_a_damaged_member_is_refused(saved: CheckpointInfo, damage: Damage, message: str) -> None:
    damage(saved.folder)
    with pytest.raises(CheckpointError, match=message):
        checkpoints.load("good")
    good, broken = checkpoints.list_all()  # reads only cards
    assert [info.name for info in good] == ["good"]
    assert broken == []


def test_a_card_cannot_reach_out_of_its_folder(saved: CheckpointInfo, ensemble: Ensemble) -> None:
    other = checkpoints.save("other", ensemble, method="vanilla")
    (other.folder / FIRST).rename(other.folder / "only-here.safetensors")
    edit_card(saved.folder, members={"../other/only-here.safetensors": other.card.members[FIRST]})
    with pytest.raises(CheckpointError, match="is missing"):
        checkpoints.load("good")
