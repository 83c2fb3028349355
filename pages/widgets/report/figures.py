"""Figures 2 to 4 of the report, drawn from our trainings' histories."""

from __future__ import annotations

import altair as alt
import streamlit as st

from dverge.charts.report_curves import figure_panels, trainings_panels
from dverge.reproduction.figures import FigureAgain
from pages.widgets.report.claims import show_some

Chart = alt.Chart | alt.LayerChart
PADDING = {"left": 0, "right": 14, "top": 5, "bottom": 0}  # the last epoch's label needs room


def show_figure(again: FigureAgain) -> None:
    """Our curves, and whether they bear out what the report says of its own."""
    printed = again.printed
    st.caption(f"In the report: {printed.caption}. It prints no data, so only ours is drawn.")
    if again.curves:
        _curves(again)
    show_some(again.statements)


def _curves(again: FigureAgain) -> None:
    number, first = again.printed.number, again.curves[0]
    if not again.whole:
        st.info(
            f"There is no training of {again.printed.epochs} epochs here yet; this is "
            f"**{first.info.name}**, of {first.epochs}.",
            icon=":material/hourglass_empty:",
        )
    with st.grid(2, min_column_width=360):
        key = (number, tuple((each.info.name, each.info.digest) for each in again.curves))
        panels, all_panels = _panels(key, again)
        for quantity, chart in panels:
            st.altair_chart(
                chart,
                key=f"figure-{number}-{quantity}",
                alt=f"Figure {number}: {quantity} of {first.info.name} against epochs",
            )
        for quantity, chart in all_panels:
            st.altair_chart(
                chart,
                key=f"figure-{number}-all-{quantity}",
                alt=f"Figure {number}: {quantity} of all trainings against epochs",
            )
    st.caption(_reading(again))


@st.cache_resource(max_entries=8, show_spinner=False)
def _panels(
    key: tuple[int, tuple[tuple[str, str], ...]], _again: FigureAgain
) -> tuple[list[tuple[str, Chart]], list[tuple[str, Chart]]]:
    """The charts, of the first training and of all: to build them takes a quarter of a second."""
    panels = [
        (quantity, chart.properties(padding=PADDING)) for quantity, chart in figure_panels(_again)
    ]
    return panels, list(trainings_panels(_again))


def _reading(again: FigureAgain) -> str:
    """How to read the curves."""
    first = again.curves[0]
    words = [f"{first.info.name}, seed {first.info.card.seed}."]
    words.append("Validation losses are of the 1,024 validation images; a dot marks the lowest.")
    if first.info.card.config.get("layer") == "epoch":
        words.append(
            "The strip under the training loss: which layer each epoch distilled from, 1 dark to "
            "5 bright."
        )
    if len(again.curves) > 1:
        words.append(
            f"Below: {len(again.curves)} trainings over each other; training loss: mean over "
            "submodels, validation loss: the mixture's."
        )
    return " ".join(words)
