"""The probabilities of all ten classes, before and after an attack."""

from __future__ import annotations

import altair as alt
import pandas as pd

from dverge.data import CLASSES
from dverge.exploration.examine import Examination

HEIGHT = 250


def class_frame(examination: Examination, model: int) -> pd.DataFrame:
    """One row a class for one model (0 is the first member, the last is the mixture).

    Columns: class, before and after in per cent, role ("true class", "target" or "").
    """
    roles = {examination.label: "true class", examination.target: "target"}
    return pd.DataFrame(
        {
            "class": CLASSES,
            "before": 100 * examination.before[model].cpu().numpy(),
            "after": 100 * examination.after[model].cpu().numpy(),
            "role": [roles.get(i, "") for i in range(len(CLASSES))],
        }
    )


def class_chart(frame: pd.DataFrame, colour: str) -> alt.LayerChart:
    """A bar a class: pale and broad before the attack, solid and slim after it."""
    y = alt.Y(
        "class:N",
        sort=list(CLASSES),
        title=None,
        axis=alt.Axis(ticks=False, domain=False, labelLimit=90, labelOverlap=False),
    )
    axis = alt.Axis(values=[0, 50, 100], format="d", title=None, grid=True)
    scale = alt.Scale(domain=[0, 100])
    tooltip = [
        alt.Tooltip("class:N", title="Class"),
        alt.Tooltip("before:Q", title="Before (%)", format=".1f"),
        alt.Tooltip("after:Q", title="After (%)", format=".1f"),
        alt.Tooltip("role:N", title="Role"),
    ]
    base = alt.Chart(frame).encode(y=y, tooltip=tooltip)
    before = base.mark_bar(color=colour, opacity=0.3, height=14).encode(
        x=alt.X("before:Q", scale=scale, axis=axis)
    )
    after = base.mark_bar(color=colour, height=6).encode(x=alt.X("after:Q", scale=scale))
    return alt.LayerChart(layer=[before, after]).properties(height=HEIGHT)
