"""Tabs about pairs of models: transfer of attacks, and diversity of vulnerabilities (Eq. 2)."""

from __future__ import annotations

import streamlit as st
import torch

from dverge.attacks import REPORT_DISTILLATION, Norm, pgd
from dverge.charts.matrices import matrix_chart, matrix_frame
from dverge.checkpoints import CheckpointInfo
from dverge.data import Split, load
from dverge.evaluation.diversity import Pairs
from dverge.evaluation.naming import attack_title, distillation_title, eps_title, model_title
from dverge.evaluation.transfer import Transfer, transfer
from dverge.models import LAYERS
from dverge.results import wilson_interval
from pages.widgets.distilled.pairs import SCALE_NOTE, choose_pairs, overlap_of
from pages.widgets.distilled.view import show_title
from pages.widgets.robustness.view import View
from pages.widgets.shared.cards import is_dark
from pages.widgets.shared.messages import errors_as_messages
from pages.widgets.shared.resources import BY_CONTENT, load_fast

TRANSFER_EPS = (0.005, 0.01, 0.015, 0.02, 0.03, 8 / 255, 16 / 255)
STEPS = 10
IMAGES = 500
LAYER_CHOICES = ("all layers", *(f"layer {i}" for i in range(1, LAYERS + 1)))
OVERLAP, LOSS = "Overlap", "Eq. 2"


def show_transfer(view: View) -> None:
    """How far an attack on one model fools the others, within ensembles and across two."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        eps = st.select_slider(
            "eps (L∞)",
            TRANSFER_EPS,
            0.02,
            format_func=eps_title,
            key="transfer-eps",
            width=360,
            help="The budget of the transferred attack, PGD with 10 steps.",
        )
        across = st.selectbox(
            "Attacker's own ensemble",
            ["the same", *(info.name for info in view.infos)],
            key="transfer-source",
            width=320,
            help="The same: attacks are crafted on the ensemble itself. Another: on a surrogate, "
            "as by an attacker who cannot look inside the target.",
        )
    surrogate = next((info for info in view.infos if info.name == across), None)
    with st.grid(2, min_column_width=420):
        for info in view.infos:
            with st.container(border=True), errors_as_messages():
                _show_transfer(surrogate or info, info, eps)
    st.caption(
        "Per cent of images on which an attack crafted on the row's model (from a random start, "
        f"seed 0) fools the column's model. Of {IMAGES} test images, 50 of each class, those count "
        "that all models of both ensembles classify correctly. Lower is better for the defence. "
        "The diagonal of one ensemble is the attack on the model itself."
    )


def _show_transfer(source: CheckpointInfo, target: CheckpointInfo, eps: float) -> None:
    origin = "the same ensemble" if source is target else source.name
    attack = attack_title("pgd-linf", {"eps": eps, "steps": STEPS})
    show_title(target, f"{attack}, crafted on {origin}")
    result = _transfer(source, target, eps)
    if not result.n:
        st.info("There is no image that all models classify correctly.")
        return
    rows, columns = (list(map(model_title, names)) for names in (result.rows, result.columns))
    ends = [[result.interval(i, j) for j in range(len(columns))] for i in range(len(rows))]
    low, high = torch.tensor(ends).unbind(-1)
    frame = matrix_frame(result.rate(), rows, columns, low, high)
    st.altair_chart(
        matrix_chart(frame, "Crafted on", "Fools", "Fooled (%)", (0, 100), dark=is_dark()),
        key=f"transfer-{target.name}",
        alt=f"Transfer of attacks on {source.name} to {target.name}",
    )
    between = ""
    if source is target and len(rows) > 2:
        share = result.between_members()
        between = f"Between its submodels, {share:.0f} % of the attacks carry over. "
    st.caption(f"{between}n = {result.n} images.")


@st.cache_data(max_entries=64, show_spinner="Attacking", hash_funcs=BY_CONTENT)
def _transfer(source: CheckpointInfo, target: CheckpointInfo, eps: float) -> Transfer:
    images = load(Split.SAMPLE).balanced(IMAGES)
    return transfer(load_fast(source), load_fast(target), images, pgd(Norm.LINF, eps, steps=STEPS))


def show_diversity(view: View) -> None:
    """How far members share distilled features, and Eq. 2 between them."""
    with st.container(horizontal=True, vertical_alignment="center"):
        what = st.segmented_control(
            "Quantity",
            [OVERLAP, LOSS],
            default=OVERLAP,
            required=True,
            key="diversity-what",
            label_visibility="collapsed",
        )
        layer = st.selectbox(
            "Layer",
            LAYER_CHOICES,
            key="diversity-layer",
            label_visibility="collapsed",
            width=160,
            help="Whose features are distilled.",
        )
        chosen = choose_pairs(view.infos)
    if chosen is None:
        return
    pairs, about = chosen
    number = LAYER_CHOICES.index(layer) or None
    with st.grid(2, min_column_width=420):
        for info in view.infos:
            with st.container(border=True), errors_as_messages():
                show_title(info, f"{what}, {layer}, {distillation_title(REPORT_DISTILLATION)}")
                _show_diversity(info, pairs, what, number)
    if what == OVERLAP:
        meaning = (
            "Per cent of the features distilled from the row's submodel that the column's takes "
            "for the target, too. Off the diagonal, lower means fewer shared weaknesses."
        )
    else:
        meaning = (
            "The vulnerability diversity metric d of Eq. 2, in nats: the loss, towards the "
            "target's class, of one submodel on features distilled from the other. Higher means "
            "more diverse. The diagonal is a submodel's loss on its own features. " + SCALE_NOTE
        )
    st.caption(f"{meaning} On {about[:1].lower()}{about[1:]}")


def _show_diversity(info: CheckpointInfo, pairs: Pairs, what: str, layer: int | None) -> None:
    result = overlap_of(info, pairs)
    names = [f"submodel {i + 1}" for i in range(len(info.card.members))]
    if what == OVERLAP:
        values, mean, unit = result.crossed.overlap(layer), result.others(layer), " %"
        ends = [
            [wilson_interval(each * result.n / 100, result.n) for each in row]
            for row in values.tolist()
        ]
        low, high = (100 * torch.tensor(ends)).unbind(-1)
        labels = ("Distilled from", "Seen by", "Sees the target (%)", (0.0, 100.0), 0)
    else:
        values, mean, unit = result.crossed.matrix(layer), result.loss(layer), " nats"
        low, high = result.crossed.interval(layer)
        labels = ("Submodel", "Submodel", "d (nats)", (0.0, 25.0), 1)
    st.altair_chart(
        matrix_chart(matrix_frame(values, names, names, low, high), *labels, dark=is_dark()),
        key=f"diversity-{info.name}",
        alt=f"{what} between the submodels of {info.name}",
    )
    if len(names) > 1:
        st.caption(
            f"Between different submodels, {mean.value:.1f}{unit} (95 % interval "
            f"{max(mean.low, 0):.1f} to {mean.high:.1f})."
        )
