"""Runs on screen: a live card each, and what can be done with them."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from dverge.charts import QUANTITIES, curve_frame, ensemble_colour, run_curves, smooth
from dverge.errors import DvergeError
from dverge.runs import RunState, RunView
from pages.widgets.messages import errors_as_messages, show_error
from pages.widgets.resources import run_manager, run_metrics
from pages.widgets.words import duration

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
SPANS = {"no smoothing": 1, "light": 5, "strong": 25}


def show_run(view: RunView, log: bool, span: int) -> None:
    """A run's card: state, progress, buttons, curves. Its height does not change as it goes on."""
    with st.container(border=True, key=f"run-{view.id}"), errors_as_messages():
        _head(view)
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


def _head(view: RunView) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{view.spec.name}** &nbsp; {state_badge(view.status.state)}")
        st.space("stretch")
        if view.elsewhere:
            st.caption("Another process works on it.")
            return
        _buttons(view)


def _buttons(view: RunView) -> None:
    state, manager = view.status.state, run_manager()
    if state in (RunState.QUEUED, RunState.RUNNING):
        _button(view, "Pause", ":material/pause:", manager.pause)
        _button(view, "Stop", ":material/stop:", manager.stop)
    elif state.resumable:
        _button(view, "Resume", ":material/play_arrow:", manager.resume)


def _button(view: RunView, title: str, icon: str, action: Callable[[str], None]) -> None:
    if st.button(title, icon=icon, key=f"{title}-{view.id}"):
        try:
            action(view.id)
        except DvergeError as error:
            show_error(error)
            return
        st.rerun()


def _curves(view: RunView, log: bool, span: int) -> None:
    frame = smooth(curve_frame(run_metrics(view)), span)
    colour = ensemble_colour(view.spec.name, view.spec.kind)
    with st.grid(3, min_column_width=240):
        for quantity in QUANTITIES:
            st.altair_chart(
                run_curves(frame, quantity, colour, view.spec.config["epochs"], log),
                key=f"curve-{view.id}-{quantity}",
                alt=f"{quantity} of {view.spec.name} against epochs",
            )
