"""The bundled sample is what it says, small, and refused when damaged."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dverge.data import Split, full_data_available, load
from dverge.data.build_sample import build, choose
from dverge.data.sample import FACTS, PICTURE, cut_tiles, lay_tiles, read_sample
from dverge.errors import DataError

needs_full_data = pytest.mark.skipif(not full_data_available(), reason="needs all of CIFAR-10")


def test_a_hundred_of_each_class_in_test_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVERGE_DATA", str(tmp_path))  # it needs nothing but itself
    sample = load(Split.SAMPLE)
    assert sample.split is Split.SAMPLE
    assert sample.images.shape == (1000, 3, 32, 32)
    assert sample.labels.bincount().tolist() == [100] * 10
    assert sample.indices.tolist() == sorted(set(sample.indices.tolist()))
    assert load(Split.SAMPLE) is sample


def test_it_is_small() -> None:
    assert PICTURE.stat().st_size + FACTS.stat().st_size < 3_000_000


def test_tiles_are_cut_as_they_are_seen() -> None:
    tiles = np.arange(64 * 96 * 3, dtype=np.uint32).reshape(64, 96, 3).astype(np.uint8)
    images = cut_tiles(tiles)
    assert images.shape == (6, 3, 32, 32)
    seen = tiles[32:64, 32:64]  # second row, second column: the fifth image
    assert np.array_equal(images[4].permute(1, 2, 0).numpy(), seen)
    assert np.array_equal(lay_tiles(images, 3), tiles)


def test_firsts_of_each_class() -> None:
    labels = torch.arange(10).repeat(150).flip(0)
    assert choose(labels).tolist() == list(range(1000))


def test_a_changed_pixel_is_noticed(tmp_path: Path) -> None:
    with Image.open(PICTURE) as opened:
        picture = opened.convert("RGB")
    red, green, blue = np.asarray(picture)[50, 60].tolist()
    picture.putpixel((60, 50), (red ^ 1, green, blue))
    picture.save(tmp_path / "sample.webp", lossless=True, quality=0, method=0)
    with pytest.raises(DataError, match=r"sample\.webp is damaged"):
        read_sample(tmp_path / "sample.webp", FACTS)


def test_a_changed_label_is_noticed(tmp_path: Path) -> None:
    facts = json.loads(FACTS.read_text())
    facts["labels"][5] = (facts["labels"][5] + 1) % 10
    (tmp_path / "sample.json").write_text(json.dumps(facts))
    with pytest.raises(DataError, match="is damaged"):
        read_sample(PICTURE, tmp_path / "sample.json")


def test_broken_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(PICTURE.read_bytes()[:1000])
    with pytest.raises(DataError, match="cannot be read"):
        read_sample(tmp_path / "bad", FACTS)
    with pytest.raises(DataError, match="cannot be read"):
        read_sample(PICTURE, tmp_path / "missing.json")
    (tmp_path / "facts.json").write_text("{}")
    with pytest.raises(DataError, match="cannot be read"):
        read_sample(PICTURE, tmp_path / "facts.json")


@pytest.mark.full_data
@needs_full_data
def test_it_equals_the_test_images() -> None:
    sample, test = load(Split.SAMPLE), load(Split.TEST)
    assert sample.images.equal(test.images[sample.indices])
    assert sample.labels.equal(test.labels[sample.indices])
    for label in range(10):
        firsts = [n for n, found in enumerate(test.labels.tolist()) if found == label][:100]
        assert sample.indices[sample.labels == label].tolist() == firsts


@pytest.mark.full_data
@needs_full_data
def test_it_can_be_built_anew(tmp_path: Path) -> None:
    build(load(Split.TEST), tmp_path / "sample.webp", tmp_path / "sample.json", effort=0)
    assert json.loads((tmp_path / "sample.json").read_text()) == json.loads(FACTS.read_text())
    assert read_sample(tmp_path / "sample.webp", FACTS).digest == load(Split.SAMPLE).digest
