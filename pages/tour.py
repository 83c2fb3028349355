"""Tour: seven pictures that explain it, to look at or to present."""

from __future__ import annotations

import streamlit as st

from dverge.exploration.tour import ATTACK, Tour, checkpoints_of, read_tour
from pages.widgets.shared.messages import errors_as_messages
from pages.widgets.shared.navigation import enter_through_app
from pages.widgets.tour.steps import STEPS, TourView

STEP = "tour-step"


def choose_step() -> int:
    """Back, the steps, and next, always in the same place; returns the step to show, from 1."""
    with st.container(horizontal=True, vertical_alignment="center"):
        back, steps, forward = (st.container(width="content") for _ in range(3))
    with steps:
        step = st.pagination(len(STEPS), key=STEP, bind="query-params", max_visible_pages=None)
    back.button(
        "Back",
        icon=":material/arrow_back:",
        on_click=_go,
        args=(-1,),
        disabled=step == 1,
        shortcut="Left",
    )
    forward.button(
        "Next",
        icon=":material/arrow_forward:",
        type="primary",
        on_click=_go,
        args=(1,),
        disabled=step == len(STEPS),
        shortcut="Right",
    )
    return step


def _go(by: int) -> None:
    st.session_state[STEP] = min(max(st.session_state[STEP] + by, 1), len(STEPS))


def show_origin(tour: Tour) -> None:
    """How the picture was chosen."""
    st.caption(
        f"Test image {tour.image}, PGD L∞ eps 8/255, {ATTACK.steps} steps, no random start, "
        f"computed now. Chosen by code: of the {tour.looked_at} bundled images that all submodels "
        f"of the three ensembles classify correctly, {tour.fitting} show every step of this tour. "
        "Most show less, so read the large figures, which are measured on many images."
    )


enter_through_app()
step = STEPS[choose_step() - 1]
st.title(step.title, anchor=False)
with errors_as_messages():
    tour = read_tour()
    step.show(TourView(tour, *checkpoints_of(tour)))
    if step.about_the_image:
        show_origin(tour)
