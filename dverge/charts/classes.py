"""Accuracy by class, before and under an attack."""

from __future__ import annotations

from collections.abc import Mapping

import altair as alt
import pandas as pd
from torch import Tensor

from dverge.charts.style import colour_by, interval_lines, name_axis, tooltip
from dverge.data import CLASSES
from dverge.evaluation.per_class import class_shares

ROW = 34  # px
STATES = ("without attack", "under attack")


def per_class_frame(counts: Mapping[str, tuple[Tensor, Tensor]]) -> pd.DataFrame:
    """A row for each ensemble, class and state: accuracy, low and high in per cent, and images.

    Args:
        counts: by ensemble, the confusion matrices without attack and under it.
    """
    rows = []
    for name, both in counts.items():
        for state, matrix in zip(STATES, both, strict=True):
            figures = [each.diagonal().tolist() for each in class_shares(matrix)]
            images = matrix.sum(1).tolist()
            for title, accuracy, low, high, n in zip(CLASSES, *figures, images, strict=True):
                rows.append((name, title, state, accuracy, low, high, n))
    columns = ["ensemble", "class", "state", "accuracy", "low", "high", "n"]
    return pd.DataFrame(rows, columns=columns).dropna(ignore_index=True)


def per_class_chart(frame: pd.DataFrame, colours: Mapping[str, str]) -> alt.LayerChart:
    """A line of dots for each class: open without attack, solid under it with its interval."""
    base = alt.Chart(frame).encode(
        y=alt.Y("class:N", sort=list(CLASSES), title=None, axis=name_axis()),
        yOffset=alt.YOffset("ensemble:N", sort=list(colours)),
        color=colour_by("ensemble:N", colours, columns=2, labelLimit=260, symbolSize=120),
        tooltip=tooltip(
            ("ensemble:N", "Ensemble"),
            ("class:N", "Class"),
            ("state:N", "State"),
            ("accuracy:Q", "Accuracy (%)", ".0f"),
            *interval_lines("low", "high", ".0f"),
            ("n:Q", "Images", ","),
        ),
    )
    x = alt.X(
        "accuracy:Q",
        title="Mixture's accuracy (%)",
        scale=alt.Scale(domain=[0, 100]),
        axis=alt.Axis(tickCount=6),
    )
    under = base.transform_filter(f"datum.state == '{STATES[1]}'")
    clean = base.transform_filter(f"datum.state == '{STATES[0]}'")
    layers = [
        under.mark_rule(strokeWidth=1.2, opacity=0.6).encode(
            x=alt.X("low:Q", title=None), x2="high:Q"
        ),
        clean.mark_point(filled=False, size=55, strokeWidth=1.6).encode(x=x),
        under.mark_point(filled=True, size=70, opacity=1).encode(x=x),
    ]
    height = len(CLASSES) * max(ROW, 12 * len(colours))
    return alt.LayerChart(layer=layers).properties(height=height)
