"""The attack lab's tab that goes through an attack step by step."""

from __future__ import annotations

from contextlib import suppress

import streamlit as st

from dverge.attacks import AttackConfig, StrongConfig
from dverge.charts.lab import course_chart, course_frame, loss_chart, loss_frame, objective_title
from dverge.charts.style import VERDICT_SIGNS
from dverge.checkpoints import CheckpointInfo
from dverge.errors import DvergeError
from dverge.exploration.examine import Examination
from pages.widgets.lab.view import (
    LabView,
    attempt_line,
    each_ensemble,
    perturbation_scale,
    picture_sheet,
)
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
    last = _last_step(view)
    if not last:
        st.caption("The attack took no step: every victim is wrong where it begins.")
        each_ensemble(view, view.attack, lambda info: _show_step(view, info, 0))
        return
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
    each_ensemble(view, view.attack, lambda info: _show_step(view, info, step))
    if changed:
        # The whole page, for how often a fragment runs is set outside it. Only after everything
        # is drawn, so that the browser knows the slider's last position.
        st.rerun()


def _last_step(view: LabView) -> int:
    """The steps of the attack; of the strong attack, which stops early, those of the longest."""
    if isinstance(view.choice.config, AttackConfig):
        return view.choice.config.steps
    steps = [0]
    for info in view.infos:
        with suppress(DvergeError):  # shown in the ensemble's own card
            steps.append(len(view.outcome(info).course.images) - 1)
    return max(steps)


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
    losses, colour = loss_frame(whole), colour_of(info)
    step = min(step, len(losses) - 1)
    outcome, name = whole.at(step), objective_title(whole.config)
    verdict, value = outcome.mixture, f"{losses['loss'][step]:.2f}"
    aim = "" if whole.target is None else " and the target"
    is_strong = isinstance(whole.config, StrongConfig)
    st.markdown(
        f"Step {step} of {len(losses) - 1}: {VERDICT_SIGNS[verdict]} {outcome.mixture_words()}, "
        f"{f'margin {value}' if is_strong else f'loss {value} nats'}."
    )
    show_pictures(outcome, perturbation_scale(whole))
    left, right = st.columns(2)
    left.altair_chart(
        course_chart(course_frame(whole), colour, step),
        key=f"course-{info.name}",
        alt=f"Probability that each model of {info.name} gives the true class{aim}, by step",
    )
    right.altair_chart(
        loss_chart(losses, colour, step, name),
        key=f"loss-{info.name}",
        alt=f"{name} of the victim in {info.name}, by step",
    )
    st.caption(_about_lines(whole))
    offer_files(
        f"{view.file_stem(info)}-step-{step}",
        {"PNG": (lambda: picture_sheet(outcome, info, view.image), "The pictures at this step.")},
        f"step-{info.name}",
    )


def _about_lines(whole: Examination) -> str:
    """What the charts of an attack's course show."""
    text = "Thick: the mixture; thin: its submodels. "
    if whole.target is not None:
        text += "Solid: the true class; dashed: the target. "
    if isinstance(whole.config, StrongConfig):
        text += (
            "The margin is how far the score of the wrong class that the attack raises is above "
            f"that of the true class. {attempt_line(whole)}"
        )
        return text.strip()
    aim = "target" if whole.config.targeted else "true class"
    return f"{text}The loss is the victim's cross-entropy to the {aim}."
