"""The attack lab's tab that goes through an attack step by step."""

from __future__ import annotations

import streamlit as st

from dverge.charts.lab import course_chart, course_frame, loss_chart, loss_frame
from dverge.charts.style import VERDICT_SIGNS
from dverge.checkpoints import CheckpointInfo
from dverge.exploration.examine import MIXTURE_WORDS
from pages.widgets.lab.view import LabView, each_ensemble, perturbation_scale, picture_sheet
from pages.widgets.shared.cards import offer_files, show_pictures
from pages.widgets.shared.resources import colour_of

PLAYING, STEP = "lab-playing", "lab-step"
TICK = 0.6  # seconds per step while it plays


def show_steps(view: LabView) -> None:
    """The attack's iterates, to slide through or play."""
    playing = st.session_state.get(PLAYING, False)
    st.fragment(_show_all, run_every=TICK if playing else None)(view, playing)


def _show_all(view: LabView, was_playing: bool) -> None:
    changed = st.session_state.get(PLAYING, False) != was_playing
    last = view.choice.config.steps
    _advance(last)
    playing = st.session_state.get(PLAYING, False)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.button(
            "Pause" if playing else "Play",
            icon=":material/pause:" if playing else ":material/play_arrow:",
            key="lab-play",
            on_click=_toggle,
            args=(last,),
            width=110,
            shortcut="P",
        )
        step = st.slider(
            "Step",
            0,
            last,
            key=STEP,
            bind="query-params",
            help="0 is where the attack begins: the clean image, or a random point near it.",
        )
    each_ensemble(view, lambda info: _show_step(view, info, step))
    if changed:
        # The whole page, for how often a fragment runs is set outside it. Only after everything
        # is drawn, so that the browser knows the slider's last position.
        st.rerun()


def _toggle(last: int) -> None:
    """Play, from the start when at the end, or pause."""
    playing = st.session_state[PLAYING] = not st.session_state.get(PLAYING, False)
    if playing and st.session_state.get(STEP, last) >= last:
        st.session_state[STEP] = 0


def _advance(last: int) -> None:
    """Move one step on while it plays, and stop at the end. Keeps the slider within its range."""
    step = min(st.session_state.get(STEP, _step_in_address(last)), last)
    if st.session_state.get(PLAYING, False):
        step = min(step + 1, last)
        st.session_state[PLAYING] = step < last
    st.session_state[STEP] = step


def _step_in_address(last: int) -> int:
    """The step that the page's address names; the last one if it names none."""
    text = st.query_params.get(STEP, "")
    return int(text) if text.isascii() and text.isdigit() else last


def _show_step(view: LabView, info: CheckpointInfo, step: int) -> None:
    whole = view.outcome(info)
    outcome, losses, colour = whole.at(step), loss_frame(whole), colour_of(info)
    verdict = outcome.mixture
    st.markdown(
        f"Step {step} of {len(losses) - 1}: {VERDICT_SIGNS[verdict]} {MIXTURE_WORDS[verdict]}, "
        f"loss {losses['loss'][step]:.2f} nats."
    )
    show_pictures(outcome, perturbation_scale(whole))
    left, right = st.columns(2)
    left.altair_chart(
        course_chart(course_frame(whole), colour, step),
        key=f"course-{info.name}",
        alt=f"Probability that each model of {info.name} gives the true class, by step",
    )
    right.altair_chart(
        loss_chart(losses, colour, step),
        key=f"loss-{info.name}",
        alt=f"Loss of the victim in {info.name}, by step",
    )
    aim = "target" if whole.config.targeted else "true class"
    st.caption(
        f"Thick: the mixture; thin: its submodels. The loss is the victim's cross-entropy to the "
        f"{aim}."
    )
    offer_files(
        f"{view.file_stem(info)}-step-{step}",
        {"PNG": (lambda: picture_sheet(outcome, info, view.image), "The pictures at this step.")},
        f"step-{info.name}",
    )
