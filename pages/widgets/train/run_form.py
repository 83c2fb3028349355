"""The form that starts a training: method, presets, fields, a time estimate, and the button."""

from __future__ import annotations

import dataclasses
from typing import Any

import streamlit as st

from dverge import checkpoints
from dverge.charts.style import method_title
from dverge.data import Split, load
from dverge.devices import describe_device, resolve_device
from dverge.errors import DvergeError
from dverge.runs import new_run_name
from dverge.training import (
    CONFIGS,
    PRESETS,
    Method,
    StartedConfig,
    TrainingConfig,
    load_start,
    measure_batch_seconds,
    total_batches,
)
from pages.widgets.shared.ensemble_choice import first_of_each
from pages.widgets.shared.messages import errors_as_messages, show_error, training_lacks_data
from pages.widgets.shared.resources import BY_CONTENT, all_checkpoints, run_manager
from pages.widgets.shared.run_cards import duration
from pages.widgets.train.training_fields import field_key, fill, further_fields, main_fields

METHOD_HELP = {
    Method.VANILLA: "Submodels trained independently on clean images.",
    Method.DVERGE: "Submodels whose vulnerabilities are driven apart: each learns to classify "
    "correctly what fools the others. No adversarial examples are needed.",
    Method.DVERGE_ADVT: "DVERGE, and each submodel also learns from its own adversarial examples.",
    Method.ADVT: "Adversarial training alone, the fair comparison for DVERGE+AdvT.",
}
PRESET_TITLES = {
    "report": "The report's recipe",
    "quick": "Quick demo",
    "eq4": "Eq. 4 as printed",
    "authors": "Original authors'",
    "eq3": "Eq. 3, experimental",
    "mixture": "Attack the mixture",
    "tuned": "Tuned",
}
PRESET_HELP = (
    "The report's recipe, where it has one. Quick demo: 5 epochs on 10,000 images, enough to see "
    "an effect. Tuned, for AdvT: the best recipe we know; it continues from DVERGE+AdvT."
)


def run_form() -> None:
    """Draw the form; every change is checked and estimated at once."""
    if training_lacks_data():
        return
    method = _method()
    _preset(method)
    values = main_fields(method)
    with st.expander("More settings"):
        values |= further_fields(method)
    estimate = st.container(height=36, border=False)
    with errors_as_messages():
        config = None
        try:
            config = CONFIGS[method](**values)
            load_start(config)
        except DvergeError as error:
            show_error(error)
            config = None
        _start(config)
        if config is not None:
            with estimate:  # last, because it takes a moment
                st.caption(time_needed(config))


def _method() -> Method:
    st.session_state.setdefault("new-method", Method.VANILLA)
    st.segmented_control(
        "Method",
        list(Method),
        required=True,
        format_func=method_title,
        key="new-method",
        on_change=_take_method,
    )
    method = Method(st.session_state["new-method"])
    st.caption(METHOD_HELP[method])
    return method


def _take_method() -> None:
    """After a change of method: fill in its first preset."""
    st.session_state["new-preset"] = "report"
    fill(PRESETS[Method(st.session_state["new-method"])]["report"])


def _take_preset() -> None:
    """After a change of preset: fill in its values, and for the tuned one where it starts."""
    preset = st.session_state["new-preset"]
    fill(PRESETS[Method(st.session_state["new-method"])][preset])
    if preset == "tuned":
        before = [i for i in all_checkpoints()[0] if i.card.method == Method.DVERGE_ADVT]
        for first in first_of_each(before, (Method.DVERGE_ADVT,)):
            st.session_state[field_key("start")] = first.name


def _preset(method: Method) -> None:
    if field_key("members") not in st.session_state:
        fill(PRESETS[method]["report"])
    st.session_state.setdefault("new-preset", "report")
    st.segmented_control(
        "Preset",
        list(PRESETS[method]),
        required=True,
        format_func=PRESET_TITLES.__getitem__,
        key="new-preset",
        on_change=_take_preset,
        help=PRESET_HELP,
    )


def time_needed(config: TrainingConfig) -> str:
    """The time a training will take here, from a few real batches."""
    device = resolve_device(config.device)
    busy = any(view.status.state.active for view in run_manager().views())
    # Configs that take equally long for a batch share one measurement.
    timed: dict[str, Any] = {"epochs": 1, "average_last": 0, "seed": 0, "learning_rate": 1e-3}
    timed["device"] = str(device)
    if isinstance(config, StartedConfig):
        timed["start"] = ""
    seconds = _batch_seconds(dataclasses.replace(config, **timed), busy)
    total = duration(seconds * total_batches(config))
    beside = " beside the active run" if busy else ""
    return (
        f":material/timer: About **{total}** on {describe_device(device)}, measured{beside}: "
        f"{1000 * seconds:.1f} ms per batch of {config.batch_size} for {config.members} submodels."
    )


@st.cache_data(max_entries=64, ttl=600, show_spinner="Timing a few batches", hash_funcs=BY_CONTENT)
def _batch_seconds(config: TrainingConfig, busy: bool) -> float:
    return measure_batch_seconds(config, load(Split.SAMPLE))


def _start(config: TrainingConfig | None) -> None:
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
            help="For the run and the checkpoint it becomes. If empty, the proposed one is used.",
        )
        if st.button(
            "Start training",
            type="primary",
            icon=":material/play_arrow:",
            disabled=config is None,
            key="start-run",
        ):
            assert config is not None
            chosen = name.strip() or proposal
            try:
                run_manager().submit(config, chosen)
            except DvergeError as error:
                show_error(error)
                return
            st.toast(f"Watch **{chosen}** at the top of this page.", icon=":material/play_arrow:")
            st.rerun()
