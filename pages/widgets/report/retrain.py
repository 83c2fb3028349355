"""Training one of the report's ensembles again, with the same settings, on this machine."""

from __future__ import annotations

import streamlit as st

from dverge import checkpoints
from dverge.charts.style import method_title
from dverge.errors import DvergeError
from dverge.runs import RETRAINED, TUNED, retraining, retraining_name
from dverge.training import TrainingConfig
from pages.widgets.shared.messages import errors_as_messages, show_error, training_lacks_data
from pages.widgets.shared.resources import all_checkpoints, run_manager, trainings
from pages.widgets.train.run_form import time_needed

QUEUED = "retrain-queued"


def retraining_popover() -> None:
    """A button that opens the choice of a training, the time needed, and the button to queue it."""
    with st.popover(
        "Train this again", icon=":material/model_training:", key="retrain", on_change="rerun"
    ) as opened:
        if opened.open:
            with errors_as_messages():
                _offer()


def show_queued() -> None:
    """The training that was queued here last, and those of the report's kinds that go on."""
    queued = st.session_state.get(QUEUED)
    if isinstance(queued, DvergeError):
        show_error(queued)
    elif queued is not None:
        st.markdown(f":green[:material/check_circle:] **{queued}** is queued.")
    kinds = {(str(method), epochs) for method, epochs in RETRAINED.values()}
    views = [view for view in trainings() if view.status.state.active]
    active = [v for v in views if (v.spec.kind, v.spec.config.get("epochs")) in kinds]
    for view in active:
        epochs = view.spec.config["epochs"]
        st.caption(
            f"{view.spec.name} is {view.status.state}: epoch {view.status.epoch:.0f} of {epochs}."
        )
    if active or isinstance(queued, str):
        st.page_link("pages/train.py", label="Watch it", icon=":material/arrow_forward:")


def _offer() -> None:
    """The choice and the button, or what is missing."""
    if training_lacks_data():
        return
    what = st.selectbox("Training", RETRAINED, format_func=_title, key="retrain-what")
    infos = all_checkpoints()[0]
    seed = st.number_input(
        "Seed",
        0,
        2**31 - 1,
        retraining(what, infos).seed,
        key=f"retrain-seed-{what}",
        help="Of all that is random. Another one gives a further sample; the table then shows the "
        "mean and the interval over all.",
    )
    config = retraining(what, infos, int(seed))
    st.markdown(_description(what, config))
    st.button(
        "Queue this training",
        icon=":material/play_arrow:",
        type="primary",
        key="retrain-start",
        on_click=_start,
        args=(what, config),
    )
    st.caption(time_needed(config))


def _title(what: str) -> str:
    method, epochs = RETRAINED[what]
    name = "The tuned recipe" if what == TUNED else what.replace("-", " ").capitalize()
    return f"{name}: {method_title(method)}, {epochs} epochs"


def _description(what: str, config: TrainingConfig) -> str:
    """What is trained."""
    start = getattr(config, "start", "")
    start_text = f"from **{start}**" if start else "from fresh weights"
    settings = "the tuned settings" if what == TUNED else "all settings as the report has them"
    return (
        f"{method_title(config.method)}, {config.epochs} epochs, {config.members} submodels, "
        f"{start_text}; {settings}."
    )


def _start(what: str, config: TrainingConfig) -> None:
    """Callback of the button, so that no click is lost while the page reruns."""
    taken = {info.name for info in checkpoints.list_all()[0]}
    taken |= {view.spec.name for view in run_manager().views()}
    try:
        name = retraining_name(what, config, taken)
        run_manager().submit(config, name)
        st.session_state[QUEUED] = name
    except DvergeError as error:
        st.session_state[QUEUED] = error
