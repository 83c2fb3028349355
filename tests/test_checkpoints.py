"""Ensembles on disk: what is written comes back, and what is damaged is refused by name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from dverge import checkpoints
from dverge.checkpoints import CheckpointInfo
from dverge.errors import CheckpointError, ConfigError
from dverge.models import Ensemble, seeded_conv

FIRST = "member-1.safetensors"
Weights = dict[str, Tensor]


def same_weights(first: Ensemble, second: Ensemble) -> bool:
    one, other = first.state_dict(), second.state_dict()
    return one.keys() == other.keys() and all(one[name].equal(other[name]) for name in one)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def edit_card(folder: Path, **changes: Any) -> None:
    path = folder / "card.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def rewrite_member(folder: Path, change: Callable[[Weights], Weights]) -> None:
    """Change a member's weights and make the card's digest right again."""
    path = folder / FIRST
    # A copy: the loaded tensors are mapped to the file that is about to be replaced.
    weights = {name: value.clone() for name, value in safetensors.torch.load_file(path).items()}
    path.write_bytes(safetensors.torch.save(change(weights)))
    card = json.loads((folder / "card.json").read_text())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    edit_card(folder, members={**card["members"], FIRST: digest})


# --- whole checkpoints ---


def test_round_trip(root: Path, ensemble: Ensemble, images: Tensor) -> None:
    details: dict[str, Any] = {
        "seed": 7,
        "config": {"epochs": 3, "schedule": "cosine"},
        "data_digest": "ab" * 32,
        "versions": {"torch": "2.15.0"},
        "device": "CPU, 2 threads",
        "training_seconds": 12.5,
        "results": [{**dict.fromkeys(checkpoints.RESULT_FIELDS, 1), "model": "mixture"}],
    }
    row: dict[str, Any] = {key: [2.3, 2.2] for key in checkpoints.HISTORY_FIELDS}
    history = [{**row, "epoch": 1}, {**row, "epoch": 2, "extra": 3}]
    written = checkpoints.save("three", ensemble, method="vanilla", history=history, **details)

    info = checkpoints.read(root / "three")
    assert info == written
    assert info.card.method == "vanilla"
    assert info.card.architecture == "conv"
    assert {name: getattr(info.card, name) for name in details} == details
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


def test_saving_leaves_the_ensemble_as_it_was(root: Path, ensemble: Ensemble) -> None:
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
    assert names(root) == []
    assert names(root.parent) == []


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


def test_a_renamed_and_moved_folder_is_still_good(
    root: Path, tmp_path: Path, saved: CheckpointInfo, ensemble: Ensemble
) -> None:
    moved = saved.folder.rename(tmp_path / "Elsewhere")
    info = checkpoints.read(moved)
    assert info.name == "Elsewhere"
    assert info.digest == saved.digest
    assert same_weights(checkpoints.load(info), ensemble)


def test_history_is_not_needed_but_must_be_json(saved: CheckpointInfo) -> None:
    assert checkpoints.read_history(saved) == []
    (saved.folder / "history.jsonl").write_text('{"epoch": 1}\nnonsense\n')
    with pytest.raises(CheckpointError, match=r"'good' cannot be used: its history\.jsonl"):
        checkpoints.read_history(saved)
    (saved.folder / "history.jsonl").unlink()
    assert checkpoints.read_history(saved) == []


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


DAMAGED_CARDS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no card": (lambda f: (f / "card.json").unlink(), r"is no checkpoint: it has no card\.json"),
    "cut JSON": (lambda f: (f / "card.json").write_text('{"method": '), r"card\.json cannot be"),
    "a list": (lambda f: (f / "card.json").write_text("[]"), r"card\.json cannot be read"),
    "null": (lambda f: (f / "card.json").write_text("null"), r"card\.json cannot be read"),
    "empty": (lambda f: (f / "card.json").write_text(""), r"card\.json cannot be read"),
    "no text": (lambda f: (f / "card.json").write_bytes(b"\xff\xfe"), r"card\.json cannot be read"),
    "deep": (lambda f: (f / "card.json").write_text("[" * 100_000), r"card\.json cannot be read"),
    "no fields": (lambda f: (f / "card.json").write_text("{}"), "missing 3 required"),
    "another field": (lambda f: edit_card(f, layers=3), "unexpected keyword argument 'layers'"),
    "another format": (lambda f: edit_card(f, format=99), "its format is 99, this version reads 1"),
    "architecture": (lambda f: edit_card(f, architecture="resnet20"), "'resnet20', not 'conv'"),
    "no members": (lambda f: edit_card(f, members={}), "its card lists no members"),
    "listed members": (lambda f: edit_card(f, members=[FIRST]), "members is no dict"),
    "a digest of 5": (
        lambda f: edit_card(f, members={FIRST: 5}),
        "digests and classes must be text",
    ),
    "odd results": (lambda f: edit_card(f, results=[{"model": "mixture"}]), "its results must"),
    "no results": (lambda f: edit_card(f, results=None), "results is no list"),
    "classes in a line": (lambda f: edit_card(f, classes="cat,dog"), "classes is no list"),
    "two classes": (
        lambda f: edit_card(f, classes=["cat", "dog"]),
        "names 2 classes; there are 10",
    ),
    "numbered classes": (lambda f: edit_card(f, classes=list(range(10))), "classes must be text"),
}
DAMAGED_MEMBERS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "missing": (lambda f: (f / FIRST).unlink(), rf"{FIRST} is missing"),
    "flipped byte": (flip_a_byte, rf"{FIRST} does not match the SHA-256 in its card"),
    "cut short": (cut_short, rf"{FIRST} cannot be read"),
    "a folder": (make_folder, rf"{FIRST} cannot be read"),
    "a long name": (lambda f: edit_card(f, members={"m" * 300: "0"}), "mmm cannot be read"),
    "an impossible name": (lambda f: edit_card(f, members={"a\0b": "0"}), "cannot be read"),
    "another shape": (
        lambda f: rewrite_member(f, lambda w: {**w, "fc3.bias": torch.zeros(11)}),
        r"another architecture than Conv: fc3\.bias has shape \(11,\), due is \(10,\)",
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


@pytest.mark.parametrize(("damage", "message"), DAMAGED_CARDS.values(), ids=DAMAGED_CARDS.keys())
def test_a_damaged_card_is_refused_and_listed_as_broken(
    saved: CheckpointInfo,
    ensemble: Ensemble,
    damage: Callable[[Path], Any],
    message: str,
) -> None:
    other = checkpoints.save("other", ensemble, method="vanilla")
    damage(saved.folder)
    with pytest.raises(CheckpointError, match=message):
        checkpoints.read(saved.folder)
    with pytest.raises(CheckpointError, match=message):
        checkpoints.load("good")
    good, broken = checkpoints.list_all()
    assert good == [other]
    assert [each.name for each in broken] == ["good"]
    assert "good" in broken[0].reason


@pytest.mark.parametrize(
    ("damage", "message"), DAMAGED_MEMBERS.values(), ids=DAMAGED_MEMBERS.keys()
)
def test_a_damaged_member_is_refused(
    saved: CheckpointInfo, damage: Callable[[Path], Any], message: str
) -> None:
    damage(saved.folder)
    with pytest.raises(CheckpointError, match=message):
        checkpoints.load("good")
    good, broken = checkpoints.list_all()  # looks at cards alone
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


def test_list_all_without_a_folder(root: Path) -> None:
    assert checkpoints.list_all() == ([], [])


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
    with pytest.raises(
        CheckpointError, match="there is no checkpoint 'bad'; those there are: good"
    ):
        checkpoints.find("bad")


def test_find_in_a_folder_of_ones_own(
    saved: CheckpointInfo, ensemble: Ensemble, tmp_path: Path
) -> None:
    """As a run's are: neither the default folder's names nor its list of them come in."""
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
    """As `dverge` is: commands are given in the repository, which has a folder of that name."""
    (tmp_path / "good").mkdir()
    monkeypatch.chdir(tmp_path)
    assert checkpoints.find("good") == saved.folder


def test_find_where_there_are_none(root: Path) -> None:
    with pytest.raises(CheckpointError, match="'x'; those there are: none"):
        checkpoints.find("x")
