"""The form that starts a training: presets, fields, an estimate, and the button."""

from __future__ import annotations

import dataclasses
from typing import Any

import streamlit as st
import torch

from dverge import checkpoints
from dverge.data import Augmentation, Split, full_data_available, load
from dverge.errors import ConfigError, DvergeError
from dverge.runs import new_run_name
from dverge.training import (
    PRESETS,
    TRAINING_IMAGES,
    Schedule,
    VanillaConfig,
    describe_device,
    measure_batch_seconds,
    resolve_device,
    total_batches,
)
from pages.widgets.messages import errors_as_messages, show_error
from pages.widgets.resources import run_manager
from pages.widgets.words import duration

PRESET_TITLES = {"report": "The report's recipe", "quick": "Quick demo"}
FIELD_KEYS = {field.name: f"new-{field.name}" for field in dataclasses.fields(VanillaConfig)}


def run_form() -> None:
    """Draw the form; every change is checked and estimated at once."""
    if not full_data_available():
        st.info(
            "Training needs all of CIFAR-10. Get it on the Home page, or with "
            "`python -m dverge data`.",
            icon=":material/download:",
        )
        st.page_link("pages/home.py", label="Get CIFAR-10", icon=":material/arrow_forward:")
        return
    if FIELD_KEYS["members"] not in st.session_state:
        _fill("report")
    st.segmented_control(
        "Preset",
        list(PRESETS),
        default="report",
        required=True,
        format_func=PRESET_TITLES.__getitem__,
        key="new-preset",
        on_change=lambda: _fill(st.session_state["new-preset"]),
        help="The report's recipe: 3 submodels, 30 epochs on all images. The quick demo: "
        "5 epochs on 10,000 images.",
    )
    values = _fields()
    place = st.container(height=36, border=False)
    with errors_as_messages():
        config = None
        try:
            config = VanillaConfig(**values)
        except ConfigError as error:
            show_error(error)
        _start(config)
        if config is not None:
            with place:  # last, because it takes a moment
                st.caption(_estimate(config))


def _fill(preset: str) -> None:
    """Put a preset's values into the fields."""
    for name, value in PRESETS[preset].to_dict().items():
        st.session_state[FIELD_KEYS[name]] = value


def _fields() -> dict[str, Any]:
    """The config's fields, with the limits that VanillaConfig checks."""
    main = _main_fields(FIELD_KEYS)
    with st.expander("More settings"), st.grid(4, min_column_width=170):
        return main | _data_fields(FIELD_KEYS) | _optimiser_fields(FIELD_KEYS)


def _main_fields(key: dict[str, str]) -> dict[str, Any]:
    with st.grid(4, min_column_width=170):
        members = st.number_input(
            "Submodels", 1, 16, key=key["members"], help="Classifiers trained side by side."
        )
        epochs = st.number_input(
            "Epochs", 1, 1000, key=key["epochs"], help="Passes over the training images."
        )
        learning_rate = st.number_input(
            "Learning rate",
            1e-6,
            10.0,
            step=0.001,
            format="%.4g",
            key=key["learning_rate"],
            help="Of SGD. The report found 0.001 right, 0.01 too large, 0.0001 too small.",
        )
        seed = st.number_input(
            "Seed", 0, 2**31 - 1, key=key["seed"], help="Of initial weights and image order."
        )
    return {
        "members": members,
        "epochs": epochs,
        "learning_rate": learning_rate,
        "seed": seed,
    }


def _data_fields(key: dict[str, str]) -> dict[str, Any]:
    training_images = st.number_input(
        "Training images",
        1,
        TRAINING_IMAGES,
        step=1000,
        key=key["training_images"],
        help="The first so many of the 48,976; the other 1,024 are for validation.",
    )
    batch_size = st.number_input(
        "Batch size",
        1,
        TRAINING_IMAGES,
        key=key["batch_size"],
        help="Images a step; at most the number of training images.",
    )
    augmentation = st.selectbox(
        "Augmentation",
        list(Augmentation),
        key=key["augmentation"],
        help="crop-flip shifts each training image by up to 4 pixels and mirrors half of them.",
    )
    return {
        "training_images": training_images,
        "batch_size": batch_size,
        "augmentation": augmentation,
    }


def _optimiser_fields(key: dict[str, str]) -> dict[str, Any]:
    momentum = st.number_input(
        "Momentum", 0.0, 0.999, step=0.05, format="%.3g", key=key["momentum"], help="Of SGD."
    )
    weight_decay = st.number_input(
        "Weight decay",
        0.0,
        1.0,
        step=1e-4,
        format="%.4g",
        key=key["weight_decay"],
        help="L2 penalty on the weights.",
    )
    schedule = st.selectbox(
        "Schedule",
        list(Schedule),
        key=key["schedule"],
        help="Of the learning rate: constant, falling along a cosine to 0, or divided by 10 "
        "at half and again at three quarters.",
    )
    device = st.selectbox(
        "Device", _devices(), key=key["device"], help="auto takes a GPU if there is one."
    )
    return {
        "momentum": momentum,
        "weight_decay": weight_decay,
        "schedule": schedule,
        "device": device,
    }


def _devices() -> list[str]:
    return ["auto", "cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]


def _estimate(config: VanillaConfig) -> str:
    """The time the run will take here, from a few real batches."""
    device = resolve_device(config.device)
    busy = any(view.status.state.active for view in run_manager().views())
    seconds = _batch_seconds(
        config.members, config.batch_size, config.augmentation, str(device), busy
    )
    total = duration(seconds * total_batches(config))
    name = describe_device(device)
    beside = " beside the run that is going on" if busy else ""
    return (
        f":material/timer: About **{total}** on {name}, measured{beside}: "
        f"{1000 * seconds:.1f} ms a batch of {config.batch_size} for {config.members} submodels."
    )


@st.cache_data(max_entries=64, ttl=600, show_spinner="Timing a few batches")
def _batch_seconds(
    members: int, batch_size: int, augmentation: Augmentation, device: str, busy: bool
) -> float:
    config = VanillaConfig(
        members=members, batch_size=batch_size, augmentation=augmentation, device=device
    )
    return measure_batch_seconds(config, load(Split.SAMPLE))


def _start(config: VanillaConfig | None) -> None:
    """The name and the button."""
    taken = {info.name for info in checkpoints.list_all()[0]}
    taken |= {view.spec.name for view in run_manager().views()}
    proposal = new_run_name(config, taken) if config else ""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.text_input(
            "Name",
            placeholder=proposal,
            key="new-name",
            max_chars=64,
            width=320,
            help="Of the run and of the checkpoint it becomes. Empty takes the one proposed.",
        )
        if st.button(
            "Start training",
            type="primary",
            icon=":material/play_arrow:",
            disabled=config is None,
            key="start-run",
        ):
            assert config is not None
            try:
                run_manager().submit(config, name.strip() or proposal)
            except DvergeError as error:
                show_error(error)
                return
            st.rerun()
