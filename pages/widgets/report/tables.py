"""The report's tables beside ours, and its claims with their verdicts, as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import streamlit as st

from dverge.charts.report_document import (
    OUTCOME_TITLES,
    PROTOCOL_DIFFERENCES,
    SOURCE_TITLES,
    compared_text,
    finding_text,
    quote_text,
    training_text,
)
from dverge.charts.reproduction import auto_columns, column_title
from dverge.checkpoints import CheckpointInfo
from dverge.evaluation.naming import victim_title
from dverge.evaluation.protocols import Protocol
from dverge.reproduction.claims import HISTORY, Answer, Finding, Part, Verdict
from dverge.reproduction.drawn import drawn_mean
from dverge.reproduction.matching import Cell, Reproduction, TableLine
from dverge.reproduction.printed import COLUMNS
from dverge.results import MIXTURE_NAME, Result
from pages.widgets.shared.cards import is_dark
from pages.widgets.shared.resources import colour_of

SOURCES = {
    "report": "As printed",
    "here": "Our weights under the report's protocol, with the 95 % interval",
    "standard": "Our weights under the standard protocol, with the 95 % interval",
}
SIGNS = {
    True: ("✓", "holds", "our interval covers the printed figure"),
    False: ("≠", "fooled", "our interval does not cover the printed figure"),
}
ANSWERS = {
    Answer.HOLDS: ("✓", "holds"),
    Answer.ONLY_AS_REPORTED: ("◐", "partly"),
    Answer.FAILS: ("✕", "fooled"),
    Answer.OPEN: ("○", "wrong"),
}
NOT_PRINTED = "Mixtures that the report does not show"


# --- tables ---


def show_tables(reproduction: Reproduction) -> None:
    """Tables 1 to 3 under one head, and then the mixtures that the report lacks."""
    groups = []
    for table in reproduction.tables:
        lines = [line for line in reproduction.lines(table) if line.printed]
        groups.append((table.printed.title, training_text(reproduction, table), lines))
    lacking = [line for line in reproduction.mixtures if not line.printed]
    groups.append((NOT_PRINTED, "On the same images.", lacking))
    auto = auto_columns([line for _, _, lines in groups for line in lines])
    body = "".join(
        _group(title, text, len(auto)) + "".join(_line(line, auto) for line in lines)
        for title, text, lines in groups
    )
    html(
        '<div class="dv-scroll" tabindex="0" role="region" aria-label="Tables 1 to 3">'
        f'<table class="dv-report"><thead>{_heads(auto)}</thead><tbody>{body}</tbody></table></div>'
    )


def _group(title: str, text: str, auto: int) -> str:
    span = 1 + len(SOURCES) * len(COLUMNS) + auto
    return (
        f'<tr class="group"><th colspan="{span}" scope="colgroup"><div><b>{escape(title)}</b> '
        f"<small>{escape(text)}</small></div></th></tr>"
    )


def _heads(auto: Sequence[str]) -> str:
    groups = [(column_title(column), len(SOURCES)) for column in COLUMNS]
    groups += [("AutoAttack", len(auto))] if auto else []
    first = "".join(
        f'<th colspan="{span}" scope="colgroup" title="{escape(PROTOCOL_DIFFERENCES[title])}">'
        f"{escape(title)}</th>"
        for title, span in groups
    )
    second = "".join(
        f'<th class="{source}" scope="col" title="{escape(text)}">{source}'
        f"{_measured_by(column) if source == 'standard' else ''}</th>"
        for column in COLUMNS
        for source, text in SOURCES.items()
    )
    for i, column in enumerate(auto):
        title = column_title(column, Protocol.AUTOATTACK).removeprefix("AutoAttack ")
        second += f'<th class="{"auto" if i else "auto first"}" scope="col">{escape(title)}</th>'
    return f"<tr><td></td>{first}</tr><tr><td></td>{second}</tr>"


def _measured_by(column: str) -> str:
    """The standard protocol's attack in a column, where it has an attack."""
    title = column_title(column, Protocol.STANDARD)
    return "" if column == "clean" else f"<small>{escape(title)}</small>"


def _line(line: TableLine, auto: Sequence[str]) -> str:
    cells = ""
    for column in COLUMNS:
        cells += f'<td class="report">{_printed(line, column)}</td>'
        for source, protocol in (("here", Protocol.REPORT), ("standard", Protocol.STANDARD)):
            cells += f'<td class="{source}">{_cell(line.cell(protocol, column))}</td>'
    for i, column in enumerate(auto):
        kind = "auto" if i else "auto first"
        cells += f'<td class="{kind}">{_cell(line.cell(Protocol.AUTOATTACK, column))}</td>'
    title, mixture = escape(line.title), line.model == MIXTURE_NAME
    if mixture and line.table.trained:
        colour = colour_of(line.table.trained[0].info)
        title = f'<i class="dot" style="background:{colour}"></i>{title}'
    return f'<tr class="{"mixture" if mixture else ""}"><th scope="row">{title}</th>{cells}</tr>'


