"""Balanced subsets of a set of images, against a plain deal class by class."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch

from dverge.data import ImageSet, Split, full_data_available, load
from dverge.errors import ConfigError


@pytest.fixture
def sample() -> ImageSet:
    return load(Split.SAMPLE)


@pytest.fixture
def uneven(sample: ImageSet) -> ImageSet:
    """60 images in no order: 40 of class 3, none of class 5, and few of the others."""
    counts = [3, 1, 2, 40, 3, 0, 2, 4, 1, 4]
    own = [sample.labels.eq(label).nonzero()[:n, 0] for label, n in enumerate(counts)]
    mixed = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    return sample.subset(torch.cat(own)[mixed])


def dealt(labels: list[int], n: int) -> list[int]:
    """Positions: round after round each class gives its next image, if it has one."""
    left = {label: [i for i, found in enumerate(labels) if found == label] for label in range(10)}
    chosen: list[int] = []
    while True:
        for label in range(10):
            if len(chosen) == n:
                return sorted(chosen)
            if left[label]:
                chosen.append(left[label].pop(0))


@pytest.mark.parametrize("n", [1, 2, 9, 10, 11, 25, 500, 999, 1000])
def test_of_the_sample(sample: ImageSet, n: int) -> None:
    found = sample.balanced(n)
    assert len(found) == n and found.split is Split.SAMPLE
    counts = found.labels.bincount(minlength=10)
    assert counts.max() - counts.min() <= (n % 10 > 0)
    due = sample.subset(dealt(sample.labels.tolist(), n))
    assert found.indices.equal(due.indices)
    assert found.labels.equal(due.labels)
    assert found.images.equal(due.images)


@pytest.mark.parametrize("n", [1, 5, 9, 18, 19, 30, 59, 60])
def test_where_classes_run_out_the_others_give_more(uneven: ImageSet, n: int) -> None:
    found = uneven.balanced(n)
    due = dealt(uneven.labels.tolist(), n)
    assert found.indices.tolist() == uneven.indices[due].tolist()
    assert len(set(found.indices.tolist())) == n


def test_it_is_fixed_and_a_larger_one_holds_the_smaller(uneven: ImageSet) -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    found = [set(uneven.balanced(n).indices.tolist()) for n in range(1, 61)]
    assert torch.get_rng_state().equal(state)
    assert all(small < large for small, large in pairwise(found))
    assert uneven.balanced(23).digest == uneven.balanced(23).digest


def test_all_are_the_set_itself_in_its_order(sample: ImageSet, uneven: ImageSet) -> None:
    for whole in (sample, uneven):
        found = whole.balanced(len(whole))
        assert found.indices.equal(whole.indices)
        assert found.digest == whole.digest


def test_of_one_class(sample: ImageSet) -> None:
    cats = sample.subset(sample.labels == 3)
    assert cats.balanced(7).indices.equal(cats.indices[:7])


@pytest.mark.parametrize("n", [0, -1, 1001, 2.0, True, None, "5"])
def test_numbers_that_will_not_do(sample: ImageSet, n: Any) -> None:
    with pytest.raises(ConfigError, match=r"images is .*; it must be a whole number from 1 to 1,0"):
        sample.balanced(n)


@pytest.mark.full_data
@pytest.mark.skipif(not full_data_available(), reason="needs all of CIFAR-10")
@pytest.mark.parametrize("split", [Split.VALIDATION, Split.TEST])
@pytest.mark.parametrize("n", [15, 1000, 1020])
def test_of_the_full_data(split: Split, n: int) -> None:
    images = load(split)
    found = images.balanced(n)
    assert found.indices.equal(images.indices[dealt(images.labels.tolist(), n)])
    whole = images.balanced(len(images))
    assert whole.digest == images.digest


@pytest.mark.full_data
@pytest.mark.skipif(not full_data_available(), reason="needs all of CIFAR-10")
def test_a_thousand_test_images_are_the_bundled_sample(sample: ImageSet) -> None:
    found = load(Split.TEST).balanced(1000)
    assert found.indices.equal(sample.indices)
    assert found.digest == sample.digest
