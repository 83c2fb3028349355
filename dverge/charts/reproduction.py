"""The report's tables beside ours: as frames, and as one picture of all cells."""

from __future__ import annotations

import math
from collections.abc import Sequence

import altair as alt
import pandas as pd

from dverge.charts.style import METHOD_COLOURS
from dverge.evaluation.naming import attack_title
from dverge.evaluation.protocols import Protocol
from dverge.reproduction.ablation import Variant
from dverge.reproduction.reproduction import Line, Reproduction, Spread, TableAgain
from dverge.reproduction.tables import COLUMNS
from dverge.reproduction.trained import AUTO_COLUMNS, SETTINGS

NO_FIGURE = "–"
MARK = "#8A8F98"
AGREEMENT_HEIGHT = 380
SOURCES = {"here": Protocol.REPORT, "standard": Protocol.STANDARD}


def auto_columns(lines: Sequence[Line]) -> list[str]:
    """The columns of AutoAttack that any line has a figure in."""
    return [c for c in AUTO_COLUMNS if any(line.cell(Protocol.AUTOATTACK, c) for line in lines)]


def column_title(column: str, protocol: Protocol = Protocol.REPORT) -> str:
    """A column's attack; with its setting where the protocol is not the report's."""
    if protocol is Protocol.REPORT:
        return attack_title(column, {})
    return attack_title(column, SETTINGS[protocol][column])


def again_frame(lines: Sequence[Line]) -> pd.DataFrame:
    """A table beside ours, as texts: a line a model; what was printed, ours, and the standard's.

    Ours are per cent with their 95 % interval, or the mean over trainings with their spread.
    """
    rows = []
    for line in lines:
        row = {"Model": line.title}
        for column in COLUMNS:
            title = column_title(column)
            row[f"{title}: report"] = line.as_printed(column)
            for source, protocol in SOURCES.items():
                row[f"{title}: {source}"] = _text(line.cell(protocol, column))
        for column in auto_columns(lines):
            title = column_title(column, Protocol.AUTOATTACK)
            row[title] = _text(line.cell(Protocol.AUTOATTACK, column))
        rows.append(row)
    return pd.DataFrame(rows)


def _text(cell: Spread | None) -> str:
    return NO_FIGURE if cell is None else str(cell)


def ablation_frame(variants: Sequence[Variant]) -> pd.DataFrame:
    """What matters in the tuned recipe, as texts: a line a variant, per cent with intervals."""
    return pd.DataFrame(
        [
            {"Recipe": variant.title}
            | {
                attack_title(each.attack, each.parameters): f"{each.accuracy:.1f} "
                f"({each.ci_low:.1f}–{each.ci_high:.1f})"
                for each in variant.figures
            }
            for variant in variants
        ]
    )


def cell_frame(found: Reproduction) -> pd.DataFrame:
    """All cells, a line a figure, for other programs.

    Columns: table, epochs, model, attack, protocol ("printed" for the report's figure), accuracy,
    low, high in per cent, lowest and highest over trainings, trainings, checkpoints, images, split,
    comes_back (whether ours covers what was printed; of lines "report" only).
    """
    rows = []
    for table in found.tables:
        for line in found.lines(table):
            rows += _printed(table, line) + _measured(table, line)
    return pd.DataFrame(rows)


def _about(table: TableAgain, line: Line, column: str, protocol: str) -> dict[str, object]:
    return {
        "table": table.printed.number,
        "epochs": table.printed.epochs,
        "model": line.title,
        "attack": column,
        "protocol": protocol,
    }


def _printed(table: TableAgain, line: Line) -> list[dict[str, object]]:
    values = {column: line.value(column) for column in COLUMNS}
    return [
        {**_about(table, line, column, "printed"), "accuracy": value, "images": 1024}
        | {"split": "validation"}
        for column, value in values.items()
        if value is not None
    ]


