"""Eq. 2 of the shown pair and of many: whether what one pair shows is typical."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

import streamlit as st

from dverge.attacks import AttackConfig
from dverge.checkpoints import CheckpointInfo
from dverge.data import Split, load
from dverge.evaluation.diversity import draw_pairs
from dverge.exploration.distilled import Distilled
from dverge.exploration.overlap import Mean, Overlap, overlap
from pages.widgets.distilled.view import Features, settings
from pages.widgets.shared.cards import show_html
from pages.widgets.shared.messages import errors_as_messages
from pages.widgets.shared.resources import BY_CONTENT, load_fast

PAIRS = (64, 256, 1000)
SEED = 0


def show_overlap(features: Features) -> None:
    """Eq. 2 of the pair; on demand also of many pairs, and how the shown one compares."""
    st.subheader("Is this pair typical?", anchor=False)
    st.markdown(_pair_sentence({info.name: each for info, each in features if each.members > 1}))
    section = st.expander(
        "Measure many pairs", icon=":material/speed:", on_change="rerun", key="many-pairs"
    )
    if section.open:
        with section, errors_as_messages():
            n = st.segmented_control(
                "Pairs",
                list(PAIRS),
                default=PAIRS[1],
                required=True,
                key="pairs",
                help="Drawn from the 1,000 bundled test images by a seed, each of two classes.",
            )
            with st.spinner(f"Distilling {n:,} pairs", show_time=True):
                many = [_overlap(info, n, each.config) for info, each in features]
            _show_table([info.name for info, _ in features], many)
            _show_place(features, many)
    st.page_link(
        "pages/robustness.py",
        label="Eq. 2 between every two submodels, on the Robustness page",
        icon=":material/shield:",
        query_params={"robust-tabs": "Diversity"},
    )


def _pair_sentence(named: Mapping[str, Distilled]) -> str:
    """Eq. 2 of the pair on each ensemble."""
    if not named:
        return "Eq. 2 compares submodels; there is only one."
    losses = [f"{each.loss():.2f} nats in {name}" for name, each in named.items()]
    return (
        "Eq. 2 of this pair, the mean loss of one submodel towards the target's class on features "
        f"distilled from another, is {' and '.join(losses)}. Higher means fewer shared weaknesses."
    )


@st.cache_data(max_entries=32, show_spinner=False, hash_funcs=BY_CONTENT)
def _overlap(info: CheckpointInfo, n: int, config: AttackConfig) -> Overlap:
    return overlap(load_fast(info), draw_pairs(load(Split.SAMPLE), n, SEED), config)


def _show_table(names: list[str], many: list[Overlap]) -> None:
    """One row per ensemble, each figure with its interval."""
    heads = ("Eq. 2 (nats)", "Other submodels", "The submodel itself", "Source unchanged")
    rows = []
    for name, each in zip(names, many, strict=True):
        shares = (each.others(), each.own(), each.ground())
        cells = [_figure(each.loss(), 2), *(_figure(share, 1) for share in shares)]
        rows.append(f'<tr><th scope="row">{escape(name)}</th>{"".join(cells)}</tr>')
    top = '<tr><th></th><th></th><th colspan="3">Take it for the target (%)</th></tr>'
    head = "".join(f'<th scope="col">{title}</th>' for title in ("", *heads))
    show_html(
        f'<table class="dv-report dv-many"><thead>{top}<tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>",
        "dv-scroll",
    )


def _figure(mean: Mean, digits: int) -> str:
    if mean.value != mean.value:
        return "<td>–</td>"
    value, low, high = (f"{each:.{digits}f}" for each in (mean.value, max(mean.low, 0), mean.high))
    return f'<td class="here">{value}<small>{low}–{high}</small></td>'


def _show_place(features: Features, many: list[Overlap]) -> None:
    """How the shown pair compares with these pairs, and what the figures are of."""
    for (info, each), batch in zip(features, many, strict=True):
        if each.members > 1:
            counts = each.counts()
            st.markdown(
                f"In {info.name}, other submodels take the shown pair's features for the target "
                f"{counts.others} of {counts.others_of} times; as often or more often in "
                f"{batch.as_many(counts.others):.0f} % of these pairs."
            )
    st.caption(
        f"{many[0].n:,} pairs of the 1,000 bundled test images (seed {SEED}), all five layers, "
        f"distilled {settings(features[0][1])}. Below each figure, its 95 % interval over pairs. "
        "Eq. 2 is the loss, towards the target's class, of one submodel on features distilled from "
        "another: higher is more diverse, and it also grows as submodels become more confident. "
        "Source unchanged is how often they mistake the source itself: the level to compare with."
    )
