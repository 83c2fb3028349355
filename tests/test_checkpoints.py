"""Ensembles on disk: what is written is read back, and what is damaged is refused by name."""

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
from dverge.data import Split
from dverge.errors import CheckpointError, ConfigError, FileError
from dverge.exploration.tour import read_tour
from dverge.models import Ensemble, seeded_conv
from dverge.results import Result, result_of
from dverge.training import EpochMetrics, config_from

FIRST = "member-1.safetensors"
SHIPPED = Path(__file__).parents[1] / "checkpoints"
Weights = dict[str, Tensor]


def same_weights(first: Ensemble, second: Ensemble) -> bool:
    one, other = first.state_dict(), second.state_dict()
    return one.keys() == other.keys() and all(one[name].equal(other[name]) for name in one)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


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


def epoch_row(epoch: int, **more: Any) -> dict[str, Any]:
    losses, shares = [2.3, 2.2], [0.1, 0.2]
    row = {"epoch": epoch, "train_loss": losses, "val_loss": losses, "val_accuracy": shares}
    return {**row, "mixture_val_loss": 2.1, "mixture_val_accuracy": 0.25, **more}


# --- whole checkpoints ---


def test_round_trip(root: Path, ensemble: Ensemble, images: Tensor) -> None:
    details: dict[str, Any] = {
        "seed": 7,
        "config": {"epochs": 3, "schedule": "cosine"},
        "data_digest": "ab" * 32,
        "versions": {"torch": "2.15.0"},
        "device": "CPU, 2 threads",
        "training_seconds": 12.5,
        "results": [result_of(torch.ones(9).bool(), "mixture", "clean", Split.TEST, seconds=0.5)],
    }
    history = [epoch_row(1), epoch_row(2, extra=3)]
    written = checkpoints.save("three", ensemble, method="vanilla", history=history, **details)

    info = checkpoints.read(root / "three")
    assert info == written
    assert (info.card.method, info.card.architecture) == ("vanilla", "conv")
    assert {name: getattr(info.card, name) for name in details} == details
    stored = json.loads((info.folder / "card.json").read_text())["results"]
    assert stored == [
        {
            **{"model": "mixture", "attack": "clean", "split": "test", "n": 9},
            **{"accuracy": 100.0, "ci_low": details["results"][0].ci_low, "ci_high": 100.0},
            **{"parameters": {}, "seconds": 0.5, "held": "/4A="},
        }
    ]
    assert checkpoints.read_history(info) == history
    files = [f"member-{i}.safetensors" for i in (1, 2, 3)]
    assert names(info.folder) == ["card.json", "history.jsonl", *files]
    for file in files:
        expected = hashlib.sha256((info.folder / file).read_bytes()).hexdigest()
        assert info.card.members[file] == expected

    loaded = checkpoints.load(info)
    assert same_weights(loaded, ensemble)
    assert loaded(images).equal(ensemble(images))
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    assert not any(parameter.is_meta for parameter in loaded.parameters())


def test_saving_leaves_the_ensemble_unchanged(root: Path, ensemble: Ensemble) -> None:
    ensemble.train()
    before = {name: value.clone() for name, value in ensemble.state_dict().items()}
    checkpoints.save("x", ensemble, method="vanilla")
    assert ensemble.training
    assert all(parameter.requires_grad for parameter in ensemble.parameters())
    assert all(before[name].equal(value) for name, value in ensemble.state_dict().items())


def test_more_than_nine_members_keep_their_order(root: Path) -> None:
    many = Ensemble([seeded_conv(seed) for seed in range(11)])
    checkpoints.save("many", many, method="vanilla")
    assert same_weights(checkpoints.load("many"), many)


def test_equal_weights_have_equal_digests(saved: CheckpointInfo, ensemble: Ensemble) -> None:
    twin = checkpoints.save("twin", ensemble, method="dverge", seed=3)
    other = checkpoints.save("other", Ensemble(list(ensemble.members)[:2]), method="vanilla")
    assert twin.digest == saved.digest != other.digest


def test_a_taken_name_is_refused(root: Path, saved: CheckpointInfo, ensemble: Ensemble) -> None:
    before = (saved.folder / "card.json").read_bytes()
    with pytest.raises(CheckpointError, match="'good' is there already; choose another name"):
        checkpoints.save("good", Ensemble(list(ensemble.members)[:1]), method="vanilla")
    assert (saved.folder / "card.json").read_bytes() == before
    assert names(root) == ["good"]


@pytest.mark.parametrize("name", ["../x", "A", "", "a/b", ".hidden", "a" * 65])
def test_bad_names_are_refused(root: Path, ensemble: Ensemble, name: str) -> None:
    with pytest.raises(ConfigError, match="name is"):
        checkpoints.save(name, ensemble, method="vanilla")
    assert names(root) == names(root.parent) == []


