"""The bundled sample: its images, its size, and the errors if it is damaged."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dverge.data import Split, full_data_available, load
from dverge.data.sample import FACTS, PICTURE, cut_tiles, lay_tiles, read_sample, write_sample
from dverge.errors import DataError


def test_a_hundred_of_each_class_in_test_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVERGE_DATA", str(tmp_path))  # without the full data
    sample = load(Split.SAMPLE)
    assert sample.split is Split.SAMPLE
    assert sample.images.shape == (1000, 3, 32, 32)
    assert sample.labels.bincount().tolist() == [100] * 10
    assert sample.indices.tolist() == sorted(set(sample.indices.tolist()))
    assert load(Split.SAMPLE) is sample
    assert PICTURE.stat().st_size + FACTS.stat().st_size < 3_000_000


def test_tiles_are_cut_row_by_row() -> None:
    tiles = np.arange(64 * 96 * 3, dtype=np.uint32).reshape(64, 96, 3).astype(np.uint8)
    images = cut_tiles(tiles)
    assert images.shape == (6, 3, 32, 32)
    fifth = tiles[32:64, 32:64]  # second row, second column
    assert np.array_equal(images[4].permute(1, 2, 0).numpy(), fifth)
    assert np.array_equal(lay_tiles(images, 3), tiles)


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
    (tmp_path / "cut.webp").write_bytes(PICTURE.read_bytes()[:1000])
    (tmp_path / "empty.json").write_text("{}")
    for picture, facts in (
        (tmp_path / "cut.webp", FACTS),
        (PICTURE, tmp_path / "missing.json"),
        (PICTURE, tmp_path / "empty.json"),
    ):
        with pytest.raises(DataError, match="cannot be read"):
            read_sample(picture, facts)


def test_a_written_sample_is_read_back(tmp_path: Path) -> None:
    """Of a set that is not in order: the bundled sample, shuffled."""
    shuffled = load(Split.SAMPLE).subset([(7 * n) % 1000 for n in range(1000)])
    picture, facts = tmp_path / "sample.webp", tmp_path / "sample.json"
    write_sample(shuffled, picture, facts, effort=0)
    read = read_sample(picture, facts)
    assert read.digest == shuffled.digest
    assert read.indices.equal(shuffled.indices)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sample.json", "sample.webp"]


@pytest.mark.full_data
@pytest.mark.skipif(not full_data_available(), reason="needs all of CIFAR-10")
def test_it_is_the_first_test_images_of_each_class_and_can_be_written_again(
    tmp_path: Path,
) -> None:
    sample, test = load(Split.SAMPLE), load(Split.TEST)
    assert sample.images.equal(test.images[sample.indices])
    assert sample.labels.equal(test.labels[sample.indices])
    for label in range(10):
        first = [n for n, each in enumerate(test.labels.tolist()) if each == label][:100]
        assert sample.indices[sample.labels == label].tolist() == first
    write_sample(test, tmp_path / "sample.webp", tmp_path / "sample.json", effort=0)
    assert json.loads((tmp_path / "sample.json").read_text()) == json.loads(FACTS.read_text())
    assert read_sample(tmp_path / "sample.webp", FACTS).digest == sample.digest
