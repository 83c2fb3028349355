"""Robustness: what a method gains, measured; each figure with its images, protocol and interval."""

from __future__ import annotations

import streamlit as st

from dverge.charts.robustness import standing_chart, standing_frame
from dverge.evaluation.comparison import Standing, claims
from dverge.evaluation.protocols import Protocol
from dverge.results import MIXTURE_NAME, RANDOM_NAME
from pages.widgets.robustness.measuring import measure_form, offer, show_evaluations
from pages.widgets.robustness.tabs import show_robustness_tabs
from pages.widgets.robustness.view import View, choose_view
from pages.widgets.shared.messages import ask_for_an_ensemble, errors_as_messages, show_left_out
from pages.widgets.shared.navigation import begin_page


def show_summary(view: View) -> None:
    """The picture that shows what a method gains, and what can be claimed from it."""
    standings = view.standings()
    if not standings:
        return
    with st.grid(2, min_column_width=400, gap="large"):
        picture, text = st.container(), st.container()
    with picture:
        colours = {each.name: view.colours[each.name] for each in standings}
        st.altair_chart(
            standing_chart(standing_frame(standings), colours, view.attack),
            key="standing",
            alt=f"Accuracy under {view.attack} against accuracy without attack",
        )
        drawn = any(RANDOM_NAME in each.robust for each in standings)
        random = "Diamond: a submodel drawn at random for each query. " if drawn else ""
        st.caption(
            f"Large and solid: the mixture. Circles: its submodels. {random}Up and to the right "
            "is better."
        )
    with text:
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
            f"On {view.images.title}, the same for all{_settings(standings[0])}. The 95 % "
            "intervals cover the choice of images only: each ensemble was trained once, so the "
            "variation between trainings is not in them."
        )


def _settings(standing: Standing) -> str:
    """The attack's further settings, to end a sentence with."""
    parameters = standing.robust[MIXTURE_NAME].parameters
    seed = f", seed {parameters['seed']}" if "seed" in parameters else ""
    restarts = parameters.get("restarts", 1)
    return seed + (f", the worst of {restarts} random starts" if restarts > 1 else "")


available, broken = begin_page("Robustness")
with st.sidebar:
    view = choose_view(available)
show_evaluations()
with errors_as_messages():
    if not view.infos:
        ask_for_an_ensemble()
        st.stop()
    with st.container(key="summary"):
        show_summary(view)
    if len(view.standings()) < len(view.infos):
        offer(view.infos, Protocol.STANDARD, view.images, "Robustness under the standard protocol")
    show_robustness_tabs(view)
section = st.expander("Measure", icon=":material/speed:", on_change="rerun", key="measure-section")
if section.open:
    with section:
        measure_form(view.infos)
show_left_out(broken)
