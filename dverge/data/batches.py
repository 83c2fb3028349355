"""Shuffled batches for training, which depend on a seed alone, on the device of the images."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from dverge.data.images import ImageSet, to_unit_range
from dverge.errors import require, require_integer
from dverge.seeds import derive_seed

PADDING = 4


class Augmentation(enum.StrEnum):
    """Random changes to training images.

    NONE: none. FLIP: random mirror. CROP_FLIP: zero pad 4, random crop, random mirror.
    """

    NONE = "none"
    FLIP = "flip"
    CROP_FLIP = "crop-flip"


@dataclass(frozen=True)
class _Plan:
    """The random numbers of an epoch, on the device of the images.

    Attributes:
        order: int64 N, a permutation of the images.
        top, left: int64 N, the corner of each crop, 0 to 8. These and `mirrored` are in the order
            of `order`, and None without augmentation.
        mirrored: bool N.
    """

    order: Tensor
    top: Tensor | None = None
    left: Tensor | None = None
    mirrored: Tensor | None = None


class Stream:
    """Epochs of shuffled batches of a set of images.

    An epoch is a pure function of (seed, name, epoch), the same on every device, and can be
    repeated from any batch on. Streams of different names are independent. The global random
    generator is not used.

    Args:
        images: the images, on the device of the batches.
        batch_size: images in a batch, from 1; the last batch of an epoch may be smaller.
        seed: the run's seed, from 0 to 2^63 - 1.
        name: the purpose of the stream, such as "source" or "target".
        augmentation: random changes to each image.

    Raises:
        ConfigError: a setting is out of range.
    """

    def __init__(
        self,
        images: ImageSet,
        batch_size: int,
        seed: int,
        name: str,
        augmentation: Augmentation = Augmentation.NONE,
    ) -> None:
        require(len(images) > 0, "images", len(images), "a set with at least one image")
        require_integer("batch_size", batch_size, 1, 1_000_000)
        require_integer("seed", seed, 0, 2**63 - 1)
        self.images = images
        self.batch_size = batch_size
        self.seed = seed
        self.name = name
        self.augmentation = Augmentation(augmentation)

    @property
    def batches_per_epoch(self) -> int:
        """Batches in an epoch, including a last one that is not full."""
        return -(-len(self.images) // self.batch_size)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of an epoch from batch `start` on.

        Yields:
            Pixels, float32 B×3×32×32 in [0, 1], and labels, int64 B, on the images' device.

        Raises:
            ConfigError: epoch is negative, or start is not from 0 to batches_per_epoch.
        """
        require_integer("epoch", epoch, 0, 2**31)
        require_integer("start", start, 0, self.batches_per_epoch)
        return self._batches(epoch, start)

    def _batches(self, epoch: int, start: int) -> Iterator[tuple[Tensor, Tensor]]:
        plan = self._plan(epoch)
        for batch in range(start, self.batches_per_epoch):
            part = slice(batch * self.batch_size, (batch + 1) * self.batch_size)
            chosen = plan.order[part]
            pixels = self.images.images[chosen]
            if plan.top is not None and plan.left is not None and plan.mirrored is not None:
                pixels = crop_flip(pixels, plan.top[part], plan.left[part], plan.mirrored[part])
            yield to_unit_range(pixels), self.images.labels[chosen]

    def _plan(self, epoch: int) -> _Plan:
        """Draw the random numbers of an epoch, on the CPU, so that all devices get the same."""
        generator = torch.Generator().manual_seed(derive_seed(self.seed, self.name, epoch))
        count, device = len(self.images), self.images.device
        order = torch.randperm(count, generator=generator).to(device)
        if self.augmentation is Augmentation.NONE:
            return _Plan(order)
        if self.augmentation is Augmentation.FLIP:
            corners = torch.full((2, count), PADDING, device=device)
        else:
            corners = torch.randint(2 * PADDING + 1, (2, count), generator=generator).to(device)
        mirrored = torch.randint(2, (count,), generator=generator).bool().to(device)
        return _Plan(order, corners[0], corners[1], mirrored)


def crop_flip(images: Tensor, top: Tensor, left: Tensor, mirrored: Tensor) -> Tensor:
    """Pad each image with 4 zeros, crop its 32×32 window at (top, left), and mirror some.

    Args:
        images: B×3×32×32 of any type.
        top, left: int64 B, from 0 to 8; 4 and 4 crop the image itself.
        mirrored: bool B, which images to mirror.
    """
    padded = F.pad(images, (PADDING,) * 4)
    steps = torch.arange(images.shape[-1], device=images.device)
    rows = top[:, None] + steps
    columns = left[:, None] + torch.where(mirrored[:, None], steps.flip(0), steps)
    image = torch.arange(len(images), device=images.device)[:, None, None, None]
    channels = torch.arange(images.shape[1], device=images.device)[None, :, None, None]
    return padded[image, channels, rows[:, None, :, None], columns[:, None, None, :]]
