"""load(): the splits, their numbers, verification, and what is said when data is missing."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from dverge.data import CLASSES, ImageSet, Split, data_folder, full_data_available, load, store
from dverge.data.sources import Source
from dverge.data.store import FILE_NAME, Arrays, Digests
from dverge.errors import DataError


@pytest.fixture
def folder(tmp_path: Path, arrays: Arrays) -> Path:
    store.save(arrays, tmp_path / FILE_NAME)
    return tmp_path


def test_splits_of_the_official_files(folder: Path, arrays: Arrays, digests: Digests) -> None:
    train, validation, test = (
        load(split, folder=folder, digests=digests)
        for split in (Split.TRAIN, Split.VALIDATION, Split.TEST)
    )
    assert validation.images.equal(arrays.train_images[:1024])
    assert validation.labels.equal(arrays.train_labels[:1024].long())
    assert validation.indices.equal(torch.arange(1024))
    assert train.images.equal(arrays.train_images[1024:])
    assert train.labels.equal(arrays.train_labels[1024:].long())
    assert train.indices.tolist() == [1024, 1025, 1026, 1027, 1028, 1029]
    assert test.images.equal(arrays.test_images)
    assert test.indices.equal(torch.arange(20))
    assert [each.split for each in (train, validation, test)] == ["train", "validation", "test"]


def test_second_load_is_the_same_object(folder: Path, digests: Digests) -> None:
    first = load(Split.TEST, folder=folder, digests=digests)
    assert load(Split.TEST, folder=folder, digests=digests) is first


def test_a_file_that_changed_is_read_and_verified_again(folder: Path, digests: Digests) -> None:
    load(Split.TEST, folder=folder, digests=digests)
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


@pytest.mark.parametrize("split", [Split.TRAIN, Split.VALIDATION, Split.TEST])
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


def test_data_folder_follows_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, good: Source
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


def test_digest_is_of_pixels_then_labels(arrays: Arrays) -> None:
    images, labels = arrays.test_images, arrays.test_labels
    one = ImageSet(Split.TEST, images, labels.long(), torch.arange(20))
    expected = hashlib.sha256(images.numpy().tobytes() + labels.numpy().tobytes())
    assert one.digest == expected.hexdigest()
    other = ImageSet(Split.TEST, images, (labels.long() + 1) % 10, torch.arange(20))
    assert other.digest != one.digest


def test_pixels_of_any_selection(arrays: Arrays) -> None:
    images = ImageSet(Split.TEST, arrays.test_images, torch.zeros(20).long(), torch.arange(20))
    everything = images.pixels()
    assert everything.dtype == torch.float32
    assert everything.shape == (20, 3, 32, 32)
    assert everything.equal(arrays.test_images.float() / 255)
    assert images.pixels(3).equal(everything[3:4])
    assert images.pixels([5, 2]).equal(everything[[5, 2]])
    assert images.pixels(torch.tensor([5, 2])).equal(everything[[5, 2]])
    assert images.pixels(slice(2, 4)).equal(everything[2:4])


def test_subset_keeps_the_official_numbers(arrays: Arrays) -> None:
    labels = arrays.test_labels.long()
    images = ImageSet(Split.TEST, arrays.test_images, labels, torch.arange(100, 120))
    few = images.subset([7, 1])
    assert few.indices.tolist() == [107, 101]
    assert few.labels.equal(labels[[7, 1]])
    assert len(few) == 2


def test_to_the_same_device_is_itself(arrays: Arrays) -> None:
    images = ImageSet(Split.TEST, arrays.test_images, torch.zeros(20).long(), torch.arange(20))
    assert images.to("cpu") is images
    moved = images.to("meta")
    assert moved.device == torch.device("meta")
    assert moved.images.shape == images.images.shape


def test_wrong_tensors_are_refused(arrays: Arrays) -> None:
    labels = arrays.test_labels.long()
    with pytest.raises(DataError, match=r"images is torch.float32 .*must be torch.uint8"):
        ImageSet(Split.TEST, arrays.test_images.float(), labels, labels)
    with pytest.raises(DataError, match=r"labels is torch.uint8 .*must be torch.int64 \(20,\)"):
        ImageSet(Split.TEST, arrays.test_images, arrays.test_labels, labels)
    with pytest.raises(DataError, match=r"indices is torch.int64 \(19,\)"):
        ImageSet(Split.TEST, arrays.test_images, labels, labels[:19])


def test_classes_in_official_order() -> None:
    assert len(CLASSES) == 10
    assert (CLASSES[0], CLASSES[3], CLASSES[9]) == ("airplane", "cat", "truck")


@pytest.mark.full_data
@pytest.mark.skipif(not full_data_available(), reason="needs all of CIFAR-10")
def test_full_data_is_as_published() -> None:
    train, validation, test = (load(split) for split in (Split.TRAIN, Split.VALIDATION, Split.TEST))
    assert (len(train), len(validation), len(test)) == (48_976, 1_024, 10_000)
    together = torch.cat([validation.labels, train.labels])
    assert together.bincount().tolist() == [5_000] * 10
    assert test.labels.bincount().tolist() == [1_000] * 10
    parts = (each.images.numpy().reshape(-1, 3, 1024) for each in (train, validation))
    totals = sum(each.sum(axis=2, dtype=np.uint32).sum(axis=0) for each in parts)
    means = totals / (50_000 * 1024 * 255)
    assert means == pytest.approx([0.49139968, 0.48215841, 0.44653091], abs=1e-8)
