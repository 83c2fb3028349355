"""The report: its tables, figures and claims beside ours."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import streamlit as st

from dverge.charts.report_document import (
    DEFINITION,
    READING,
    differences_markdown,
    headline,
    images_text,
    outcome_counts,
    report_latex,
    report_markdown,
    report_values,
)
from dverge.charts.reproduction import (
    Panel,
    ablation_frame,
    agreement_chart,
    agreement_frame,
    cell_frame,
    figure_panels,
)
from dverge.checkpoints import CheckpointInfo
from dverge.data import Split, full_data_available, load
from dverge.evaluation.autoattack import autoattack_available
from dverge.evaluation.protocols import Protocol
from dverge.evaluation.store import Images, results_stamp
from dverge.reproduction.ablation import VARIANTS, about, read_ablation
from dverge.reproduction.claims import Verdict, judge_all
from dverge.reproduction.matching import ReproducedFigure, Reproduction, reproduce
from dverge.reproduction.printed import PAPER, REPORT, SETTINGS
from dverge.reproduction.unseen import unseen_text
from dverge.results import MIXTURE_NAME
from pages.widgets.report.retrain import retraining_popover, show_queued
from pages.widgets.report.tables import show_claims, show_names, show_tables
from pages.widgets.robustness.measuring import offer, show_evaluations
from pages.widgets.robustness.view import usual_images
from pages.widgets.shared.messages import (
    errors_as_messages,
    show_left_out,
)
from pages.widgets.shared.navigation import begin_page
from pages.widgets.shared.resources import BY_CONTENT, results_of

CONTENTS = (
    "[Tables 1 to 3](#tables) · [Figures 2 to 4](#figures) · "
    "[What holds, and what does not](#what-holds)"
)
LEGEND = (
    "Accuracies in per cent. **report**: as printed. **here**: our weights under its protocol. "
    "**standard**: the same weights under the standard protocol. Below each of ours: its 95 % "
    "interval; of several trainings, from the lowest end to the highest. ✓ the interval in *here* "
    "covers the printed figure, ≠ it does not."
)
PADDING = {"left": 0, "right": 14, "top": 5, "bottom": 0}  # the last epoch's label needs room
PANEL_HEIGHT = 165
PROTOCOL_TITLES = {
    Protocol.REPORT: "The report's protocol",
    Protocol.STANDARD: "The standard protocol",
    Protocol.AUTOATTACK: "AutoAttack",
}


def reproduction_of(infos: Sequence[CheckpointInfo]) -> tuple[Reproduction, list[Verdict]]:
    """Tables, figures and verdicts, computed again when a checkpoint or its results change."""
    return _reproduction(infos, [(str(info.folder), results_stamp(info)) for info in infos])


@st.cache_resource(max_entries=4, show_spinner=False, hash_funcs=BY_CONTENT)
def _reproduction(
    infos: Sequence[CheckpointInfo], stamps: object
) -> tuple[Reproduction, list[Verdict]]:
    reproduction = reproduce(infos, results_of)  # names its checkpoints, so folders count, too
    return reproduction, judge_all(reproduction)


def show_answer(reproduction: Reproduction, verdicts: Sequence[Verdict]) -> None:
    """How much of the report is reproduced, in a sentence and a picture."""
    frame = agreement_frame(reproduction)
    with st.grid(2, min_column_width=380, gap="large"):
        text, picture = st.container(), st.container()
    if not frame.empty:
        picture.altair_chart(
            agreement_chart(frame),
            key="agreement",
            alt="Our figures against those printed in the report",
        )
    with text:
        st.subheader(headline(reproduction), anchor=False)
        st.markdown(outcome_counts(verdicts))
        st.caption(f"{DEFINITION} In the picture, open dots are those that are not reproduced.")
        show_downloads(reproduction, verdicts)


def show_downloads(reproduction: Reproduction, verdicts: Sequence[Verdict]) -> None:
    """All of the page, as files."""
    files = {
        "Markdown": (lambda: report_markdown(reproduction, verdicts), "md", "text/markdown"),
        "LaTeX": (lambda: report_latex(reproduction), "tex", "text/plain"),
        "CSV": (lambda: cell_frame(reproduction).to_csv(index=False), "csv", "text/csv"),
        "JSON": (
            lambda: json.dumps(report_values(reproduction, verdicts), indent=2),
            "json",
            "application/json",
        ),
    }
    with st.container(horizontal=True):
        for title, (make, ending, mime) in files.items():
            st.download_button(
                title,
                make,
                f"report.{ending}",
                mime,
                icon=":material/download:",
                key=f"report-{ending}",
                on_click="ignore",
            )


def show_more(reproduction: Reproduction) -> None:
    """What can be done about the tables, and what explains them, each behind a button."""
    with st.container(horizontal=True):
        retraining_popover()
        measuring_popover(reproduction)
        with st.popover("Why figures differ", icon=":material/help:"):
            st.markdown(differences_markdown())
        popover = st.popover("What matters in the tuned recipe", icon=":material/tune:")
        with popover, errors_as_messages():
            variants = read_ablation()
            st.table(ablation_frame(variants).set_index("Recipe"))
            measured = f"{len(variants)} of {len(VARIANTS)} measured"
            st.caption(f"{about(variants)} {measured}, by `python -m dverge ablation`.")
            st.caption(unseen_text(reproduction))
    show_queued()


def measuring_popover(reproduction: Reproduction) -> None:
    """Offers to measure what the tables lack; nothing is timed before it is opened."""
    titles = dict(PROTOCOL_TITLES)
    if not autoattack_available():
        titles.pop(Protocol.AUTOATTACK)
    trained = [each for group in reproduction.groups for each in group.trained]
    lacking = [
        p
        for p in titles
        if any((p, MIXTURE_NAME, c) not in each.results for each in trained for c in SETTINGS[p])
    ]
    if not lacking:
        return
    with st.popover(
        "Measure what is missing", icon=":material/speed:", on_change="rerun", key="report-missing"
    ) as opened:
        if opened.open:
            infos = list({each.info.name: each.info for each in trained}.values())
            for protocol in lacking:
                if (images := images_for(reproduction, protocol)) is not None:
                    offer(infos, protocol, images, titles[protocol])
                    continue
                st.info(
                    "The report's protocol is about its validation images, which come with the "
                    "full data set: *Get CIFAR-10* on the Home page.",
                    icon=":material/download:",
                )


def images_for(reproduction: Reproduction, protocol: Protocol) -> Images | None:
    """The images that the others were measured on, or the usual ones; None if they are not here."""
    if protocol is Protocol.REPORT and not full_data_available():
        return None
    if (images := reproduction.images.get(protocol)) is not None:
        return images
    return usual_images() if protocol is not Protocol.REPORT else Images.of(load(Split.VALIDATION))


def show_figures(figures: Sequence[ReproducedFigure]) -> None:
    """Figures 2 to 4 side by side, each with training losses above validation losses."""
    with st.grid(3, min_column_width=360, gap="medium"):
        places = [st.container() for _ in figures]
    for figure, place in zip(figures, places, strict=True):
        with place:
            show_figure(figure)


def show_figure(figure: ReproducedFigure) -> None:
    printed, number = figure.printed, figure.printed.number
    st.markdown(f"**Figure {number}**", help=f"In the report: {printed.caption}.")
    if not figure.curves:
        st.caption("There is no training of this kind here yet.")
        return
    first = figure.curves[0]
    for quantity, chart in _panels(figure):
        st.altair_chart(
            chart,
            key=f"figure-{number}-{quantity}",
            alt=f"Figure {number}: {quantity} of {first.info.name} against epochs",
        )
    show_names([each.info for each in figure.curves])
    if not figure.whole:
        missing = f"There is no training of {printed.epochs} epochs here yet"
        st.caption(f"{missing}; this one has {first.epochs}.")


def _curves_shown(figure: ReproducedFigure) -> tuple[Any, ...]:
    return figure.printed.number, *((c.info.name, c.info.digest, c.epochs) for c in figure.curves)


@st.cache_resource(
    max_entries=8,
    show_spinner=False,
    hash_funcs=BY_CONTENT | {ReproducedFigure: _curves_shown},
)
def _panels(figure: ReproducedFigure) -> list[Panel]:
    """The charts; they take a quarter of a second to build."""
    return [
        (quantity, chart.properties(padding=PADDING, height=PANEL_HEIGHT))
        for quantity, chart in figure_panels(figure, legends=False)
    ]


available, broken = begin_page("The report")
show_evaluations()
with errors_as_messages():
    reproduction, verdicts = reproduction_of(available)
    st.caption(f"{REPORT}. Its method: {PAPER}.")
    st.markdown(CONTENTS)
    show_answer(reproduction, verdicts)
    st.subheader("Tables 1 to 3", anchor="tables")
    st.caption(f"{LEGEND} {images_text(reproduction)}")
    show_tables(reproduction)
    show_more(reproduction)
    st.subheader("Figures 2 to 4", anchor="figures")
    st.caption(
        "Losses against epochs; the report prints no data of its figures, so only ours are drawn. "
        "Thin: submodels. Thick: the mixture. Dots: the lowest losses on the 1,024 validation "
        "images. Second colour: another training, the mean of its submodels or its mixture. Strip: "
        "the layer that each epoch distilled from, 1 dark to 5 bright."
    )
    show_figures(reproduction.figures)
    st.subheader("What holds, and what does not", anchor="what-holds")
    st.caption(READING)
    show_claims(verdicts)
show_left_out(broken)
