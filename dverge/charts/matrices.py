"""Small matrices with their numbers written in: transfer, diversity, targeted attacks."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import pandas as pd
from torch import Tensor

from dverge.charts.style import GROUNDS, INKS, interval_lines, name_axis, tooltip

CELL = 64  # px


def matrix_frame(
    values: Tensor, rows: Sequence[str], columns: Sequence[str], low: Tensor, high: Tensor
) -> pd.DataFrame:
    """A row for each cell of R×C values: row, column, value, and the ends of its 95 % interval."""
    cells = [
        (row, column, *(float(each[i, j]) for each in (values, low, high)))
        for i, row in enumerate(rows)
        for j, column in enumerate(columns)
    ]
    return pd.DataFrame(cells, columns=["row", "column", "value", "low", "high"])


def matrix_chart(
    frame: pd.DataFrame,
    row_title: str,
    column_title: str,
    unit: str,
    domain: tuple[float, float],
    digits: int = 0,
    dark: bool = False,
    cell: int = CELL,
) -> alt.LayerChart:
    """A heat map with its numbers; cells whose value is NaN are blank.

    Args:
        frame: see matrix_frame.
        row_title, column_title: of the axes.
        unit: of the values, for the tooltip.
        domain: the ends of the colour scale, fixed so that maps can be compared. The larger a
            value, the darker its cell on a light page and the lighter on a dark one.
        digits: decimals of the numbers.
        dark: the page's ground.
        cell: height of a cell in px.
    """
    rows, columns = list(dict.fromkeys(frame["row"])), list(dict.fromkeys(frame["column"]))
    angle, head = (0, 40) if cell == CELL else (-45, 90)  # room for long names over narrow cells
    finer = f".{digits + 1}f"
    base = alt.Chart(frame).transform_filter("isValid(datum.value)")
    base = base.encode(
        x=alt.X(
            "column:N",
            sort=columns,
            title=column_title,
            scale=alt.Scale(domain=columns),
            axis=name_axis(orient="top", labelAngle=angle, labelFlush=False, labelOverlap=False),
        ),
        y=alt.Y("row:N", sort=rows, title=row_title, axis=name_axis()),
        tooltip=tooltip(
            ("row:N", row_title),
            ("column:N", column_title),
            ("value:Q", unit, finer),
            *interval_lines("low", "high", finer),
        ),
    )
    scale = alt.Scale(domain=list(domain), clamp=True)
    squares = base.mark_rect(cornerRadius=4).encode(
        color=alt.Color("value:Q", scale=scale, legend=None)
    )
    strong, weak = (GROUNDS[True], INKS[True]) if dark else ("white", INKS[False])
    middle = (domain[0] + domain[1]) / 2
    ink = alt.condition(f"datum.value > {middle}", alt.value(strong), alt.value(weak))
    numbers = base.mark_text(fontSize=14, fontWeight=600).encode(
        text=alt.Text("value:Q", format=f".{digits}f"), color=ink
    )
    height = cell * len(rows) + head
    return alt.LayerChart(layer=[squares, numbers]).properties(height=height)
