"""load(): the splits, their verification, and the message if data is missing or damaged."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from dverge.data import Split, data_folder, full_data_available, load, store
from dverge.data.store import FILE_NAME, Arrays, Digests
from dverge.errors import DataError

FULL = (Split.TRAIN, Split.VALIDATION, Split.TEST)


@pytest.fixture
def folder(tmp_path: Path, arrays: Arrays) -> Path:
    store.save(arrays, tmp_path / FILE_NAME)
    return tmp_path


def test_splits_of_the_official_files(folder: Path, arrays: Arrays, digests: Digests) -> None:
    train, validation, test = (load(split, folder=folder, digests=digests) for split in FULL)
    assert validation.images.equal(arrays.train_images[:1024])
    assert validation.labels.equal(arrays.train_labels[:1024].long())
    assert validation.indices.equal(torch.arange(1024))
    assert train.images.equal(arrays.train_images[1024:])
    assert train.labels.equal(arrays.train_labels[1024:].long())
    assert train.indices.tolist() == [1024, 1025, 1026, 1027, 1028, 1029]
    assert test.images.equal(arrays.test_images)
    assert test.labels.equal(arrays.test_labels.long())
    assert test.indices.equal(torch.arange(20))
    assert [each.split for each in (train, validation, test)] == ["train", "validation", "test"]


def test_a_file_is_read_again_only_if_it_changed(folder: Path, digests: Digests) -> None:
    first = load(Split.TEST, folder=folder, digests=digests)
    assert load(Split.TEST, folder=folder, digests=digests) is first
    path = folder / FILE_NAME
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1_000_000_000))
    with pytest.raises(DataError, match=r"SHA-256 of \w+ is .*python -m dverge data") as caught:
        for split in (Split.TRAIN, Split.TEST):
            load(split, folder=folder, digests=digests)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("split", FULL)
def test_missing_data_says_how_to_get_it(
    split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVERGE_DATA", str(tmp_path))
    assert not full_data_available()
    with pytest.raises(DataError, match=r"`python -m dverge data`.*Home page") as caught:
        load(split)
    assert str(split) in str(caught.value)


def test_a_file_cut_short(folder: Path, digests: Digests) -> None:
    path = folder / FILE_NAME
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(DataError, match=r"cannot be read .*Delete it"):
        load(Split.TEST, folder=folder, digests=digests)


def test_the_data_folder_follows_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.delenv("DVERGE_DATA", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert data_folder() == Path.home() / ".cache" / "dverge"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert data_folder() == tmp_path / "xdg" / "dverge"
    monkeypatch.setattr("sys.platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert data_folder() == tmp_path / "local" / "dverge"
    monkeypatch.setenv("DVERGE_DATA", str(tmp_path / "mine"))
    assert data_folder() == tmp_path / "mine"


@pytest.mark.full_data
@pytest.mark.skipif(not full_data_available(), reason="needs all of CIFAR-10")
def test_the_full_data_is_as_published() -> None:
    train, validation, test = (load(split) for split in FULL)
    assert (len(train), len(validation), len(test)) == (48_976, 1_024, 10_000)
    together = torch.cat([validation.labels, train.labels])
    assert together.bincount().tolist() == [5_000] * 10
    assert test.labels.bincount().tolist() == [1_000] * 10
    parts = (each.images.numpy().reshape(-1, 3, 1024) for each in (train, validation))
    totals = sum(each.sum(axis=2, dtype=np.uint32).sum(axis=0) for each in parts)
    means = totals / (50_000 * 1024 * 255)
    assert means == pytest.approx([0.49139968, 0.48215841, 0.44653091], abs=1e-8)
