"""Eq. 2 of the shown pair and of a batch: whether what one pair shows is typical."""

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
from pages.widgets.distilled.pair_view import Found, settings
from pages.widgets.shared.cards import is_dark
from pages.widgets.shared.messages import errors_as_messages
from pages.widgets.shared.resources import load_fast

PAIRS = (64, 256, 1000)
SEED = 0


def show_overlap(found: Found) -> None:
    """Eq. 2 of the pair; on demand the same of many pairs, and where this one stands."""
    st.subheader("Is this pair typical?", anchor=False)
    st.markdown(_of_pair({info.name: each for info, each in found if each.members > 1}))
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
                help="Drawn by a seed from the 1,000 bundled test images, each of two classes.",
            )
            with st.spinner(f"Distilling {n:,} pairs", show_time=True):
                many = [_overlap(i.digest, n, each.config, i) for i, each in found]
            _show_table([info.name for info, _ in found], many)
            _show_place(found, many)
    st.page_link(
        "pages/robustness.py",
        label="Eq. 2 between every two submodels, on the Robustness page",
        icon=":material/shield:",
        query_params={"robust-tabs": "Diversity"},
    )


def _of_pair(named: Mapping[str, Distilled]) -> str:
    """Eq. 2 of the pair on each ensemble, in a sentence."""
    if not named:
        return "Eq. 2 is between submodels; there is but one."
    losses = [f"{each.loss():.2f} nats in {name}" for name, each in named.items()]
    return (
        "Eq. 2 of this pair, the mean loss of one submodel towards the target's class on features "
        f"distilled from another, is {' and '.join(losses)}. Higher means that weaknesses are "
        "shared less."
    )


@st.cache_data(max_entries=32, show_spinner=False)
def _overlap(digest: str, n: int, config: AttackConfig, _info: CheckpointInfo) -> Overlap:
    return overlap(load_fast(_info), draw_pairs(load(Split.SAMPLE), n, SEED), config)


def _show_table(names: list[str], many: list[Overlap]) -> None:
    """A row an ensemble, each figure with its interval."""
    heads = ("Eq. 2 (nats)", "Other submodels", "The submodel itself", "Source unchanged")
    rows = []
    for name, each in zip(names, many, strict=True):
        shares = (each.others(), each.own(), each.ground())
        cells = [_figure(each.loss(), 2), *(_figure(share, 1) for share in shares)]
        rows.append(f'<tr><th scope="row">{escape(name)}</th>{"".join(cells)}</tr>')
    top = '<tr><th></th><th></th><th colspan="3">Take it for the target (%)</th></tr>'
    head = "".join(f'<th scope="col">{title}</th>' for title in ("", *heads))
    theme = "dark" if is_dark() else "light"
    st.html(
        f'<div class="dv dv-scroll {theme}"><table class="dv-report dv-many"><thead>{top}'
        f"<tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _figure(mean: Mean, digits: int) -> str:
    if mean.value != mean.value:
        return "<td>–</td>"
    value, low, high = (f"{each:.{digits}f}" for each in (mean.value, max(mean.low, 0), mean.high))
    return f'<td class="here">{value}<small>{low}–{high}</small></td>'


def _show_place(found: Found, many: list[Overlap]) -> None:
    """How many of the pairs are like the shown one, and what the figures are of."""
    for (info, each), batch in zip(found, many, strict=True):
        if each.members > 1:
            counts = each.counts()
            st.markdown(
                f"In {info.name}, other submodels take the shown pair's features for the target "
                f"{counts.others} of {counts.others_of} times; so often or more often in "
                f"{batch.as_many(counts.others):.0f} % of these pairs."
            )
    st.caption(
        f"{many[0].n:,} pairs of the 1,000 bundled test images (seed {SEED}), all five layers, "
        f"distilled {settings(found[0][1])}. Below each figure, its 95 % interval over pairs. "
        "Eq. 2 is the loss, towards the target's class, of one submodel on features distilled from "
        "another: higher is more diverse, and it also grows as submodels become surer of "
        "themselves. Source unchanged is what they mistake without any distilling: the level to "
        "compare with."
    )
