"""Choosing an image: by number, at random, from a gallery, or the user's own picture."""

from __future__ import annotations

import random

import streamlit as st

from dverge.charts.pictures import data_uri
from dverge.checkpoints import CheckpointInfo
from dverge.data import CLASSES, ImageSet, read_picture
from pages.widgets.shared.images import ChosenImage, gallery_images, image_at, nearest
from pages.widgets.shared.messages import errors_as_messages
from pages.widgets.shared.resources import correct_everywhere

PER_PAGE = 24
FIRST_SHOWN = 5  # a frog; any image of the sample would do
PICTURE_TYPES = ["png", "jpg", "jpeg", "webp", "bmp", "gif"]


def choose_image() -> ChosenImage:
    """The controls for number, random choice and upload; returns the image."""
    images = gallery_images()
    number = st.number_input(
        "Test image",
        0,
        9999,
        FIRST_SHOWN,
        key="image",
        bind="query-params",
        help="Its number in CIFAR-10's test set, 0 to 9999. Without the full data set, the "
        "nearest of the 1,000 bundled images is used.",
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
    return uploaded or image_at(images, nearest(images, number))


def _choose_random() -> None:
    _choose(int(random.choice(gallery_images().indices)), "image")


def _choose(number: int, key: str) -> None:
    st.session_state[key] = number


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
    if file is not None:
        with errors_as_messages():
            pixels = read_picture(file.getvalue())
            return ChosenImage(pixels, CLASSES.index(name), f"your picture, {name}", "own-picture")
    return None


def gallery(checkpoints: list[CheckpointInfo], key: str = "image") -> None:
    """Thumbnails to choose from, filtered by class and by what the ensembles classify correctly.

    Args:
        checkpoints: the ensembles to filter by.
        key: of the number box that takes the chosen image.
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
        only_correct = st.toggle(
            "Only images that every submodel classifies correctly",
            key="gallery-correct",
            persist_state="session",
            disabled=not checkpoints,
        )
    positions = _filtered(images, wanted, checkpoints if only_correct else [])
    if not positions:
        st.info("No image fits these filters; choose another class.", icon=":material/search_off:")
        return
    pages = -(-len(positions) // PER_PAGE)
    thumbnails = st.container()
    page = st.pagination(pages, key=f"gallery-page-{wanted}-{only_correct}")
    with thumbnails:
        _show_thumbnails(images, positions[(page - 1) * PER_PAGE : page * PER_PAGE], key)
    st.caption(f"{len(positions):,} of {len(images):,} test images.")


def _filtered(images: ImageSet, wanted: str, checkpoints: list[CheckpointInfo]) -> list[int]:
    """The positions of the images of a class that all submodels classify correctly."""
    any_class = wanted not in CLASSES
    keep = [any_class or CLASSES[label] == wanted for label in images.labels.tolist()]
    correct = [correct_everywhere(info, images) for info in checkpoints]
    return [i for i, flags in enumerate(zip(keep, *correct, strict=True)) if all(flags)]


def _show_thumbnails(images: ImageSet, positions: list[int], key: str) -> None:
    """A button an image, whose picture hides its label; the chosen one is framed."""
    shown = [image_at(images, position) for position in positions]
    rules = []
    for slot, image in enumerate(shown):
        button = f".st-key-thumb-{slot} button"
        rules.append(f'{button}{{background-image:url("{data_uri(image.pixels)}")}}')
        if image.number == st.session_state.get(key):
            rules.append(f"{button}{{outline:3px solid #E07A1F}}")
    st.html(f"<style>{''.join(rules)}</style>")
    with st.grid("auto", min_column_width=64, gap="xsmall"):
        for slot, image in enumerate(shown):
            if st.button(
                f"{CLASSES[image.label]}, image {image.number}",
                key=f"thumb-{slot}",
                width="stretch",
                on_click=_choose,
                args=(image.number, key),
            ):
                st.rerun()  # the whole page: the gallery is a fragment
