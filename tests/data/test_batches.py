"""Streams: pure functions of seed, name and epoch; resumable; independent; complete."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
import torch
from torch import Tensor

from dverge.data import Augmentation, ImageSet, Split, Stream
from dverge.data.batches import crop_flip
from dverge.errors import ConfigError
from dverge.seeds import derive_seed


@pytest.fixture(scope="module")
def images() -> ImageSet:
    """103 images; the label of each is its position, so that labels show the order."""
    generator = torch.Generator().manual_seed(3)
    pixels = torch.randint(256, (103, 3, 32, 32), dtype=torch.uint8, generator=generator)
    return ImageSet(Split.TRAIN, pixels, torch.arange(103), torch.arange(103))


def order(stream: Stream, epoch: int) -> list[int]:
    return torch.cat([labels for _, labels in stream.epoch(epoch)]).tolist()


def same(one: list[tuple[Tensor, Tensor]], other: list[tuple[Tensor, Tensor]]) -> bool:
    pairs = zip(one, other, strict=True)
    return all(x.equal(u) and y.equal(v) for (x, y), (u, v) in pairs)


def test_an_epoch_has_every_image_once_in_a_shuffled_order(images: ImageSet) -> None:
    stream = Stream(images, 10, 1, "source")
    batches = list(stream.epoch(0))
    assert [len(labels) for _, labels in batches] == [10] * 10 + [3]
    assert stream.batches_per_epoch == 11
    assert sorted(order(stream, 0)) == list(range(103)) != order(stream, 0)
    for pixels, labels in batches:
        assert pixels.dtype == torch.float32
        assert pixels.equal(images.images[labels].float() / 255)


@pytest.mark.parametrize("augmentation", Augmentation)
def test_an_epoch_is_a_pure_function_from_any_batch_on(
    images: ImageSet, augmentation: Augmentation
) -> None:
    state = torch.get_rng_state()
    whole = list(Stream(images, 10, 1, "source", augmentation).epoch(4))
    assert torch.get_rng_state().equal(state)  # the global generator is not used
    torch.rand(5)
    stream = Stream(images, 10, 1, "source", augmentation)
    list(stream.epoch(2))  # earlier epochs have no effect
    for start in (0, 1, 7, 10, 11):
        assert same(whole[start:], list(stream.epoch(4, start)))


def test_seeds_names_and_epochs_differ(images: ImageSet) -> None:
    orders = {
        tuple(order(Stream(images, 10, seed, name), epoch))
        for seed in (1, 2)
        for name in ("source", "target")
        for epoch in (0, 1)
    }
    assert len(orders) == 8


def test_streams_of_two_names_are_independent() -> None:
    """Positions of an image in the two orders are uncorrelated: |r| < 5 sigma of 20,000."""
    count = 20_000
    pixels = torch.zeros(1, 3, 32, 32, dtype=torch.uint8).expand(count, 3, 32, 32)
    many = ImageSet(Split.TRAIN, pixels, torch.arange(count), torch.arange(count))
    source, target = (Stream(many, 500, 1, name) for name in ("source", "target"))
    both = torch.stack([torch.tensor(order(each, 0)).double() for each in (source, target)])
    assert torch.corrcoef(both)[0, 1].abs() < 5 / count**0.5
    assert int((both[0] == both[1]).sum()) < 12  # about 1 is expected by chance


def slow_crop_flip(image: Tensor, top: int, left: int, mirrored: bool) -> Tensor:
    """One image, pixel by pixel; pixels outside of it are zero."""
    result = torch.zeros_like(image)
    for row in range(32):
        for column in range(32):
            across = 31 - column if mirrored else column
            y, x = row + top - 4, across + left - 4
            if 0 <= y < 32 and 0 <= x < 32:
                result[:, row, column] = image[:, y, x]
    return result


def test_crop_flip_equals_a_slow_loop(images: ImageSet) -> None:
    few = images.images[:6]
    top, left = torch.tensor([0, 8, 4, 0, 3, 5]), torch.tensor([0, 8, 4, 8, 6, 1])
    mirrored = torch.tensor([False, True, True, False, True, False])
    slow = [
        slow_crop_flip(image, int(y), int(x), bool(mirror))
        for image, y, x, mirror in zip(few, top, left, mirrored, strict=True)
    ]
    assert crop_flip(few, top, left, mirrored).equal(torch.stack(slow))
    assert crop_flip(few, top, left, mirrored)[2].equal(few[2].flip(-1))


def test_augmented_images_are_windows_of_their_own_image(images: ImageSet) -> None:
    """Each is one of the 162 windows of its image; corners and mirrors are drawn evenly."""
    few = images.subset(slice(0, 20))
    keys = [(y, x, mirror) for y in range(9) for x in range(9) for mirror in (False, True)]
    windows = torch.stack(
        [crop_flip(few.images, *(torch.full((20,), part) for part in key)) for key in keys], dim=1
    )
    drawn: list[tuple[int, int, bool]] = []
    stream = Stream(few, 8, 1, "source", Augmentation.CROP_FLIP)
    for epoch in range(10):
        for pixels, labels in stream.epoch(epoch):
            whole = pixels.mul(255).round().to(torch.uint8)
            for image, label in zip(whole, labels.tolist(), strict=True):
                matches = (windows[label] == image).flatten(1).all(dim=1)
                drawn += [keys[match] for match in matches.nonzero().flatten().tolist()]
    assert len(drawn) == 200
    tops, lefts, mirrors = (torch.tensor(each).double() for each in zip(*drawn, strict=True))
    assert {tops.min().item(), lefts.min().item()} == {0.0}
    assert {tops.max().item(), lefts.max().item()} == {8.0}
    assert abs(tops.mean() - 4) < 0.8 and abs(lefts.mean() - 4) < 0.8  # over 4 sigma
    assert abs(mirrors.mean() - 0.5) < 0.15


def test_flip_mirrors_half_of_the_images_and_shifts_none(images: ImageSet) -> None:
    few = images.subset(slice(0, 50))
    plain, mirrored = few.pixels(), few.pixels().flip(3)
    count = 0
    for epoch in range(4):
        ((pixels, labels),) = Stream(few, 50, 1, "source", Augmentation.FLIP).epoch(epoch)
        ((_, unaugmented),) = Stream(few, 50, 1, "source").epoch(epoch)
        assert labels.equal(unaugmented)  # the same order as without augmentation
        unchanged = (pixels == plain[labels]).flatten(1).all(1)
        assert (unchanged | (pixels == mirrored[labels]).flatten(1).all(1)).all()
        count += int((~unchanged).sum())
    assert 70 < count < 130


def test_augmentation_changes_between_epochs(images: ImageSet) -> None:
    stream = Stream(images.subset([0]), 1, 1, "source", Augmentation.CROP_FLIP)
    seen = {next(iter(stream.epoch(epoch)))[0].numpy().tobytes() for epoch in range(20)}
    assert len(seen) > 15


def test_a_seed_is_the_sha256_of_the_parts_repr() -> None:
    expected = int(hashlib.sha256(b"(7, 'source', 3)").hexdigest()[:16], 16) >> 1
    assert derive_seed(7, "source", 3) == expected
    assert 0 <= expected < 2**63
    assert derive_seed("1") != derive_seed(1)
    assert derive_seed(1, 23) != derive_seed(12, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"count": 0}, "images is 0"),
        ({"start": 12}, "start is 12"),
        ({"epoch": -1}, "epoch is -1"),
    ],
)
def test_bad_settings_are_refused(images: ImageSet, change: dict[str, Any], message: str) -> None:
    values = {"count": 103, "batch_size": 10, "seed": 1, "epoch": 0, "start": 0, **change}
    some = images.subset(slice(0, values["count"]))
    with pytest.raises(ConfigError, match=message):
        stream = Stream(some, values["batch_size"], values["seed"], "source")
        stream.epoch(values["epoch"], values["start"])
