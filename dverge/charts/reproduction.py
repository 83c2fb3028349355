"""The report's tables and figures beside ours: as frames, and as pictures."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

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
from dverge.charts.style import METHOD_COLOURS, ensemble_colour
from dverge.evaluation.naming import attack_title
from dverge.evaluation.protocols import Protocol
from dverge.reproduction.ablation import Variant
from dverge.reproduction.matching import (
    Curves,
    ReproducedFigure,
    Reproduction,
    TableLine,
)
from dverge.reproduction.printed import AUTO_COLUMNS, COLUMNS, SETTINGS

MARK = "#8A8F98"
AGREEMENT_HEIGHT = 255
SAVED_WIDTH, SAVED_HEIGHT = 460, 320  # pixels of a panel that is saved
SOURCES = {"here": Protocol.REPORT, "standard": Protocol.STANDARD}
Panel = tuple[str, alt.Chart | alt.LayerChart]


# --- tables ---


def auto_columns(lines: Sequence[TableLine]) -> list[str]:
    """The columns of AutoAttack that any line has a result in."""
    return [c for c in AUTO_COLUMNS if any(line.cell(Protocol.AUTOATTACK, c) for line in lines)]


def column_title(column: str, protocol: Protocol = Protocol.REPORT) -> str:
    """A column's attack; with its setting where the protocol is not the report's."""
    return attack_title(*SETTINGS[protocol][column])


def table_frame(lines: Sequence[TableLine]) -> pd.DataFrame:
    """A table as texts, a row for each line: what is printed, ours, and the standard protocol's.

    Ours are per cent with the 95 % interval; over several trainings, see matching.Cell.
    """
    rows = []
    for line in lines:
        row = {"Model": line.title}
        for column in COLUMNS:
            title = column_title(column)
            row[f"{title}: report"] = line.as_printed(column)
            for source, protocol in SOURCES.items():
                row[f"{title}: {source}"] = str(line.cell(protocol, column) or "–")
        for column in auto_columns(lines):
            title = column_title(column, Protocol.AUTOATTACK)
            row[title] = str(line.cell(Protocol.AUTOATTACK, column) or "–")
        rows.append(row)
    return pd.DataFrame(rows)


def cell_frame(reproduction: Reproduction) -> pd.DataFrame:
    """All cells, a row for each figure, for other programs.

    Columns: table, epochs, model, attack, protocol ("printed" for the report's figure), accuracy,
    low, high in per cent, lowest and highest over trainings, trainings, checkpoints, images, split,
    reproduced (whether ours covers the printed figure; under protocol "report" only).
    """
    rows = []
    for table in reproduction.tables:
        about = {"table": table.printed.number, "epochs": table.printed.epochs}
        for line in reproduction.lines(table):
            rows += [about | {"model": line.title} | cell for cell in _cells(line)]
    return pd.DataFrame(rows)


def _cells(line: TableLine) -> list[dict[str, Any]]:
    """The figures of a line that the report prints, then ours under each protocol."""
    validation = {"images": 1024, "split": "validation"}  # the report's, always
    rows: list[dict[str, Any]] = [
        {"attack": column, "protocol": "printed", "accuracy": value} | validation
        for column in COLUMNS
        if (value := line.value(column)) is not None
    ]
    for protocol, columns in SETTINGS.items():
        for column in columns:
            if (cell := line.cell(protocol, column)) is not None:
                row = {
                    "attack": column,
                    "protocol": str(protocol),
                    "accuracy": cell.mean,
                    "low": cell.low,
                    "high": cell.high,
                    "lowest": min(cell.values),
                    "highest": max(cell.values),
                    "trainings": len(cell.results),
                    "checkpoints": " ".join(result.checkpoint for result in cell.results),
                    "images": cell.results[0].n,
                    "split": str(cell.results[0].split),
                }
                back = line.is_reproduced(column) if protocol is Protocol.REPORT else None
                rows.append(row | {"reproduced": back})
    return rows


def ablation_frame(variants: Sequence[Variant]) -> pd.DataFrame:
    """What matters in the tuned recipe, as texts: a row a variant, per cent with intervals."""
    rows = []
    for variant in variants:
        cells = {
            attack_title(r.attack, r.parameters): f"{r.accuracy:.1f} "
            f"({r.ci_low:.1f}–{r.ci_high:.1f})"
            for r in variant.figures
        }
        rows.append({"Recipe": variant.title} | cells)
    return pd.DataFrame(rows)


# --- agreement ---


def agreement_frame(reproduction: Reproduction) -> pd.DataFrame:
    """A row for each printed figure that was measured here, in per cent.

    Columns: table, method, training, model, attack, printed, ours, low, high, verdict.
    """
    rows = [
        {
            "table": f"Table {table.printed.number}",
            "method": table.printed.method,
            "training": table.printed.training,
            "model": line.title,
            "attack": column_title(column),
            "printed": line.value(column),
            "ours": cell.mean,
            "low": cell.low,
            "high": cell.high,
            "verdict": "reproduced" if line.is_reproduced(column) else "outside",
        }
        for table in reproduction.tables
        for line in reproduction.lines(table)
        for column in COLUMNS
        if line.printed and (cell := line.cell(Protocol.REPORT, column)) is not None
    ]
    return pd.DataFrame(rows)


def agreement_chart(frame: pd.DataFrame) -> alt.LayerChart:
    """Our figures against the printed ones, equal on the line; open where our interval misses."""
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
    line = equal.encode(x=alt.X("printed:Q", scale=scale), y=alt.Y("ours:Q", scale=scale))
    intervals = base.mark_rule(strokeWidth=1.3, opacity=0.6).encode(y="low:Q", y2="high:Q")
    marks = [
        base.transform_filter(f"datum.verdict == '{verdict}'")
        .mark_point(filled=filled, size=55, strokeWidth=1.8, opacity=1)
        .encode(y=ours, tooltip=tooltip)
        for verdict, filled in (("reproduced", True), ("outside", False))
    ]
    layers = [line, intervals, *marks]
    return alt.LayerChart(layer=layers).properties(height=AGREEMENT_HEIGHT)


# --- figures 2 to 4 ---


def figure_panels(figure: ReproducedFigure, legends: bool = True) -> list[Panel]:
    """A figure's curves: the training losses, then the validation losses; none without a training.

    The first training with its submodels; further ones as one line each, for the training loss the
    mean over submodels. Dots mark where each validation loss of the first is lowest; a dashed line
    marks the epoch that the report names.
    """
    if not figure.curves:
        return []
    return [(quantity, _panel(figure, quantity, legends)) for quantity in (TRAIN_LOSS, VAL_LOSS)]


def _panel(figure: ReproducedFigure, quantity: str, legends: bool) -> alt.Chart | alt.LayerChart:
    first, *others = figure.curves
    frame, colour = curve_frame(first.history), _colour(first)
    if not figure.printed.members_only:
        frame = frame[(frame["quantity"] == TRAIN_LOSS) | (frame["model"] == MIXTURE)]
    strip = layer_frame(first.history) if quantity == TRAIN_LOSS else None
    lines = run_curves(frame, quantity, colour, first.epochs, layers=strip)
    marks: list[alt.Chart] = []
    if others:
        beside = compared_frame({c.info.name: curve_frame(c.history) for c in others})
        marks.append(compared_curves(beside, quantity, {c.info.name: _colour(c) for c in others}))
    if not legends:
        submodels = lines.layer[0] if isinstance(lines, alt.LayerChart) else lines
        submodels.encoding.strokeDash.legend = submodels.encoding.x.title = None
        for mark in marks:
            mark.encoding.color.legend = mark.encoding.x.title = None
    if quantity == VAL_LOSS:
        marks.append(_lowest(frame, colour))
    named = figure.printed.turns.get(quantity.split()[0].lower())
    if named is not None and named <= first.epochs:
        marks += _named(named)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # all lines zoom as one, as they should
        chart = alt.layer(lines, *marks).resolve_scale(color="independent") if marks else lines
    return chart.properties(title=lines.title, height=SAVED_HEIGHT)


def figure_chart(figure: ReproducedFigure) -> alt.HConcatChart:
    """A figure's panels side by side, to be saved."""
    panels = [chart.properties(width=SAVED_WIDTH) for _, chart in figure_panels(figure)]
    names = ", ".join(each.info.name for each in figure.curves)
    title = alt.Title(f"Figure {figure.printed.number}: {names}", subtitle=figure.printed.caption)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # both panels zoom as one, as they should
        return alt.hconcat(*panels, title=title)


def _colour(curves: Curves) -> str:
    return ensemble_colour(curves.info.name, curves.info.card.method)


def _lowest(frame: pd.DataFrame, colour: str) -> alt.Chart:
    """A dot where each validation loss is lowest."""
    losses = frame[frame["quantity"] == VAL_LOSS]
    lowest = losses.loc[losses.groupby("model")["value"].idxmin()]
    tooltip = [
        alt.Tooltip("model:N", title="Lowest of"),
        alt.Tooltip("epoch:Q", title="Epoch", format=".0f"),
        alt.Tooltip("value:Q", title="Validation loss (nats)", format=".3f"),
    ]
    dots = alt.Chart(lowest).mark_point(filled=True, size=70, opacity=1, color=colour)
    return dots.encode(x="epoch:Q", y="value:Q", tooltip=tooltip)


def _named(epoch: int) -> list[alt.Chart]:
    """A dashed line at the epoch that the report names."""
    base = alt.Chart(pd.DataFrame({"epoch": [epoch], "text": [f"report: around {epoch}"]}))
    line = base.mark_rule(strokeDash=[4, 3], color=MARK).encode(x="epoch:Q")
    text = base.mark_text(align="right", dx=-5, baseline="top", color=MARK, fontSize=11)
    return [line, text.encode(x="epoch:Q", y=alt.value(2), text="text:N")]
