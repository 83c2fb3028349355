"""Sets of labelled images, and the splits of CIFAR-10."""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from dverge.errors import DataError, require_integer

CLASSES: tuple[str, ...] = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
"""The ten classes in the official order: label 0 is airplane, label 9 is truck."""

Selection = slice | int | Sequence[int] | Tensor


class Split(enum.StrEnum):
    """A part of CIFAR-10.

    VALIDATION is the first 1,024 official training images and TRAIN the other 48,976. TEST is the
    10,000 test images and SAMPLE, which is bundled, the first 100 test images of each class.
    """

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"
    SAMPLE = "sample"


def to_unit_range(images: Tensor) -> Tensor:
    """Convert uint8 pixels to float32 in [0, 1], bit for bit the same on every device.

    The divisor is a tensor, because CUDA replaces the division by a plain number with a
    multiplication by its rounded reciprocal, which differs from the CPU in the last bit.
    """
    divisor = torch.full((), 255.0, dtype=torch.float32, device=images.device)
    return images.to(torch.float32).div(divisor)


def sha256_of(tensor: Tensor) -> str:
    """The SHA-256 (hex) of a tensor's bytes in C order."""
    return hashlib.sha256(tensor.cpu().contiguous().numpy().data).hexdigest()


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Labelled images on one device. All callers of load() share a set: do not write into it.

    Attributes:
        split: the part of CIFAR-10 the images are of.
        images: uint8, N×3×32×32, values 0–255.
        labels: int64, N, an index into CLASSES.
        indices: int64, N, each image's position in the official training files (TRAIN and
            VALIDATION) or test file (TEST and SAMPLE), from 0.

    Raises:
        DataError: a tensor has another shape or type, or the tensors differ in length.
    """

    split: Split
    images: Tensor
    labels: Tensor
    indices: Tensor

    def __post_init__(self) -> None:
        count = len(self.images)
        if self.images.dtype != torch.uint8 or self.images.shape[1:] != (3, 32, 32):
            actual = f"{self.images.dtype} {tuple(self.images.shape)}"
            raise DataError(f"images is {actual}; it must be torch.uint8 (N, 3, 32, 32).")
        for name, values in (("labels", self.labels), ("indices", self.indices)):
            if values.dtype != torch.int64 or values.shape != (count,):
                actual = f"{values.dtype} {tuple(values.shape)}"
                raise DataError(f"{name} is {actual}; it must be torch.int64 ({count},).")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def device(self) -> torch.device:
        """The device the images are on."""
        return self.images.device

    @cached_property
    def digest(self) -> str:
        """The SHA-256 (hex) of the pixels' bytes followed by one byte for each label."""
        digest = hashlib.sha256(self.images.cpu().contiguous().numpy().data)
        digest.update(self.labels.to(torch.uint8).cpu().contiguous().numpy().data)
        return digest.hexdigest()

    def to(self, device: torch.device | str) -> ImageSet:
        """This set on a device; itself if it is already there."""
        target = torch.empty(0, device=device).device
        if target == self.device:
            return self
        moved = (tensor.to(target) for tensor in (self.images, self.labels, self.indices))
        return ImageSet(self.split, *moved)

    def subset(self, selection: Selection) -> ImageSet:
        """The images at these positions of the set, in the order of the positions."""
        chosen = self._index(selection)
        return ImageSet(self.split, self.images[chosen], self.labels[chosen], self.indices[chosen])

    def balanced(self, n: int) -> ImageSet:
        """The first images of each class, n in all, as balanced as possible, in this set's order.

        Raises:
            ConfigError: n is not from 1 to the number of images.
        """
        require_integer("images", n, 1, len(self))
        in_class = self.labels == torch.arange(len(CLASSES), device=self.device)[:, None]
        rank = in_class.cumsum(1).gather(0, self.labels[None])[0]  # of each image in its class
        first = (rank * len(CLASSES) + self.labels).argsort()[:n]
        return self.subset(first.sort().values)

    def pixels(self, selection: Selection = slice(None)) -> Tensor:
        """Pixels at these positions: float32, N×3×32×32 in [0, 1] (N = 1 for an int)."""
        return to_unit_range(self.images[self._index(selection)])

    def _index(self, selection: Selection) -> slice | Tensor:
        if isinstance(selection, slice):
            return selection
        index = torch.as_tensor(selection, device=self.device)
        return index.reshape(1) if index.ndim == 0 else index