def _measured(table: TableAgain, line: Line) -> list[dict[str, object]]:
    rows = []
    for protocol, columns in SETTINGS.items():
        for column in columns:
            cell = line.cell(protocol, column)
            if cell is None:
                continue
            figure = cell.rows[0]
            rows.append(
                {
                    **_about(table, line, column, str(protocol)),
                    "accuracy": cell.mean,
                    "low": cell.low,
                    "high": cell.high,
                    "lowest": min(cell.values),
                    "highest": max(cell.values),
                    "trainings": len(cell.rows),
                    "checkpoints": " ".join(row.checkpoint for row in cell.rows),
                    "images": figure.n,
                    "split": str(figure.split),
                    "comes_back": line.comes_back(column) if protocol == "report" else None,
                }
            )
    return rows


def agreement_frame(found: Reproduction) -> pd.DataFrame:
    """A row a printed cell that was measured here, in per cent.

    Columns: table, method, model, attack, printed, ours, low, high, verdict.
    """
    rows = [
        {
            "table": f"Table {table.printed.number}",
            "method": table.printed.method,
            "training": table.printed.title.partition(": ")[2],
            "model": line.title,
            "attack": column_title(column),
            "printed": line.value(column),
            "ours": cell.mean,
            "low": cell.low,
            "high": cell.high,
            "verdict": "comes back" if line.comes_back(column) else "outside",
        }
        for table in found.tables
        for line in found.lines(table)
        for column in COLUMNS
        if line.printed and (cell := line.cell(Protocol.REPORT, column)) is not None
    ]
    return pd.DataFrame(rows)


def agreement_chart(frame: pd.DataFrame) -> alt.LayerChart:
    """Ours against the printed figures: on the line they are equal; open where ours misses it."""
    methods = {row["table"]: METHOD_COLOURS[row["method"]] for row in frame.to_dict("records")}
    top = 5 * math.ceil(max(frame["high"].max(), frame["printed"].max()) / 5)
    scale, axis = alt.Scale(domain=[0, top], nice=False), alt.Axis(tickCount=7)
    base = alt.Chart(frame).encode(
        x=alt.X("printed:Q", title="Printed in the report (%)", scale=scale, axis=axis),
        color=alt.Color(
            "table:N",
            scale=alt.Scale(domain=list(methods), range=list(methods.values())),
            legend=alt.Legend(title=None, orient="top", symbolSize=90, symbolOpacity=1),
        ),
    )
    tooltip = [
        alt.Tooltip("training:N", title="Training"),
        alt.Tooltip("model:N", title="Model"),
        alt.Tooltip("attack:N", title="Attack"),
        alt.Tooltip("printed:Q", title="Printed (%)", format=".2f"),
        alt.Tooltip("ours:Q", title="Here (%)", format=".1f"),
        alt.Tooltip("low:Q", title="95 % from", format=".1f"),
        alt.Tooltip("high:Q", title="to", format=".1f"),
        alt.Tooltip("verdict:N", title="Verdict"),
    ]
    ours = alt.Y("ours:Q", title="Here, with 95 % interval (%)", scale=scale, axis=axis)
    ends = pd.DataFrame({"printed": [0, top], "ours": [0, top]})
    equal = alt.Chart(ends).mark_line(strokeDash=[4, 3], color=MARK, strokeWidth=1)
    spread = base.mark_rule(strokeWidth=1.3, opacity=0.6).encode(y="low:Q", y2="high:Q")
    marks = [
        base.transform_filter(f"datum.verdict == '{verdict}'")
        .mark_point(filled=filled, size=55, strokeWidth=1.8, opacity=1)
        .encode(y=ours, tooltip=tooltip)
        for verdict, filled in (("comes back", True), ("outside", False))
    ]
    lines = equal.encode(x=alt.X("printed:Q", scale=scale), y=alt.Y("ours:Q", scale=scale))
    return alt.LayerChart(layer=[lines, spread, *marks]).properties(height=AGREEMENT_HEIGHT)
