"""Robustness: what a method buys, measured; every figure with its images, protocol and interval."""

from __future__ import annotations

import streamlit as st

from dverge.charts.robustness import standing_chart, standing_frame
from dverge.evaluation.comparison import Standing, claims
from dverge.evaluation.protocols import Protocol
from dverge.results import MIXTURE_NAME
from pages.widgets.robustness.measuring import measure_form, offer, show_evaluations
from pages.widgets.robustness.tabs import show_robustness_tabs
from pages.widgets.robustness.view import View, choose_view
from pages.widgets.shared.messages import (
    errors_as_messages,
    show_left_out,
    stop_without_checkpoints,
)
from pages.widgets.shared.navigation import enter_through_app
from pages.widgets.shared.resources import all_checkpoints


def show_summary(view: View) -> None:
    """The picture that answers what a method buys, and what can be claimed from it."""
    standings = view.standings()
    if not standings:
        return
    with st.grid(2, min_column_width=400, gap="large"):
        picture, words = st.container(), st.container()
    with picture:
        frame = standing_frame(standings)
        colours = {s.name: view.colours[s.name] for s in standings}
        st.altair_chart(
            standing_chart(frame, colours, view.attack),
            key="standing",
            alt=f"Accuracy under {view.attack} against accuracy without attack",
        )
        st.caption(
            "Large and solid: the mixture. Circles: its submodels. Diamond: a submodel drawn at "
            "random for each query. Up and to the right is better."
        )
    with words:
        st.subheader("What can be claimed", anchor=False)
        named = {standing.name: standing for standing in standings}
        baseline = named.get(view.baseline.name) if view.baseline else None
        if baseline is None:
            st.info("There is no vanilla ensemble to compare with.", icon=":material/balance:")
        else:
            others = [standing for standing in standings if standing is not baseline]
            for sentence in claims(baseline, others, view.attack):
                st.markdown(f"- {sentence}")
        st.caption(
            f"On {view.images.title}, the same for all{_settings(standings[0])}. Intervals, 95 %, "
            "are about the choice of images; each ensemble is one training, so chance in training "
            "is not in them."
        )


def _settings(standing: Standing) -> str:
    """What else the attack was set to."""
    about = standing.robust[MIXTURE_NAME].parameters
    words = [f"seed {about['seed']}"] if "seed" in about else []
    if about.get("restarts", 1) > 1:
        words.append(f"the worst of {about['restarts']} random starts")
    return "".join(f", {each}" for each in words)


enter_through_app()
st.title("Robustness", anchor=False)
available, broken = all_checkpoints()
if not available:
    stop_without_checkpoints()
with st.sidebar:
    view = choose_view(available)
show_evaluations()
with errors_as_messages():
    if not view.infos:
        st.info("Choose at least one ensemble on the left.", icon=":material/arrow_back:")
        st.stop()
    with st.container(key="summary"):
        show_summary(view)
    offer(view.infos, Protocol.STANDARD, view.images, "Robustness under the standard protocol")
    show_robustness_tabs(view)
section = st.expander("Measure", icon=":material/speed:", on_change="rerun", key="measure-section")
if section.open:
    with section:
        measure_form(view.infos)
show_left_out(broken)
