"""Train: start trainings, watch their curves, compare all of them."""

from __future__ import annotations

import streamlit as st

from pages.widgets.shared.messages import errors_as_messages
from pages.widgets.shared.navigation import enter_through_app
from pages.widgets.shared.resources import all_checkpoints, trainings
from pages.widgets.shared.run_cards import SPANS, show_run
from pages.widgets.train.run_form import run_form
from pages.widgets.train.run_table import all_trainings, show_broken, show_trainings

REFRESH = 1.0  # seconds between updates of an active run
NEWS = "checkpoints-just-made"


def live_runs(log: bool, span: int, active: tuple[str, ...]) -> None:
    """The cards of runs that are active or resumable; one page rerun when an active one ends."""
    with errors_as_messages():
        views = trainings()
        if tuple(view.id for view in views if view.status.state.active) != active:
            done = [view for view in views if view.id in active and view.status.checkpoint]
            st.session_state[NEWS] = [
                (view.status.checkpoint, view.spec.config.get("start", "")) for view in done
            ]
            st.rerun()
        for view in views:
            if view.status.state.active or view.status.state.resumable:
                show_run(view, log, span)


def curve_switches() -> tuple[bool, int]:
    """How all curves on the page are drawn: whether on a log axis, and over how many to smooth."""
    with st.container(horizontal=True, horizontal_alignment="right", vertical_alignment="center"):
        log = st.toggle("Log axis", key="log-axis", persist_state="session", help="For the losses.")
        smoothing = st.segmented_control(
            "Smoothing",
            list(SPANS),
            default="no smoothing",
            required=True,
            key="smoothing",
            persist_state="session",
            label_visibility="collapsed",
        )
    return log, SPANS[smoothing]


def show_news() -> None:
    """What has just finished, and a link to attack it beside what it started from."""
    for name, start in st.session_state.get(NEWS, []):
        beside = [info.name for info in all_checkpoints()[0] if info.name == start]
        with st.container(border=True, horizontal=True, vertical_alignment="center"):
            st.markdown(f":green[:material/check_circle:] **{name}** is trained and ready.")
            st.page_link(
                "pages/lab.py",
                label=f"Attack it beside {start}" if beside else "Attack it",
                icon=":material/experiment:",
                query_params=[("ensembles", each) for each in [*beside, name]],
            )


enter_through_app()
st.title("Train", anchor=False)
show_news()
views = trainings()
active = tuple(view.id for view in views if view.status.state.active)
cards = st.container()
with st.container(border=True):
    st.subheader("New training", anchor=False)
    st.fragment(run_form, parallel=True)()
infos, broken = all_checkpoints()
listed = all_trainings(views, infos)
if listed:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.subheader("All trainings", anchor=False, width="content")
        log, span = curve_switches()
    show_trainings(listed, log, span)
    with cards:
        st.fragment(live_runs, run_every=REFRESH if active else None)(log, span, active)
else:
    st.caption("No trainings yet: start one above, and its curves appear here as they grow.")
show_broken(views, broken)
