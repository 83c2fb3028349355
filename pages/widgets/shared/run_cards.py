"""Runs on screen: a live card each, with progress, curves, and buttons to stop and resume."""

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

STATE_LOOKS = {
    RunState.QUEUED: ("gray", "hourglass_empty"),
    RunState.RUNNING: ("blue", "play_arrow"),
    RunState.PAUSING: ("orange", "pause"),
    RunState.PAUSED: ("orange", "pause"),
    RunState.STOPPING: ("gray", "stop"),
    RunState.STOPPED: ("gray", "stop"),
    RunState.FINISHED: ("green", "check"),
    RunState.FAILED: ("red", "error"),
    RunState.INTERRUPTED: ("orange", "power_off"),
}
BUTTON_WIDTH = 112  # pixels; all the same, so that one replaces another in place
BUTTONS_WIDTH = 2 * BUTTON_WIDTH + 16  # both and the gap, even where one is missing
SPANS = {"no smoothing": 1, "light": 5, "strong": 25}


def show_run(view: RunView, log: bool, span: int) -> None:
    """A training's card: state, progress, buttons, curves. Its height does not change."""
    with st.container(border=True, key=f"run-{view.id}"), errors_as_messages():
        config = view.spec.config
        progress = [f"epoch {view.status.epoch:.1f} of {config['epochs']}", *_time(view)]
        if view.status.images_per_second:
            members = config["members"]
            speed = f"{view.status.images_per_second:,.0f} images/s"
            progress.append(f"{speed} over {members} submodels" if members > 1 else speed)
        show_head_and_progress(view, method_title(view.spec.kind), progress)
        colour = ensemble_colour(view.spec.name, view.spec.kind)
        show_curves(
            run_metrics(view), config, colour, config["epochs"], log, span, f"curve-{view.id}"
        )


def show_evaluation(view: RunView, protocol: str) -> None:
    """An evaluation's card: state, progress and buttons."""
    with st.container(border=True, key=f"evaluation-{view.id}"):
        count = len(view.spec.config["checkpoints"])
        done = f"{view.status.epoch:.0f} measurements done"
        progress = [done, f"{count} ensemble{'s' * (count > 1)}", *_time(view)]
        show_head_and_progress(view, protocol, progress)


def show_head_and_progress(view: RunView, kind: str, progress: list[str]) -> None:
    """A run's name, state, buttons and progress, and the message it or its last button left."""
    with st.container(horizontal=True, vertical_alignment="center"):
        colour, icon = STATE_LOOKS[view.status.state]
        badge = f":{colour}-badge[:material/{icon}: {view.status.state}]"
        st.markdown(f"**{view.spec.name}** &nbsp; {badge}")
        st.caption(kind)
        st.space("stretch")
        if view.elsewhere:
            st.caption("Another process is working on it.")
        else:
            _buttons(view)
    if (refusal := st.session_state.get(_refusal_key(view.id))) is not None:
        show_error(refusal)
    device = [view.status.device] if view.status.device else []
    st.progress(min(1.0, view.status.progress), text=" · ".join([*progress, *device]))
    if view.status.message:
        failed = view.status.state is RunState.FAILED
        (st.error if failed else st.info)(view.status.message)


def _time(view: RunView) -> list[str]:
    """The time left of a run that is active, otherwise the time it has taken so far."""
    status = view.status
    if status.seconds_left is not None and status.state.active:
        return [f"{duration(status.seconds_left)} left"]
    return [f"{duration(status.elapsed)} so far"] if status.elapsed else []


def _buttons(view: RunView) -> None:
    """A run's buttons, each in its own place, so that none moves as the state changes.

    A button that moved between the press of the mouse and its release would miss the click.
    """
    with st.container(horizontal=True, horizontal_alignment="right", width=BUTTONS_WIDTH):
        first, second = st.empty(), st.empty()
    state, manager = view.status.state, run_manager()
    if state.active:
        ending = state in (RunState.PAUSING, RunState.STOPPING)
        _button(first, view, "Stop", "stop", manager.stop, ending)
        _button(second, view, "Pause", "pause", manager.pause, ending)
    elif state.resumable:
        if view.spec.is_evaluation:  # its results are kept with the checkpoints
            _button(first, view, "Discard", "delete", manager.delete)
        _button(second, view, "Resume", "play_arrow", manager.resume)


def _button(
    place: DeltaGenerator,
    view: RunView,
    title: str,
    icon: str,
    action: Callable[[str], None],
    disabled: bool = False,
) -> None:
    """A button with a callback: a click during a rerun is not lost."""
    place.button(
        title,
        icon=f":material/{icon}:",
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


def show_curves(
    rows: list[dict[str, Any]],
    config: dict[str, Any],
    colour: str,
    epochs: int,
    log: bool,
    span: int,
    key: str,
) -> None:
    """All curves of one training side by side."""
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
            "The strip under the training loss shows which layer each epoch distilled from, "
            "from 1 (dark) to 5 (bright)."
        )


def duration(seconds: float) -> str:
    """A length of time in at most two units, such as "1 h 05 min" or "40 s"."""
    if seconds < 1:
        return "under 1 s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 600:
        return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
