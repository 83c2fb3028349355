"""Small matrices with their numbers written in: transfer and diversity."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import pandas as pd
from torch import Tensor

CELL = 64


def matrix_frame(
    values: Tensor, rows: Sequence[str], columns: Sequence[str], low: Tensor, high: Tensor
) -> pd.DataFrame:
    """A row a cell of R×C values: row, column, value, and the ends of its 95 % interval."""
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
    """A heat map with its numbers, on a fixed scale, so that maps compare.

    Cells are so many px high, and blank where the value is NaN.

    More stands out from the ground: darker on a light page, lighter on a dark one.
    """
    rows, columns = list(dict.fromkeys(frame["row"])), list(dict.fromkeys(frame["column"]))
    form = f".{digits}f"
    angle = 0 if cell == CELL else -45  # room for long names over narrow cells
    filled = alt.Chart(frame).transform_filter("isValid(datum.value)")
    base = filled.encode(
        x=alt.X(
            "column:N",
            sort=columns,
            title=column_title,
            scale=alt.Scale(domain=columns),
            axis=alt.Axis(
                orient="top",
                labelAngle=angle,
                labelFlush=False,
                labelOverlap=False,
                ticks=False,
                domain=False,
            ),
        ),
        y=alt.Y("row:N", sort=rows, title=row_title, axis=alt.Axis(ticks=False, domain=False)),
        tooltip=[
            alt.Tooltip("row:N", title=row_title),
            alt.Tooltip("column:N", title=column_title),
            alt.Tooltip("value:Q", title=unit, format=f".{digits + 1}f"),
            alt.Tooltip("low:Q", title="95 % from", format=f".{digits + 1}f"),
            alt.Tooltip("high:Q", title="to", format=f".{digits + 1}f"),
        ],
    )
    scale = alt.Scale(domain=list(domain), clamp=True)
    shade = alt.Color("value:Q", scale=scale, legend=None)
    squares = base.mark_rect(cornerRadius=4).encode(color=shade)
    middle = (domain[0] + domain[1]) / 2
    strong, weak = ("#0F1419", "#E6EBF0") if dark else ("white", "#1B2733")
    ink = alt.condition(f"datum.value > {middle}", alt.value(strong), alt.value(weak))
    numbers = base.mark_text(fontSize=14, fontWeight=600).encode(
        text=alt.Text("value:Q", format=form), color=ink
    )
    return alt.LayerChart(layer=[squares, numbers]).properties(
        height=cell * len(rows) + (40 if cell == CELL else 90)
    )
