"""What the report states and what is found, as HTML: verdicts by sign, word and colour."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import streamlit as st

from dverge.charts.report_document import OUTCOME_TITLES, READING, UNDER, outcome_counts
from dverge.reproduction.statements import Finding, Judgement, Outcome, Statement, source_of
from pages.widgets.shared.cards import is_dark

MOST_IN_LINE = 2  # parts of a finding; more have a line each
LOOKS = {
    Judgement.HOLDS: ("✓", "holds"),
    Judgement.FAILS: ("✕", "fooled"),
    Judgement.OPEN: ("○", "wrong"),
}
HEADS = {
    Outcome.HOLDS: ("✓", "holds"),
    Outcome.ONLY_THEN: ("◐", "partly"),
    Outcome.FAILS: ("✕", "fooled"),
    Outcome.OPEN: ("○", "wrong"),
}


def show_all(statements: Sequence[Statement]) -> None:
    """Every statement, by what becomes of it."""
    st.markdown(f"{outcome_counts(statements)} {READING}")
    for outcome, title in OUTCOME_TITLES.items():
        those = [statement for statement in statements if statement.outcome is outcome]
        if those:
            sign, kind = HEADS[outcome]
            head = f'<h4 class="{kind}"><i aria-hidden="true">{sign}</i>{escape(title)}</h4>'
            html(f'<div class="dv-say">{head}{"".join(map(_article, those))}</div>')


def show_some(statements: Sequence[Statement]) -> None:
    """The statements on one figure."""
    html(f'<div class="dv-say">{"".join(map(_article, statements))}</div>')


def _article(statement: Statement) -> str:
    """The statement and the report's words; beside them what is found, and from what."""
    findings = "".join(map(_finding, statement.findings))
    why = ""
    if statement.why and statement.outcome is not Outcome.HOLDS:
        why = f'<p class="why">{escape(statement.why)}</p>'
    return (
        f'<article><div class="said"><b>{escape(statement.text)}</b>{_quote(statement)}</div>'
        f'<div class="found">{findings}{why}{_sources(statement)}</div></article>'
    )


def _quote(statement: Statement) -> str:
    if not statement.quote:
        return "<q>The report does not compare these.</q>"
    return (
        f"<q>“{escape(statement.quote)}”</q>"
        f"<cite>The report, section {escape(statement.section)}</cite>"
    )


def _finding(finding: Finding) -> str:
    sign, kind = LOOKS[finding.judgement]
    chip = f'<span class="chip {kind}"><i aria-hidden="true">{sign}</i>{finding.judgement}</span>'
    words = escape(finding.words).replace(" %", "&nbsp;%")
    if words.count("; ") > MOST_IN_LINE:
        words = "<br>" + words.replace("; ", "<br>")
    return f"<p>{chip} <em>{UNDER[finding.under]}.</em> {words}</p>"


def _sources(statement: Statement) -> str:
    """The rule, and the figures that the findings are computed from."""
    rows = {id(row): row for finding in statement.findings for row in finding.rows}
    items = "".join(f"<li>{escape(source_of(row))}</li>" for row in rows.values())
    figures = f"<ul>{items}</ul>" if items else ""
    count = f", and the {len(rows)} figures behind it" if rows else ""
    return (
        f"<details><summary>The rule{count}</summary><p>{escape(statement.rule)}</p>{figures}"
        "</details>"
    )


def html(body: str) -> None:
    """HTML in the theme's colours."""
    st.html(f'<div class="dv {"dark" if is_dark() else "light"}">{body}</div>')
