"""Sets of images: their contents, parts of them, and balanced subsets against a slow deal."""

from __future__ import annotations

import hashlib
from itertools import pairwise
from typing import Any

import pytest
import torch

from dverge.data import CLASSES, ImageSet, Split, full_data_available, load
from dverge.data.store import Arrays
from dverge.errors import ConfigError, DataError

full_data = pytest.mark.skipif(not full_data_available(), reason="needs all of CIFAR-10")


@pytest.fixture(scope="module")
def small(arrays: Arrays) -> ImageSet:
    """The 20 small test images, with official positions from 100 on."""
    labels = arrays.test_labels.long()
    return ImageSet(Split.TEST, arrays.test_images, labels, torch.arange(100, 120))


def test_classes_are_in_the_official_order() -> None:
    assert len(CLASSES) == 10
    assert (CLASSES[0], CLASSES[3], CLASSES[9]) == ("airplane", "cat", "truck")


def test_the_digest_is_of_pixels_then_labels(small: ImageSet, arrays: Arrays) -> None:
    content = arrays.test_images.numpy().tobytes() + arrays.test_labels.numpy().tobytes()
    assert small.digest == hashlib.sha256(content).hexdigest()
    other = ImageSet(Split.TEST, small.images, (small.labels + 1) % 10, small.indices)
    assert other.digest != small.digest


def test_pixels_of_any_selection(small: ImageSet) -> None:
    everything = small.pixels()
    assert everything.dtype == torch.float32
    assert everything.equal(small.images.float() / 255)
    assert small.pixels(3).equal(everything[3:4])
    assert small.pixels([5, 2]).equal(everything[[5, 2]])
    assert small.pixels(torch.tensor([5, 2])).equal(everything[[5, 2]])
    assert small.pixels(slice(2, 4)).equal(everything[2:4])


def test_a_subset_keeps_the_official_positions(small: ImageSet) -> None:
    few = small.subset([7, 1])
    assert few.indices.tolist() == [107, 101]
    assert few.labels.equal(small.labels[[7, 1]])
    assert few.images.equal(small.images[[7, 1]])
    assert len(few) == 2


def test_to_another_device_and_to_its_own(small: ImageSet) -> None:
    assert small.to("cpu") is small
    moved = small.to("meta")
    assert moved.device == torch.device("meta")
    assert moved.images.shape == small.images.shape


@pytest.mark.parametrize(
    ("field", "change", "message"),
    [
        ("images", torch.Tensor.float, r"images is torch.float32 .*must be torch.uint8"),
        ("labels", torch.Tensor.byte, r"labels is torch.uint8 .*must be torch.int64 \(20,\)"),
        ("indices", lambda x: x[:19], r"indices is torch.int64 \(19,\)"),
    ],
)
def test_wrong_tensors_are_refused(small: ImageSet, field: str, change: Any, message: str) -> None:
    tensors = {"images": small.images, "labels": small.labels, "indices": small.indices}
    tensors[field] = change(tensors[field])
    with pytest.raises(DataError, match=message):
        ImageSet(Split.TEST, **tensors)


# --- balanced subsets ---


@pytest.fixture(scope="module")
def sample() -> ImageSet:
    return load(Split.SAMPLE)


@pytest.fixture(scope="module")
def uneven(sample: ImageSet) -> ImageSet:
    """60 shuffled images: 40 of class 3, none of class 5, and few of the others."""
    counts = [3, 1, 2, 40, 3, 0, 2, 4, 1, 4]
    chosen = [sample.labels.eq(label).nonzero()[:n, 0] for label, n in enumerate(counts)]
    shuffled = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    return sample.subset(torch.cat(chosen)[shuffled])


def deal(images: ImageSet, n: int) -> ImageSet:
    """Round after round, each class gives its next image if it has one."""
    labels = images.labels.tolist()
    left = {label: [i for i, each in enumerate(labels) if each == label] for label in range(10)}
    chosen: list[int] = []
    while True:
        for label in range(10):
            if len(chosen) == n:
                return images.subset(sorted(chosen))
            if left[label]:
                chosen.append(left[label].pop(0))


@pytest.mark.parametrize(
    ("name", "n"),
    [("sample", n) for n in (1, 2, 9, 10, 11, 25, 500, 999, 1000)]
    + [("uneven", n) for n in (1, 5, 9, 18, 19, 30, 59, 60)],
)
def test_a_balanced_subset_is_the_deal(name: str, n: int, request: pytest.FixtureRequest) -> None:
    images: ImageSet = request.getfixturevalue(name)
    balanced, dealt = images.balanced(n), deal(images, n)
    assert len(balanced) == n and balanced.split is Split.SAMPLE
    assert balanced.indices.equal(dealt.indices)
    assert balanced.digest == dealt.digest
    if name == "sample":
        counts = balanced.labels.bincount(minlength=10)
        assert counts.max() - counts.min() <= (n % 10 > 0)


def test_a_larger_balanced_subset_contains_the_smaller_ones(uneven: ImageSet) -> None:
    state = torch.get_rng_state()
    subsets = [set(uneven.balanced(n).indices.tolist()) for n in range(1, 61)]
    assert torch.get_rng_state().equal(state)
    assert all(smaller < larger for smaller, larger in pairwise(subsets))


def test_a_balanced_subset_of_one_class(sample: ImageSet) -> None:
    cats = sample.subset(sample.labels == 3)
    assert cats.balanced(7).indices.equal(cats.indices[:7])


@pytest.mark.parametrize("n", [0, -1, 1001, 2.0, True, None, "5"])
def test_bad_numbers_of_images_are_refused(sample: ImageSet, n: Any) -> None:
    with pytest.raises(ConfigError, match=r"images is .*; it must be a whole number from 1 to 1,0"):
        sample.balanced(n)


@pytest.mark.full_data
@full_data
@pytest.mark.parametrize("split", [Split.VALIDATION, Split.TEST])
def test_balanced_subsets_of_the_full_data(split: Split, sample: ImageSet) -> None:
    images = load(split)
    for n in (15, 1000, 1020):
        assert images.balanced(n).indices.equal(deal(images, n).indices)
    assert images.balanced(len(images)).digest == images.digest
    if split is Split.TEST:
        assert images.balanced(1000).indices.equal(sample.indices)
        assert images.balanced(1000).digest == sample.digest
