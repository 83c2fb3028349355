"""Runs on screen: a live card each, and what can be done with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dverge.charts.curves import (
    TRAIN_LOSS,
    curve_frame,
    layer_frame,
    quantities,
    run_curves,
    smooth,
)
from dverge.charts.style import ensemble_colour, method_title
from dverge.errors import DvergeError
from dverge.runs import RunState, RunView
from dverge.training import LayerChoice
from pages.widgets.shared.messages import errors_as_messages, show_error
from pages.widgets.shared.resources import run_manager, run_metrics
from pages.widgets.shared.words import duration

STATE_LOOKS = {
    RunState.QUEUED: ("gray", ":material/hourglass_empty:"),
    RunState.RUNNING: ("blue", ":material/play_arrow:"),
    RunState.PAUSING: ("orange", ":material/pause:"),
    RunState.PAUSED: ("orange", ":material/pause:"),
    RunState.STOPPING: ("gray", ":material/stop:"),
    RunState.STOPPED: ("gray", ":material/stop:"),
    RunState.FINISHED: ("green", ":material/check:"),
    RunState.FAILED: ("red", ":material/error:"),
    RunState.INTERRUPTED: ("orange", ":material/power_off:"),
}
BUTTON_WIDTH = 112  # pixels; of all, so that one gives way to another in place
BUTTONS_WIDTH = 2 * BUTTON_WIDTH + 16  # of both and the gap, also where one is missing
SPANS = {"no smoothing": 1, "light": 5, "strong": 25}


def show_run(view: RunView, log: bool, span: int) -> None:
    """A run's card: state, progress, buttons, curves. Its height does not change as it goes on."""
    with st.container(border=True, key=f"run-{view.id}"), errors_as_messages():
        run_head(view, method_title(view.spec.kind))
        status = view.status
        st.progress(min(1.0, status.progress), text=progress_words(view))
        if status.message:
            report = st.error if status.state is RunState.FAILED else st.info
            report(status.message)
        _curves(view, log, span)


def progress_words(view: RunView) -> str:
    """Epochs, time left and speed of a run in a line."""
    status, config = view.status, view.spec.config
    words = [f"epoch {status.epoch:.1f} of {config['epochs']}"]
    if status.seconds_left is not None and status.state.active:
        words.append(f"{duration(status.seconds_left)} left")
    elif status.elapsed:
        words.append(f"{duration(status.elapsed)} so far")
    if status.images_per_second:
        members = config["members"]
        speed = f"{status.images_per_second:,.0f} images/s"
        words.append(f"{speed} over {members} submodels" if members > 1 else speed)
    if status.device:
        words.append(status.device)
    return " · ".join(words)


def state_badge(state: RunState) -> str:
    """A state as a coloured badge with an icon."""
    colour, icon = STATE_LOOKS[state]
    return f":{colour}-badge[{icon} {state}]"


def run_head(view: RunView, kind: str) -> None:
    """A run's name, state and buttons, and what came of the last one pressed."""
    _head(view, kind)
    if (refusal := st.session_state.get(_refusal_key(view.id))) is not None:
        show_error(refusal)


def _head(view: RunView, kind: str) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{view.spec.name}** &nbsp; {state_badge(view.status.state)}")
        st.caption(kind)
        st.space("stretch")
        if view.elsewhere:
            st.caption("Another process works on it.")
            return
        _buttons(view)


def _buttons(view: RunView) -> None:
    """What can be done with a run, each in a place of its own: none moves as the state changes.

    A button that moved between the press of the mouse and its release would miss the click.
    """
    with st.container(horizontal=True, horizontal_alignment="right", width=BUTTONS_WIDTH):
        aside, onward = st.empty(), st.empty()
    state, manager = view.status.state, run_manager()
    if state.active:
        ending = state in (RunState.PAUSING, RunState.STOPPING)
        _button(aside, view, "Stop", ":material/stop:", manager.stop, ending)
        _button(onward, view, "Pause", ":material/pause:", manager.pause, ending)
    elif state.resumable:
        if view.spec.is_evaluation:  # what it found is kept with the checkpoints
            _button(aside, view, "Discard", ":material/delete:", manager.delete)
        _button(onward, view, "Resume", ":material/play_arrow:", manager.resume)


def _button(
    place: DeltaGenerator,
    view: RunView,
    title: str,
    icon: str,
    action: Callable[[str], None],
    disabled: bool = False,
) -> None:
    """A button whose action is a callback: a click is not lost where a rerun is under way."""
    place.button(
        title,
        icon=icon,
        key=f"{title}-{view.id}",
        on_click=_act,
        args=(view.id, action),
        disabled=disabled,
        width=BUTTON_WIDTH,
    )


def _act(run_id: str, action: Callable[[str], None]) -> None:
    st.session_state.pop(_refusal_key(run_id), None)
    try:
        action(run_id)
    except DvergeError as error:
        st.session_state[_refusal_key(run_id)] = error


def _refusal_key(run_id: str) -> str:
    return f"refused-{run_id}"


def _curves(view: RunView, log: bool, span: int) -> None:
    rows, config = run_metrics(view), view.spec.config
    colour = ensemble_colour(view.spec.name, view.spec.kind)
    show_curves(rows, config, colour, config["epochs"], log, span, f"curve-{view.id}")


def show_curves(
    rows: list[dict[str, Any]],
    config: dict[str, Any],
    colour: str,
    epochs: int,
    log: bool,
    span: int,
    key: str,
) -> None:
    """All quantities of one training side by side."""
    frame, layers = smooth(curve_frame(rows), span), layer_frame(rows)
    shown = quantities(frame)
    with st.grid(len(shown), min_column_width=240):
        for quantity in shown:
            strip = layers if quantity == TRAIN_LOSS else None
            st.altair_chart(
                run_curves(frame, quantity, colour, epochs, log, strip),
                key=f"{key}-{quantity}",
                alt=f"{quantity} against epochs",
            )
    if config.get("layer", LayerChoice.BATCH) != LayerChoice.BATCH:
        st.caption(
            "The strip under the training loss: which layer each epoch distilled from, 1 dark to "
            "5 bright."
        )
