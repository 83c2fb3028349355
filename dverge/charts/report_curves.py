"""The curves of the report's Figures 2 to 4."""

from __future__ import annotations

import warnings

import altair as alt
import pandas as pd

from dverge.charts.curves import (
    MIXTURE,
    TRAIN_LOSS,
    VAL_LOSS,
    compared_curves,
    compared_frame,
    curve_frame,
    layer_frame,
    run_curves,
)
from dverge.charts.style import ensemble_colour
from dverge.reproduction.figures import FigureAgain
from dverge.reproduction.learning import Curves

MARK = "#8A8F98"
PANEL_HEIGHT = 320
SAVED_WIDTH = 460  # pixels of a panel that is saved


def figure_panels(again: FigureAgain) -> list[tuple[str, alt.Chart | alt.LayerChart]]:
    """A figure's curves of its first training: training losses, then validation losses.

    Dots mark where each validation loss is lowest; a dashed line the epoch that the report names.
    Empty if there is no training.
    """
    if not again.curves:
        return []
    first = again.curves[0]
    frame, colour = curve_frame(first.history), _colour(first)
    if not again.printed.members_only:
        frame = frame[(frame["quantity"] == TRAIN_LOSS) | (frame["model"] == MIXTURE)]
    panels: list[tuple[str, alt.Chart | alt.LayerChart]] = []
    for quantity in (TRAIN_LOSS, VAL_LOSS):
        strip = layer_frame(first.history) if quantity == TRAIN_LOSS else None
        lines = run_curves(frame, quantity, colour, first.epochs, layers=strip)
        marks = _lowest(frame, colour) if quantity == VAL_LOSS else []
        named = again.printed.turns.get(quantity.split()[0].lower())
        if named is not None and named <= first.epochs:
            marks += _named(named)
        chart = alt.layer(lines, *marks).resolve_scale(color="independent") if marks else lines
        panels.append((quantity, chart.properties(title=lines.title, height=PANEL_HEIGHT)))
    return panels


def trainings_panels(again: FigureAgain) -> list[tuple[str, alt.Chart]]:
    """The curves of several trainings over each other; empty if there is but one."""
    if len(again.curves) < 2:
        return []
    frames = {each.info.name: curve_frame(each.history) for each in again.curves}
    colours = {each.info.name: _colour(each) for each in again.curves}
    frame = compared_frame(frames)
    return [(q, compared_curves(frame, q, colours)) for q in (TRAIN_LOSS, VAL_LOSS)]


def figure_chart(again: FigureAgain) -> alt.HConcatChart:
    """A figure's panels side by side, to be saved."""
    panels = [chart.properties(width=SAVED_WIDTH) for _, chart in figure_panels(again)]
    named = ", ".join(each.info.name for each in again.curves[:1])
    title = alt.Title(f"Figure {again.printed.number}: {named}", subtitle=again.printed.caption)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # both panels zoom as one, as they should
        return alt.hconcat(*panels, title=title)


def _colour(curves: Curves) -> str:
    return ensemble_colour(curves.info.name, curves.info.card.method)


def _lowest(frame: pd.DataFrame, colour: str) -> list[alt.Chart]:
    """A dot where each validation loss is lowest."""
    losses = frame[frame["quantity"] == VAL_LOSS]
    at = losses.loc[losses.groupby("model")["value"].idxmin()]
    tooltip = [
        alt.Tooltip("model:N", title="Lowest of"),
        alt.Tooltip("epoch:Q", title="Epoch", format=".0f"),
        alt.Tooltip("value:Q", title="Validation loss (nats)", format=".3f"),
    ]
    dots = alt.Chart(at).mark_point(filled=True, size=70, opacity=1, color=colour)
    return [dots.encode(x="epoch:Q", y="value:Q", tooltip=tooltip)]


def _named(epoch: int) -> list[alt.Chart]:
    """A dashed line at the epoch that the report names."""
    base = alt.Chart(pd.DataFrame({"epoch": [epoch], "text": [f"report: around {epoch}"]}))
    line = base.mark_rule(strokeDash=[4, 3], color=MARK).encode(x="epoch:Q")
    words = base.mark_text(align="right", dx=-5, baseline="top", color=MARK, fontSize=11)
    return [line, words.encode(x="epoch:Q", y=alt.value(2), text="text:N")]
