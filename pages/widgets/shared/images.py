"""The images that the pages show: CIFAR-10's test images, and the one that is chosen."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import streamlit as st
from torch import Tensor

from dverge.data import CLASSES, ImageSet, Split, full_data_available, load


@dataclass(frozen=True)
class ChosenImage:
    """The image to attack.

    Attributes:
        pixels: 1×3×32×32 in [0, 1].
        label: its class, 0–9.
        title: what it is, such as "test image 5, frog".
        file_name: the start of the names of its downloads.
        number: its position in CIFAR-10's test set; None for the user's own picture.
    """

    pixels: Tensor
    label: int
    title: str
    file_name: str
    number: int | None = None

    @property
    def digest(self) -> str:
        """SHA-256 of the pixels, the class and the number, which the random starts depend on."""
        about = repr((self.label, self.number)).encode()
        return hashlib.sha256(self.pixels.numpy().tobytes() + about).hexdigest()


def gallery_images() -> ImageSet:
    """The test images to choose from: all 10,000, or the bundled sample of 1,000."""
    return load(Split.TEST if full_data_available() else Split.SAMPLE)


def data_in_use() -> str:
    """Which images the pages show, as text."""
    if full_data_available():
        return "CIFAR-10, 10,000 test images"
    return "bundled sample, 1,000 test images"


def nearest(images: ImageSet, number: int) -> int:
    """The position of the image with this number, or of the nearest one, with a note on screen."""
    position = int((images.indices - number).abs().argmin())
    if (taken := int(images.indices[position])) != number:
        st.caption(
            f"Image {number} is not in the bundled sample; this is the nearest, {taken}. "
            "Get the full data set on the Home page."
        )
    return position


def image_at(images: ImageSet, position: int) -> ChosenImage:
    """The image at a position of a set."""
    number, label = int(images.indices[position]), int(images.labels[position])
    title = f"test image {number}, {CLASSES[label]}"
    return ChosenImage(images.pixels(position), label, title, f"image-{number}", number)


def numbered_image(number: int) -> ChosenImage | None:
    """The test image with this number; None if it is not available."""
    images = gallery_images()
    positions = (images.indices == number).nonzero()
    return image_at(images, int(positions[0])) if len(positions) else None