def _printed(line: TableLine, column: str) -> str:
    """The printed figure, and whether our interval covers it."""
    text, covered = line.as_printed(column), line.is_reproduced(column)
    if covered is None:
        return text
    sign, kind, meaning = SIGNS[covered]
    return (
        f'{text} <i class="{kind}" role="img" aria-label="{meaning}" title="{meaning}">{sign}</i>'
    )


def _cell(cell: Cell | None) -> str:
    """Our figure with its interval; the results of each training in the tooltip."""
    if cell is None:
        return "–"
    title = escape("; ".join(map(_source, cell.results)), quote=True)
    return f'<span title="{title}"><b>{cell.mean:.1f}</b><small>{cell.interval}</small></span>'


def _source(result: Result) -> str:
    victim = result.parameters.get("victim", "")
    about = f", {victim_title(victim)}" if victim and victim != result.model else ""
    if (result.protocol, result.attack) == (Protocol.REPORT, "clean"):
        about += f" (mean of ten draws of 256, as the report's: {drawn_mean(result):.1f} %)"
    return (
        f"{result.checkpoint}: {result.accuracy:.1f} % ({result.ci_low:.1f}–{result.ci_high:.1f}) "
        f"of {result.n:,} {result.split} images, protocol {result.protocol}{about}"
    )


def show_names(infos: Sequence[CheckpointInfo]) -> None:
    """The names of ensembles, each with its colour."""
    names = "".join(
        f'<span><i style="background:{colour_of(info)}"></i>{escape(info.name)}</span>'
        for info in infos
    )
    html(f'<div class="dv-legend">{names}</div>')


# --- claims ---


def show_claims(verdicts: Sequence[Verdict]) -> None:
    """A row for each claim: verdict, claim and quote, what is compared, and the numbers."""
    titles = [SOURCE_TITLES[source] for source in (Protocol.REPORT, Protocol.STANDARD)]
    heads = ("Verdict", "Claim", "What is compared", *titles)
    head = "".join(f'<th scope="col">{title}</th>' for title in heads)
    body = "".join(map(_row, verdicts))
    html(f'<table class="dv-claims"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>')


def _row(verdict: Verdict) -> str:
    claim, outcome = verdict.claim, verdict.outcome
    sign, kind = ANSWERS[outcome]
    why = f"<p>{escape(claim.why)}</p>" if claim.why and outcome is not Answer.HOLDS else ""
    compared = f"<summary>{escape(compared_text(claim))}</summary>"
    return (
        f'<tr><td class="{kind}"><i aria-hidden="true">{sign}</i> {OUTCOME_TITLES[outcome]}</td>'
        f'<th scope="row"><b>{escape(claim.text)}</b><q>{escape(quote_text(claim))}</q></th>'
        f"<td><details>{compared}<p>{escape(claim.rule)}</p>{why}</details></td>"
        f"{_numbers(verdict)}</tr>"
    )


def _numbers(verdict: Verdict) -> str:
    """The cells of both protocols; one over both for claims about the course of a training."""
    findings = {finding.source: finding for finding in verdict.findings}
    if HISTORY in findings:
        return f'<td colspan="2">{_finding(findings[HISTORY])}</td>'
    cells = ""
    for source in (str(Protocol.REPORT), str(Protocol.STANDARD)):
        cell = _finding(findings[source]) if source in findings else "–"
        cells += f'<td data-title="{SOURCE_TITLES[source]}">{cell}</td>'
    return cells


def _finding(finding: Finding) -> str:
    """The answer and the numbers; what they are computed from opens below them."""
    details = [f"<li>{escape(text)}</li>" for part in finding.parts for text in part.details]
    parts = " ".join(map(_part, finding.parts)) or escape(finding_text(finding))
    body = f"{_chip(finding.answer, str(finding.answer))} {parts}"
    if not details:
        return body
    return f"<details><summary>{body}</summary><ul>{''.join(details)}</ul></details>"


def _part(part: Part) -> str:
    sign, kind = ANSWERS[part.answer]
    mark = f'<i class="{kind}" role="img" aria-label="{part.answer}">{sign}</i>'
    return f"<span>{mark} {escape(part.title)} {escape(part.text).replace(' %', '&nbsp;%')}</span>"


def _chip(answer: Answer, text: str) -> str:
    sign, kind = ANSWERS[answer]
    return f'<span class="chip {kind}"><i aria-hidden="true">{sign}</i> {text}</span>'


def html(body: str) -> None:
    """HTML in the theme's colours."""
    st.html(f'<div class="dv {"dark" if is_dark() else "light"}">{body}</div>')
