"""Choosing an image: by number, by chance, from a gallery, or a picture of one's own."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass

import streamlit as st
from torch import Tensor

from dverge.charts.pictures import data_uri
from dverge.checkpoints import CheckpointInfo
from dverge.data import CLASSES, ImageSet, read_picture
from pages.widgets.shared.messages import errors_as_messages
from pages.widgets.shared.resources import correct_everywhere, gallery_images

PER_PAGE = 24
FIRST_SHOWN = 5  # a frog; any image of the sample would do
PICTURE_TYPES = ["png", "jpg", "jpeg", "webp", "bmp", "gif"]


@dataclass(frozen=True)
class ChosenImage:
    """The image to attack.

    Attributes:
        pixels: 1×3×32×32 in [0, 1].
        label: its class, 0–9.
        title: what it is, in words.
        file_name: what downloads about it are called.
        number: its place in CIFAR-10's test set; None for a picture of one's own.
    """

    pixels: Tensor
    label: int
    title: str
    file_name: str
    number: int | None = None

    @property
    def digest(self) -> str:
        """SHA-256 of the pixels and the class, the key of what is computed of them."""
        pixels = self.pixels.numpy().tobytes()
        return hashlib.sha256(pixels + bytes([self.label])).hexdigest()


def choose_image() -> ChosenImage:
    """The controls for the image's number, chance and upload; returns the image."""
    images = gallery_images()
    number = st.number_input(
        "Test image",
        0,
        9999,
        FIRST_SHOWN,
        key="image",
        bind="query-params",
        help="Its number in CIFAR-10's test set, 0 to 9999. Without the full data set, the "
        "nearest of the 1,000 bundled images is taken.",
    )
    st.button(
        "Random image",
        icon=":material/shuffle:",
        width="stretch",
        on_click=_choose_random,
        shortcut="N",
    )
    with st.expander("Use a picture of your own"):
        uploaded = _uploaded()
    return uploaded or _numbered(images, number)


def gallery(checkpoints: list[CheckpointInfo], key: str = "image") -> None:
    """Thumbnails to choose from, filtered by class and by what the ensembles get right.

    Args:
        checkpoints: the ensembles to filter by.
        key: of the box that takes the chosen image's number.
    """
    images = gallery_images()
    with st.container(horizontal=True, vertical_alignment="center"):
        wanted = st.selectbox(
            "Class",
            ["all classes", *CLASSES],
            key="gallery-class",
            label_visibility="collapsed",
            width=200,
            persist_state="session",
        )
        only_right = st.toggle(
            "Only images that every submodel gets right",
            key="gallery-right",
            persist_state="session",
            disabled=not checkpoints,
        )
    positions = _filtered(images, wanted, checkpoints if only_right else [])
    if not positions:
        st.info("No image fits these filters; choose another class.", icon=":material/search_off:")
        return
    pages = -(-len(positions) // PER_PAGE)
    place = st.container()
    page = st.pagination(pages, key=f"gallery-page-{wanted}-{only_right}")
    shown = positions[(page - 1) * PER_PAGE : page * PER_PAGE]
    with place:
        _thumbnails(images, shown, key)
    st.caption(f"{len(positions):,} of {len(images):,} test images.")


def _thumbnails(images: ImageSet, positions: list[int], key: str) -> None:
    rules = []
    for slot, position in enumerate(positions):
        uri = data_uri(images.pixels(position))
        rules.append(f'.st-key-thumb-{slot} button{{background-image:url("{uri}")}}')
        if int(images.indices[position]) == st.session_state.get(key):
            rules.append(f".st-key-thumb-{slot} button{{outline:3px solid #E07A1F}}")
    st.html(f"<style>{''.join(rules)}</style>")
    with st.grid("auto", min_column_width=64, gap="xsmall"):
        for slot, position in enumerate(positions):
            number = int(images.indices[position])
            label = f"{CLASSES[int(images.labels[position])]}, image {number}"
            if st.button(
                label, key=f"thumb-{slot}", width="stretch", on_click=_choose, args=(number, key)
            ):
                st.rerun()  # the whole page: the gallery is a fragment


def _choose(number: int, key: str = "image") -> None:
    st.session_state[key] = number


def _choose_random() -> None:
    _choose(int(random.choice(gallery_images().indices)))


def _numbered(images: ImageSet, number: int) -> ChosenImage:
    return _at(images, nearest(images, number))


def nearest(images: ImageSet, number: int) -> int:
    """The position of a test image by its number; says so where the nearest one is taken."""
    position = int((images.indices - number).abs().argmin())
    found = int(images.indices[position])
    if found != number:
        st.caption(
            f"Image {number} is not in the bundled sample; this is the nearest, {found}. "
            "Get the full data set on the Home page."
        )
    return position


def numbered_image(number: int) -> ChosenImage | None:
    """A test image by its number; None if it is not among those there are."""
    images = gallery_images()
    positions = (images.indices == number).nonzero()
    return _at(images, int(positions[0])) if len(positions) else None


def _at(images: ImageSet, position: int) -> ChosenImage:
    number, label = int(images.indices[position]), int(images.labels[position])
    title = f"test image {number}, {CLASSES[label]}"
    return ChosenImage(images.pixels(position), label, title, f"image-{number}", number)


def _uploaded() -> ChosenImage | None:
    file = st.file_uploader(
        "Picture",
        PICTURE_TYPES,
        help="It is cropped to a square and resized to 32×32. It stays on this machine and is "
        "not part of the link.",
    )
    name = st.selectbox(
        "What it shows", CLASSES, help="Its true class, which the attack pushes away from."
    )
    if file is None:
        return None
    with errors_as_messages():
        pixels = read_picture(file.getvalue())
        return ChosenImage(pixels, CLASSES.index(name), f"your picture, {name}", "own-picture")
    return None


def _filtered(images: ImageSet, wanted: str, checkpoints: list[CheckpointInfo]) -> list[int]:
    keep = [True] * len(images)
    if wanted in CLASSES:
        keep = (images.labels == CLASSES.index(wanted)).tolist()
    for info in checkpoints:
        right = correct_everywhere(info, images)
        keep = [a and b for a, b in zip(keep, right, strict=True)]
    return [position for position, kept in enumerate(keep) if kept]
