"""A small matrix of answers: who was attacked or imitated, and what each model then says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import streamlit as st

from pages.widgets.shared.cards import is_dark


@dataclass(frozen=True)
class Cell:
    """One answer.

    Attributes:
        kind: holds, fooled or wrong: good for the defence, bad, or neither; its colour.
        sign: what says the same without colour.
        text: the class said.
        percent: the probability given to it, 0–100.
    """

    kind: str
    sign: str
    text: str
    percent: float


def show_matrix(
    corner: str, across: str, rows: Sequence[str], columns: Sequence[str], cells: list[list[Cell]]
) -> None:
    """The cells as a table with headings.

    Args:
        corner: what the rows are.
        across: what the columns are.
        rows, columns: their names; a last column called mixture stands out.
        cells: one list a row.
    """
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in columns)
    lines = "".join(
        f'<tr><th scope="row">{escape(name)}</th>{"".join(map(_cell, line))}</tr>'
        for name, line in zip(rows, cells, strict=True)
    )
    theme = "dark" if is_dark() else "light"
    st.html(
        f'<div class="dv dv-scroll {theme}"><table class="dv-matrix"><thead>'
        f'<tr><td></td><th colspan="{len(columns)}" scope="colgroup">{escape(across)}</th></tr>'
        f'<tr><th scope="col">{escape(corner)}</th>{heads}</tr></thead>'
        f"<tbody>{lines}</tbody></table></div>"
    )


def _cell(cell: Cell) -> str:
    return (
        f'<td class="{cell.kind}"><b>{cell.sign} {escape(cell.text)}</b>'
        f"<span>{cell.percent:.0f} %</span></td>"
    )
