"""Ensembles on disk: what is written is read back."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dverge import checkpoints
from dverge.checkpoints import CheckpointInfo
from dverge.data import Split
from dverge.errors import CheckpointError, ConfigError
from dverge.exploration.tour import read_tour
from dverge.models import Ensemble, seeded_conv
from dverge.results import Result, result_of
from dverge.training import config_from

SHIPPED = Path(__file__).parents[1] / "checkpoints"


def same_weights(first: Ensemble, second: Ensemble) -> bool:
    one, other = first.state_dict(), second.state_dict()
    return one.keys() == other.keys() and all(one[name].equal(other[name]) for name in one)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


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