@pytest.mark.parametrize("broken", ["dverge.checkpoints.write_json", "safetensors.torch.save_file"])
def test_a_failure_while_writing_leaves_nothing(
    root: Path, ensemble: Ensemble, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    def fail(value: object, path: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(broken, fail)
    with pytest.raises(OSError, match="No space left"):
        checkpoints.save("x", ensemble, method="vanilla")
    assert names(root) == []


def test_a_renamed_and_moved_folder_can_be_used(
    tmp_path: Path, saved: CheckpointInfo, ensemble: Ensemble
) -> None:
    moved = saved.folder.rename(tmp_path / "Elsewhere")
    info = checkpoints.read(moved)
    assert (info.name, info.digest) == ("Elsewhere", saved.digest)
    assert same_weights(checkpoints.load(info), ensemble)


def test_what_is_shipped_can_be_used() -> None:
    """Under its own digests; the settings of old cards lack what later versions added."""
    shipped, broken = checkpoints.list_all(SHIPPED)
    assert len(shipped) == 11 and broken == []
    lacking = set()
    for info in shipped:
        config = config_from(info.card.method, info.card.config).to_dict()
        lacking |= config.keys() - info.card.config.keys()
        later = {"average_last": 0} | ({"joint": False} if info.card.method == "advt" else {})
        assert config == later | info.card.config
        rows = checkpoints.read_history(info)
        assert checkpoints.damaged_history(info) == []
        assert len(rows) == len((info.folder / "history.jsonl").read_text().splitlines()) >= 25
        assert all(isinstance(result, Result) for result in info.card.results)
        lines = json.loads((info.folder / "card.json").read_text())["results"]
        assert [result.accuracy for result in info.card.results] == [r["accuracy"] for r in lines]
    assert lacking == {"average_last", "joint"}
    assert read_tour().ensembles.items() <= {info.name: info.digest for info in shipped}.items()


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


# --- finding ---


def test_list_all(root: Path, saved: CheckpointInfo, ensemble: Ensemble) -> None:
    first = checkpoints.save("a-first", ensemble, method="vanilla")
    (root / "empty").mkdir()
    (root / "foreign").mkdir()
    (root / "foreign" / "photo.jpg").write_bytes(b"no checkpoint")
    (root / ".half-written").mkdir()
    (root / "README.md").write_text("a file")
    good, broken = checkpoints.list_all()
    assert good == [first, saved]
    assert [each.name for each in broken] == ["empty", "foreign"]
    assert all("it has no card.json" in each.reason for each in broken)
    with pytest.raises(CheckpointError, match=r"no checkpoint: it has no card\.json"):
        checkpoints.load(root / "empty")


def test_without_a_folder_there_are_none(root: Path) -> None:
    assert checkpoints.list_all() == ([], [])
    with pytest.raises(CheckpointError, match="'x'; those there are: none"):
        checkpoints.find("x")


def test_find_by_name_path_or_not_at_all(
    saved: CheckpointInfo, ensemble: Ensemble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert checkpoints.find("good") == saved.folder
    assert checkpoints.find(saved.folder) == saved.folder
    assert checkpoints.find(str(saved.folder)) == saved.folder
    far = checkpoints.save("far", ensemble, method="vanilla", root=tmp_path / "far away")
    assert checkpoints.find(far.folder) == far.folder
    monkeypatch.chdir(far.folder)
    assert checkpoints.read(checkpoints.find(".")) == far
    missing = "there is no checkpoint 'bad'; those there are: good"
    with pytest.raises(CheckpointError, match=missing):
        checkpoints.find("bad")


def test_find_in_a_folder_of_ones_own(
    saved: CheckpointInfo, ensemble: Ensemble, tmp_path: Path
) -> None:
    """Neither the names of the default folder nor its list of them are used."""
    root = tmp_path / "far away"
    far = checkpoints.save("far", ensemble, method="vanilla", root=root)
    twin = checkpoints.save("good", ensemble, method="vanilla", root=root)
    assert checkpoints.find("far", root) == far.folder
    assert checkpoints.find("good", root) == twin.folder != checkpoints.find("good")
    assert checkpoints.find(str(saved.folder), root) == saved.folder
    with pytest.raises(CheckpointError, match="no checkpoint 'bad'; those there are: far, good"):
        checkpoints.find("bad", root)
    with pytest.raises(CheckpointError, match="no checkpoint 'far'; those there are: good"):
        checkpoints.find("far")


def test_a_checkpoint_is_not_hidden_by_a_folder_of_that_name(
    saved: CheckpointInfo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commands are run in the repository, which has a folder `dverge`."""
    (tmp_path / "good").mkdir()
    monkeypatch.chdir(tmp_path)
    assert checkpoints.find("good") == saved.folder
