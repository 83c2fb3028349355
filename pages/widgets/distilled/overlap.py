"""Overlap and Eq. 2 of the shown pair and of many: whether what one pair shows is typical."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import streamlit as st

from dverge.evaluation.naming import distillation_title
from dverge.exploration.distilled import Distilled
from dverge.exploration.overlap import Mean, Overlap
from pages.widgets.distilled.pairs import SCALE_NOTE, choose_pairs, overlap_of
from pages.widgets.distilled.view import Features
from pages.widgets.shared.cards import show_html
from pages.widgets.shared.messages import errors_as_messages


def show_overlap(features: Features) -> None:
    """The overlap of the pair; on demand also of many pairs, and how the shown one compares."""
    st.subheader("Is this pair typical?", anchor=False)
    _show_pair([(info.name, each) for info, each in features if each.members > 1])
    section = st.expander(
        "Measure many pairs", icon=":material/speed:", on_change="rerun", key="many-pairs"
    )
    if section.open:
        with section, errors_as_messages():
            _show_many(features)
    st.page_link(
        "pages/robustness.py",
        label="Overlap and Eq. 2 between every two submodels, on the Robustness page",
        icon=":material/shield:",
        query_params={"robust-tabs": "Diversity"},
    )


def _show_pair(named: Sequence[tuple[str, Distilled]]) -> None:
    """Both figures of the pair on each ensemble of several members."""
    if not named:
        st.markdown("Overlap and Eq. 2 compare submodels; there is only one.")
        return
    counts = [(name, each.counts()) for name, each in named]
    shares = [f"{100 * c.others / c.others_of:.0f} % in {name}" for name, c in counts]
    losses = [f"{each.loss():.2f} nats in {name}" for name, each in named]
    st.markdown(
        f"On this pair the overlap is {' and '.join(shares)}; Eq. 2 is {' and '.join(losses)}."
    )
    wrong = [name for name, each in named if not each.is_correct]
    st.caption(
        f"All layers, {distillation_title(named[0][1].config)}. The overlap is the share of "
        "features that another submodel takes for the target: lower means fewer shared "
        "weaknesses. Eq. 2 is its mean loss towards the target's class: higher is more diverse. "
        + SCALE_NOTE
        + (
            f" Not every submodel of {' and '.join(wrong)} is right about both images."
            * bool(wrong)
        )
    )


def _show_many(features: Features) -> None:
    """Both figures over many pairs, and how the shown one compares."""
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        chosen = choose_pairs([info for info, _ in features])
    if chosen is None:
        return
    pairs, about = chosen
    many = [overlap_of(info, pairs, each.config) for info, each in features]
    st.caption(f"All layers, {distillation_title(features[0][1].config)}")
    baseline = any(each.unchanged.any() for each in many)  # not with correctly classified sources
    _show_table([info.name for info, _ in features], many, baseline)
    for (info, each), batch in zip(features, many, strict=True):
        if each.members > 1:
            counts = each.counts()
            st.markdown(
                f"In {info.name}, other submodels take the shown pair's features for the target "
                f"{counts.others} of {counts.others_of} times; as often or more often in "
                f"{batch.as_many(counts.others):.0f} % of these pairs."
            )
    note = (
        " Source unchanged is how often submodels take the source itself for the target: the "
        "level to compare with."
    )
    st.caption(
        f"{about} Below each figure, its 95 % interval over pairs.{note if baseline else ''}"
    )


def _show_table(names: list[str], many: list[Overlap], baseline: bool) -> None:
    """One row per ensemble, each figure with its interval."""
    shares = ["Other submodels: overlap", "The submodel itself"]
    shares += ["Source unchanged"] * baseline
    rows = []
    for name, each in zip(names, many, strict=True):
        figures = [each.others(), each.own(), each.ground()][: len(shares)]
        cells = [*(_figure(share, 1) for share in figures), _figure(each.loss(), 2)]
        rows.append(f'<tr><th scope="row">{escape(name)}</th>{"".join(cells)}</tr>')
    top = f'<th></th><th colspan="{len(shares)}">Take it for the target (%)</th><th></th>'
    head = "".join(f'<th scope="col">{title}</th>' for title in ("", *shares, "Eq. 2 (nats)"))
    show_html(
        f'<table class="dv-report dv-many"><thead><tr>{top}</tr><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>",
        "dv-scroll",
    )


def _figure(mean: Mean, digits: int) -> str:
    if mean.value != mean.value:
        return "<td>–</td>"
    value, low, high = (f"{each:.{digits}f}" for each in (mean.value, max(mean.low, 0), mean.high))
    return f'<td class="here">{value}<small>{low}–{high}</small></td>'
