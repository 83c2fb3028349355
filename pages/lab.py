"""Attack lab: one image, one attack, every chosen ensemble side by side."""

from __future__ import annotations

import json

import pandas as pd
import streamlit as st

from dverge.charts.lab import class_chart, class_frame
from dverge.checkpoints import CheckpointInfo
from dverge.data import Split, load
from dverge.exploration.arrays import examination_npz
from dverge.exploration.examine import Examination, model_names
from dverge.exploration.snippet import snippet
from pages.widgets.lab.tabs import show_lab_tabs
from pages.widgets.lab.view import (
    DEFAULT_SCALE,
    SCALES,
    LabView,
    attempt_line,
    each_ensemble,
    perturbation_scale,
    picture_sheet,
)
from pages.widgets.shared.attack_form import attack_form, attack_query
from pages.widgets.shared.cards import Files, offer_files, show_answers, show_pictures, show_verdict
from pages.widgets.shared.ensemble_choice import choose_ensembles
from pages.widgets.shared.image_choice import choose_image
from pages.widgets.shared.images import data_in_use
from pages.widgets.shared.messages import ask_for_an_ensemble, errors_as_messages, show_left_out
from pages.widgets.shared.navigation import begin_page, show_link
from pages.widgets.shared.resources import colour_of

MOST_SIDE_BY_SIDE = 4
FIRST_METHODS = ("vanilla", "dverge", "dverge-advt")


def show_ensemble(view: LabView, info: CheckpointInfo) -> None:
    """One ensemble's card: verdict, pictures, answers, all classes, downloads."""
    outcome = view.outcome(info)
    show_verdict(outcome)
    show_pictures(outcome, perturbation_scale(outcome))
    show_answers(outcome, info)
    if line := attempt_line(outcome):
        st.caption(line)
    show_classes(outcome, info)
    show_downloads(outcome, info, view)


def show_classes(outcome: Examination, info: CheckpointInfo) -> None:
    """The probabilities of all ten classes, a small chart per model, drawn when opened."""
    section = st.expander("All ten classes", on_change="rerun", key=f"classes-{info.name}")
    if not section.open:
        return
    with section:
        st.caption("Probability in per cent: pale bars before the attack, solid bars after it.")
        with st.grid("auto", min_column_width=200):
            for i, name in enumerate(model_names(len(outcome.members))):
                with st.container(gap="xsmall"):
                    st.markdown(f"**{name.capitalize()}**")
                    st.altair_chart(
                        class_chart(class_frame(outcome, i), colour_of(info)),
                        key=f"classes-{info.name}-{i}",
                        alt=f"Probabilities of {name} for all classes, before and after",
                    )


def show_downloads(outcome: Examination, info: CheckpointInfo, view: LabView) -> None:
    """The pictures as PNG, everything about the view as JSON or CSV, and the code for it."""
    files: Files = {
        "PNG": (
            lambda: picture_sheet(outcome, info, view.image),
            "The three pictures, enlarged, with their settings. A PNG rounds pixels to 8 bits.",
        ),
        "NPZ": (
            lambda: examination_npz(outcome),
            "The exact clean and adversarial arrays, with label, target, attack, norm and eps.",
        ),
        "JSON": (
            lambda: record(outcome, info, view),
            "All settings, the seed, the checkpoint's digest and every probability.",
        ),
        "CSV": (
            lambda: answer_table(outcome),
            "Every verdict, and every probability before and after, by model and class.",
        ),
    }
    with st.container(horizontal=True, gap="small"):
        offer_files(view.file_stem(info), files, info.name, icons=False)
        with st.popover("Code", type="tertiary", key=f"code-{info.name}"):
            st.caption("This computes the same with the library, from the repository's folder.")
            st.code(code_for(outcome, info, view), language="python")


def record(outcome: Examination, info: CheckpointInfo, view: LabView) -> str:
    """Everything about an outcome as JSON."""
    checkpoint = {"name": info.name, "digest": info.digest, "method": info.card.method}
    return json.dumps(
        {"image": view.image.title, "checkpoint": checkpoint, **outcome.to_dict()}, indent=2
    )


def answer_table(outcome: Examination) -> str:
    """One line per model and class, as CSV: probabilities in per cent before and after."""
    models = zip(model_names(len(outcome.members)), outcome.verdicts, strict=True)
    frames = [
        class_frame(outcome, i).assign(model=name, verdict=verdict)
        for i, (name, verdict) in enumerate(models)
    ]
    columns = ["model", "verdict", "class", "role", "before", "after"]
    return pd.concat(frames)[columns].to_csv(index=False)


def code_for(outcome: Examination, info: CheckpointInfo, view: LabView) -> str:
    """Python code that computes an outcome with the library."""
    number, bundled = view.image.number, load(Split.SAMPLE).indices.tolist()
    split = Split.SAMPLE if number in bundled else Split.TEST
    image = None if number is None else (split, number)
    config, victim = outcome.config, outcome.victim
    return snippet(info.name, outcome.label, config, victim, outcome.target, image)


available, broken = begin_page("Attack lab")
answer = st.container()

with st.sidebar:
    image = choose_image()
    chosen = choose_ensembles(
        available, FIRST_METHODS, MOST_SIDE_BY_SIDE, "side by side; each is attacked separately"
    )
    choice = None
    with errors_as_messages():
        choice = attack_form(max((len(info.card.members) for info in chosen), default=3))
    st.segmented_control(
        "Perturbation scale (± of 255)",
        list(SCALES),
        default=DEFAULT_SCALE,
        required=True,
        key="scale",
        bind="query-params",
        help="The change at the ends of the colour scale; grey is none. Fixed scales make pictures "
        "comparable; fit takes the largest change.",
    )

with answer:
    if not chosen:
        ask_for_an_ensemble()
    elif choice is not None:
        view = LabView(tuple(chosen), image, choice)
        each_ensemble(view, view.attack, lambda info: show_ensemble(view, info))
        st.caption(
            f"{image.title.capitalize()}. Images: {data_in_use()}. One image says nothing about "
            "accuracy."
        )
        if image.number is not None:
            query = attack_query(choice, image.number, [info.name for info in chosen])
            show_link("regions", "See this as decision regions", query)
        show_lab_tabs(view)

show_left_out(broken)
