"""A table of the report beside ours, as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import streamlit as st

from dverge.charts.reproduction import auto_columns, column_title
from dverge.evaluation.naming import victim_title
from dverge.evaluation.protocols import Protocol
from dverge.reproduction.reproduction import Line, Spread
from dverge.reproduction.tables import COLUMNS
from pages.widgets.report.claims import html
from pages.widgets.shared.resources import colour_of

SIGNS = {
    True: ("✓", "back", "our interval holds the printed figure"),
    False: ("≠", "off", "our interval does not hold the printed figure"),
}
SOURCES = (("report", None), ("here", Protocol.REPORT), ("standard", Protocol.STANDARD))
SOURCE_HELP = {
    "report": "As printed",
    "here": "Our weights under the report's protocol, with the 95 % interval",
    "standard": "Our weights under the standard protocol, with the 95 % interval",
}


def show_table(lines: Sequence[Line]) -> None:
    """Lines of models; a group of three columns an attack, and AutoAttack where there is any."""
    auto = auto_columns(lines)
    body = "".join(_line(line, auto) for line in lines)
    html(
        '<div class="dv-scroll"><table class="dv-report"><thead>'
        f"{_heads(auto)}</thead><tbody>{body}</tbody></table></div>"
    )


def show_legend() -> None:
    """What the signs and the small print in the tables mean."""
    st.caption(
        "Accuracies in per cent. **report**: as printed. **here**: our weights under the same "
        "protocol. **standard**: the same weights under the standard protocol. Below each figure "
        "of ours: its 95 % interval, or, of several trainings, the lowest and the highest. "
        "✓ our interval holds the printed figure. ≠ it does not."
    )


def _heads(auto: Sequence[str]) -> str:
    groups = [(column_title(column), len(SOURCES)) for column in COLUMNS]
    groups += [("AutoAttack", len(auto))] if auto else []
    first = "".join(
        f'<th colspan="{span}" scope="colgroup">{escape(title)}</th>' for title, span in groups
    )
    second = "".join(
        f'<th class="{source}" scope="col" title="{escape(SOURCE_HELP[source])}">{source}</th>'
        for _ in COLUMNS
        for source, _ in SOURCES
    )
    for i, column in enumerate(auto):
        title = column_title(column, Protocol.AUTOATTACK).removeprefix("AutoAttack ")
        second += f'<th class="{"auto" if i else "auto first"}" scope="col">{escape(title)}</th>'
    return f"<tr><td></td>{first}</tr><tr><td></td>{second}</tr>"


def _line(line: Line, auto: Sequence[str]) -> str:
    cells = []
    for column in COLUMNS:
        for source, protocol in SOURCES:
            if protocol is None:
                cells.append(f'<td class="report">{_printed(line, column)}</td>')
            else:
                cells.append(f'<td class="{source}">{_cell(line.cell(protocol, column))}</td>')
    for i, column in enumerate(auto):
        kind = "auto" if i else "auto first"
        cells.append(f'<td class="{kind}">{_cell(line.cell(Protocol.AUTOATTACK, column))}</td>')
    title = escape(line.title)
    if line.baseline:
        colour = _colour(line)
        title = f'<i class="dot" style="background:{colour}"></i>{title}'
    kind = "baseline" if line.baseline else "mixture" if line.model == "mixture" else ""
    return f'<tr class="{kind}"><th scope="row">{title}</th>{"".join(cells)}</tr>'


def _colour(line: Line) -> str:
    """The first ensemble's, as on every page."""
    infos = [trained.info for trained in line.of.trained]
    return colour_of(infos[0]) if infos else ""


def _printed(line: Line, column: str) -> str:
    """The printed figure, and whether ours covers it."""
    text, verdict = line.as_printed(column), line.comes_back(column)
    if verdict is None:
        return text
    sign, kind, words = SIGNS[verdict]
    return f'{text} <i class="{kind}" role="img" aria-label="{words}" title="{words}">{sign}</i>'


def _cell(cell: Spread | None) -> str:
    """A figure of ours, its interval or spread, and in its tooltip all that it is of."""
    if cell is None:
        return "–"
    title = escape("; ".join(_source(cell, i) for i in range(len(cell.rows))), quote=True)
    return f'<span title="{title}"><b>{cell.mean:.1f}</b><small>{cell.range}</small></span>'


def _source(cell: Spread, index: int) -> str:
    row = cell.rows[index]
    figure = row
    follows = figure.parameters.get("victim", "")
    about = f", {victim_title(follows)}" if follows and follows != figure.model else ""
    return (
        f"{row.checkpoint}: {figure.accuracy:.1f} % ({figure.ci_low:.1f}–{figure.ci_high:.1f}) of "
        f"{figure.n:,} {figure.split} images, protocol {row.protocol}{about}"
    )
