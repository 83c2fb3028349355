"""Choosing source, target and the settings of Eq. 1; the values live in the page's address."""

from __future__ import annotations

import random

import streamlit as st

from dverge.attacks import AttackConfig, Norm
from dverge.checkpoints import CheckpointInfo
from dverge.data import CLASSES, ImageSet
from dverge.evaluation.diversity import Pairs
from pages.widgets.shared.image_choice import gallery
from pages.widgets.shared.images import gallery_images, nearest

FIRST_SOURCE, FIRST_TARGET = 990, 429  # a car and a frog, chosen to explain
MOST_STEPS = 50
SOURCE, TARGET = "source-image", "target-image"  # not "target", which is a class elsewhere
ENDS = {SOURCE: "Source", TARGET: "Target"}


def choose_ends() -> tuple[ImageSet, ImageSet]:
    """The controls for source and target; returns one image each."""
    left, right = st.columns(2)
    with left:
        source = _end(SOURCE, FIRST_SOURCE, "What the features look like.")
    with right:
        target = _end(TARGET, FIRST_TARGET, "What the features should be taken for.")
    st.button(
        "Random pair",
        icon=":material/shuffle:",
        width="stretch",
        on_click=_choose_random,
        shortcut="N",
        help="Two test images of different classes.",
    )
    st.button(
        "Swap source and target",
        icon=":material/swap_horiz:",
        width="stretch",
        on_click=_swap,
        args=(int(source.indices[0]), int(target.indices[0])),
    )
    return source, target


def _end(key: str, first: int, what: str) -> ImageSet:
    """The box for the number of the source or the target; returns the image."""
    images = gallery_images()
    number = st.number_input(
        ENDS[key],
        0,
        9999,
        first,
        key=key,
        bind="query-params",
        help=f"{what} Its number in CIFAR-10's test set, 0 to 9999.",
    )
    return images.subset([nearest(images, number)])


def _choose_random() -> None:
    images = gallery_images()
    source = random.randrange(len(images))
    others = (images.labels != images.labels[source]).nonzero().flatten().tolist()
    for key, position in ((SOURCE, source), (TARGET, random.choice(others))):
        st.session_state[key] = int(images.indices[position])


def _swap(source: int, target: int) -> None:
    st.session_state[SOURCE], st.session_state[TARGET] = target, source


def pair_gallery(checkpoints: list[CheckpointInfo]) -> None:
    """Thumbnails to choose the source or the target from."""
    end = st.segmented_control(
        "A click chooses the",
        list(ENDS),
        default=SOURCE,
        required=True,
        format_func=lambda key: ENDS[key].lower(),
        key="gallery-end",
        persist_state="session",
    )
    gallery(checkpoints, end)


def distillation_form() -> AttackConfig:
    """The controls for the budget and the steps of Eq. 1.

    Raises:
        ConfigError: the address holds values that do not go together.
    """
    eps = st.number_input(
        "eps (L∞, per pixel)",
        0.0,
        1.0,
        0.07,
        step=0.01,
        format="%.3f",
        key="distil-eps",
        bind="query-params",
        help="No pixel value (0 to 1) of a feature differs from the source's by more than this. "
        "The report uses 0.07.",
    )
    left, right = st.columns(2)
    steps = left.number_input(
        "Steps",
        1,
        MOST_STEPS,
        10,
        key="distil-steps",
        bind="query-params",
        help="Gradient steps; 10 in the report.",
    )
    size = right.number_input(
        "Step size",
        0.0,
        1.0,
        0.007,
        step=0.001,
        format="%.4f",
        key="distil-step-size",
        bind="query-params",
        help="How far each pixel moves per step; 0.007 in the report.",
    )
    return AttackConfig(Norm.LINF, eps, size, steps)


def is_first(pair: Pairs) -> bool:
    """Whether this is the pair that the page opens with."""
    ends = int(pair.sources.indices[0]), int(pair.targets.indices[0])
    return ends == (FIRST_SOURCE, FIRST_TARGET)


def end_title(image: ImageSet) -> str:
    """A source or target as text, such as "test image 5, frog"."""
    return f"test image {int(image.indices[0])}, {CLASSES[int(image.labels[0])]}"
