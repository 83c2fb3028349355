"""The settings of a training as a form: their groups, and the widget of each."""

from __future__ import annotations

import dataclasses
from typing import Any

import streamlit as st
import torch

from dverge.training import CONFIGS, Method, TrainingConfig
from pages.widgets.shared.ensemble_choice import first_of_each
from pages.widgets.shared.resources import all_checkpoints
from pages.widgets.train.training_settings import FIELDS, FRESH, Choice, Number

MAIN: dict[Method, tuple[str, ...]] = {
    Method.VANILLA: ("members", "epochs", "learning_rate", "seed"),
    Method.DVERGE: ("start", "members", "epochs", "alpha", "learning_rate"),
    Method.DVERGE_ADVT: ("start", "members", "epochs", "alpha", "adv_eps"),
    Method.ADVT: ("start", "members", "epochs", "attacked", "adv_eps"),
}
GROUPS: dict[str, tuple[str, ...]] = {
    "Diversity": ("alpha", "clean_weight", "diversity", "cap"),
    "Distilled features": (
        "layer",
        "distill_eps",
        "distill_step_size",
        "distill_steps",
        "distill_momentum",
        "distill_random_start",
    ),
    "Adversarial training": (
        "adv_weight",
        "joint",
        "clean_weight",
        "adv_eps",
        "adv_step_size",
        "adv_steps",
        "adv_random_start",
    ),
    "Optimiser": (
        "learning_rate",
        "momentum",
        "weight_decay",
        "schedule",
        "batch_size",
        "average_last",
    ),
    "Data and run": ("training_images", "augmentation", "seed", "snapshot_every", "device"),
}


def field_key(name: str) -> str:
    """The session-state key of a field."""
    return f"new-{name}"


def fill(config: TrainingConfig) -> None:
    """Put a config's values into the fields, except the checkpoint it starts from."""
    for name, value in config.to_dict().items():
        if name not in ("start", "start_digest"):
            st.session_state[field_key(name)] = value


def main_fields(method: Method) -> dict[str, Any]:
    """The settings that matter most, by name."""
    with st.grid(5, min_column_width=160):
        return {name: _draw(name, method) for name in MAIN[method]}


def further_fields(method: Method) -> dict[str, Any]:
    """All other settings of a method, in titled groups."""
    fields = [field.name for field in dataclasses.fields(CONFIGS[method])]
    remaining = [name for name in fields if name not in MAIN[method]]
    values: dict[str, Any] = {}
    for title, names in GROUPS.items():
        shown = [name for name in names if name in remaining and name not in values]
        if title == "Diversity" and "diversity" not in shown:
            continue  # AdvT's clean weight is shown with adversarial training
        if shown:
            st.caption(f"**{title}**")
            with st.grid(5, min_column_width=160):
                values |= {name: _draw(name, method) for name in shown}
    return values


def _draw(name: str, method: Method) -> Any:
    key = field_key(name)
    if name == "start":
        return _start_field(key)
    if name == "device":
        about = "auto takes a GPU if there is one."
        return st.selectbox("Device", _devices(), key=key, help=about)
    field = FIELDS[name]
    if isinstance(field, Number):
        low, high = field.low, field.high
        if name == "members" and method in (Method.DVERGE, Method.DVERGE_ADVT):
            low, high = 2, 8
        form = "%d" if isinstance(field.step, int) else "%.4g"
        return st.number_input(
            field.title, low, high, step=field.step, format=form, key=key, help=field.help
        )
    if isinstance(field, Choice):
        return st.selectbox(
            field.title,
            list(field.options),
            format_func=field.options.__getitem__,
            key=key,
            help=field.help,
        )
    with st.container(height="stretch", vertical_alignment="bottom"):
        return st.toggle(field.title, key=key, help=field.help)


def _start_field(key: str) -> str:
    """The name of the checkpoint to start from, or ""; at first the first vanilla one."""
    available = all_checkpoints()[0]
    options = [*(info.name for info in available), FRESH]
    if st.session_state.get(key) not in options:
        likely = first_of_each(available, (Method.VANILLA,))
        st.session_state[key] = likely[0].name if likely else FRESH
    chosen = st.selectbox(
        "Starts from",
        options,
        key=key,
        help="The checkpoint whose submodels the training continues. The report starts DVERGE from "
        "vanilla classifiers.",
    )
    return "" if chosen == FRESH else chosen


def _devices() -> list[str]:
    return ["auto", "cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
