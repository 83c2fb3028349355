"""Training one of the report's ensembles again, with the same settings, on this machine."""

from __future__ import annotations

import streamlit as st

from dverge import checkpoints
from dverge.charts.style import method_title
from dverge.data import full_data_available
from dverge.errors import DvergeError
from dverge.runs import RETRAINED, TUNED, retraining, retraining_name
from dverge.training import TrainingConfig
from pages.widgets.shared.messages import errors_as_messages, show_error
from pages.widgets.shared.resources import all_checkpoints, run_manager, trainings
from pages.widgets.train.run_form import time_needed

QUEUED = "report-queued"


def show_retraining(what: str, key: str) -> None:
    """A button that opens the settings, the time needed here, and the button that queues it.

    Args:
        what: a key of RETRAINED.
        key: of its widgets.
    """
    method, epochs = RETRAINED[what]
    with st.container(horizontal=True, vertical_alignment="center"):
        with st.popover(
            "Train this again", icon=":material/model_training:", key=key, on_change="rerun"
        ) as opened:
            if opened.open:
                with errors_as_messages():
                    _offer(what, key)
        _going_on(method, epochs)
        if (queued := st.session_state.get(f"{QUEUED}-{key}")) is not None:
            _tell(queued)


def _offer(what: str, key: str) -> None:
    """The settings and the button, or what is missing."""
    if not full_data_available():
        st.info(
            "Training needs all of CIFAR-10. Get it on the Home page, or with "
            "`python -m dverge data`.",
            icon=":material/download:",
        )
        st.page_link("pages/home.py", label="Get CIFAR-10", icon=":material/arrow_forward:")
        return
    infos = all_checkpoints()[0]
    seed = retraining(what, infos).seed
    chosen = st.number_input(
        "Seed",
        0,
        2**31 - 1,
        seed,
        key=f"{key}-seed",
        help="Of all that is random. Another one gives a further sample, whose spread the table "
        "then shows.",
    )
    config = retraining(what, infos, int(chosen))
    st.markdown(_words(what, config))
    st.button(
        "Queue this training",
        icon=":material/play_arrow:",
        type="primary",
        key=f"{key}-start",
        on_click=_start,
        args=(what, config, key),
    )
    st.caption(time_needed(config))


def _words(what: str, config: TrainingConfig) -> str:
    """What is trained."""
    start = getattr(config, "start", "")
    words = f"{method_title(config.method)}, {config.epochs} epochs, {config.members} submodels"
    began = f", from **{start}**" if start else ", from fresh weights"
    settings = "the tuned settings" if what == TUNED else "all settings as the report has them"
    return f"{words}{began}; {settings}."


def _start(what: str, config: TrainingConfig, key: str) -> None:
    """Callback of the button: a click is not lost where a rerun is under way."""
    taken = {info.name for info in checkpoints.list_all()[0]}
    taken |= {view.spec.name for view in run_manager().views()}
    try:
        name = retraining_name(what, config, taken)
        run_manager().submit(config, name)
        st.session_state[f"{QUEUED}-{key}"] = name
    except DvergeError as error:
        st.session_state[f"{QUEUED}-{key}"] = error


def _tell(queued: str | DvergeError) -> None:
    """What came of the button."""
    if isinstance(queued, DvergeError):
        show_error(queued)
    else:
        st.markdown(f":green[:material/check_circle:] **{queued}** is queued.")
        _link()


def _going_on(method: str, epochs: int) -> None:
    """Trainings of the same kind that are not at their end."""
    for view in trainings():
        same = (view.spec.kind, view.spec.config.get("epochs")) == (method, epochs)
        if same and view.status.state.active:
            st.caption(
                f"{view.spec.name} is {view.status.state}: epoch {view.status.epoch:.0f} of "
                f"{epochs}."
            )
            _link()


def _link() -> None:
    st.page_link("pages/train.py", label="Watch it", icon=":material/arrow_forward:")
