"""What a set of images is: pixels, labels, and each image's number in the official files."""

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

    VALIDATION is the first 1,024 official training images, TRAIN the other 48,976, TEST the
    10,000 test images, and SAMPLE the first 100 test images of each class, which is bundled.
    """

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"
    SAMPLE = "sample"


def to_unit_range(images: Tensor) -> Tensor:
    """Turn uint8 pixels into float32 in [0, 1], bit for bit the same on every device.

    The divisor is a tensor on the images' device because CUDA multiplies by the rounded
    reciprocal of a plain number, which differs in the last bit from the division a CPU does.
    """
    divisor = torch.full((), 255.0, dtype=torch.float32, device=images.device)
    return images.to(torch.float32).div(divisor)


def sha256_of(tensor: Tensor) -> str:
    """The SHA-256 (hex) of a tensor's bytes in C order."""
    return hashlib.sha256(tensor.cpu().contiguous().numpy().data).hexdigest()


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Labelled images on one device. Sets are shared by all who load them: do not write in them.

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
            found = f"{self.images.dtype} {tuple(self.images.shape)}"
            raise DataError(f"images is {found}; it must be torch.uint8 (N, 3, 32, 32).")
        for name, values in (("labels", self.labels), ("indices", self.indices)):
            if values.dtype != torch.int64 or values.shape != (count,):
                found = f"{values.dtype} {tuple(values.shape)}"
                raise DataError(f"{name} is {found}; it must be torch.int64 ({count},).")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def device(self) -> torch.device:
        """The device the images are on."""
        return self.images.device

    @cached_property
    def digest(self) -> str:
        """The SHA-256 (hex) of the pixels' bytes followed by the labels' as one byte each."""
        both = hashlib.sha256(self.images.cpu().contiguous().numpy().data)
        both.update(self.labels.to(torch.uint8).cpu().contiguous().numpy().data)
        return both.hexdigest()

    def to(self, device: torch.device | str) -> ImageSet:
        """The same set on a device (itself if it is there already)."""
        target = torch.empty(0, device=device).device
        if target == self.device:
            return self
        moved = (each.to(target) for each in (self.images, self.labels, self.indices))
        return ImageSet(self.split, *moved)

    def subset(self, selection: Selection) -> ImageSet:
        """The images at some positions in this set, in the order given."""
        chosen = self._key(selection)
        return ImageSet(self.split, self.images[chosen], self.labels[chosen], self.indices[chosen])

    def balanced(self, n: int) -> ImageSet:
        """A fixed subset of n images, as balanced over the classes as can be, in this set's order.

        Each class gives its first images; all of the set if n is its size.

        Raises:
            ConfigError: n is not from 1 to the number of images.
        """
        require_integer("images", n, 1, len(self))
        own = self.labels == torch.arange(len(CLASSES), device=self.device)[:, None]
        rank = own.cumsum(1).gather(0, self.labels[None])[0]  # of each image in its class, from 1
        first = (rank * len(CLASSES) + self.labels).argsort()[:n]
        return self.subset(first.sort().values)

    def pixels(self, selection: Selection = slice(None)) -> Tensor:
        """Pixels at some positions in this set: float32, N×3×32×32 in [0, 1] (N = 1 for an int)."""
        return to_unit_range(self.images[self._key(selection)])

    def _key(self, selection: Selection) -> slice | Tensor:
        if isinstance(selection, slice):
            return selection
        key = torch.as_tensor(selection, device=self.device)
        return key.reshape(1) if key.ndim == 0 else key
