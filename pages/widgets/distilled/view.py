"""The distilled features of one pair on screen: what is said of them, and how they came about."""

from __future__ import annotations

from html import escape

import streamlit as st
from streamlit.delta_generator import DeltaGenerator
from torch import Tensor

from dverge.charts.distilled import SAYS_SIGNS, distance_chart, distance_frame, feature_image
from dverge.charts.pictures import data_uri
from dverge.data import CLASSES
from dverge.evaluation.diversity import Pairs
from dverge.exploration.distilled import Distilled, Says
from dverge.exploration.examine import model_names
from dverge.models import LAYERS
from pages.widgets.distilled.pair_form import end_title
from pages.widgets.distilled.pair_view import Found, PairView, show_downloads
from pages.widgets.shared.cards import is_dark, show_heading
from pages.widgets.shared.matrix import Cell, show_matrix
from pages.widgets.shared.messages import errors_as_messages
from pages.widgets.shared.resources import colour_of

EXPLAINED = (
    "A distilled feature looks like the source, but one layer of one submodel sees in it what it "
    "sees in the target. Where other submodels see the target in it, too, they share that "
    "weakness; DVERGE trains them not to."
)
STEP_HELP = "0 is the source itself, the last step the distilled feature."
PERTURBED_HELP = "What was added to the source: grey is nothing, full colour ±eps."
KINDS = {Says.TARGET: "fooled", Says.SOURCE: "holds", Says.OTHER: "wrong"}
ALL_LAYERS = tuple(range(1, LAYERS + 1))
FIRST_LAYER = LAYERS  # the logits, where features are the most like the target's


def show_pair(found: Found) -> None:
    """The answer: a sentence, source and target, the course, and every checkpoint's features."""
    with errors_as_messages():
        _show_pair(found)


def _show_pair(found: Found) -> None:
    words = st.container()
    with st.container(horizontal=True, gap="medium"):
        ends = st.container(width=352)
        with st.container(width="stretch", gap="xsmall"):
            controls, course = st.container(), st.container()
    legend = st.container(horizontal=True, vertical_alignment="center", gap="medium")
    view = _controls(found, controls, legend)
    with course:
        _show_course(view)
    with words:
        st.markdown(f"**{view.sentence()}**")
        st.caption(EXPLAINED)
    with ends:
        _show_ends(view.pair)
    with legend:
        _show_legend(view)
    with st.grid(min(len(found), 2), min_column_width=420):
        for info, each in found:
            with st.container(border=True):
                show_heading(info)
                _show_features(each, view)
    show_downloads(view)


def _controls(
    found: Found,
    first: DeltaGenerator,
    second: DeltaGenerator,
) -> PairView:
    """What of the features to look at; only the picture is drawn again when it changes."""
    with first, st.container(horizontal=True, vertical_alignment="bottom", gap="large"):
        layer = st.segmented_control(
            "Layer",
            ALL_LAYERS,
            default=FIRST_LAYER,
            required=True,
            key="layer",
            bind="query-params",
            help="Whose distances and answers are shown: 1 and 2 are the convolutions, 3 and 4 "
            "the hidden layers, 5 the logits.",
        )
        steps = found[0][1].steps
        step = st.slider(
            "Step", 0, steps, steps, key="at", bind="query-params", width="stretch", help=STEP_HELP
        )
    with second:
        perturbed = st.toggle(
            "Show perturbations", key="perturbations", bind="query-params", help=PERTURBED_HELP
        )
    return PairView(found, layer, step, perturbed)


def _show_ends(pair: Pairs) -> None:
    figures = "".join(
        f'<figure><img src="{data_uri(image.pixels())}" alt="{name}: {end_title(image)}">'
        f"<figcaption><b>{name}</b><span>{end_title(image)}</span></figcaption></figure>"
        for name, image in (("Source", pair.sources), ("Target", pair.targets))
    )
    st.html(f'<div class="dv dv-ends">{figures}</div>')


def _show_course(view: PairView) -> None:
    colours = {info.name: colour_of(info) for info, _ in view.found}
    st.altair_chart(
        distance_chart(distance_frame(view.named, view.layer), colours, view.step),
        key="course",
        alt=f"Distance to the target's features in layer {view.layer} against the step",
    )


def _show_features(found: Distilled, view: PairView) -> None:
    """A picture a member and layer with what all models say of it; then one layer in full."""
    cells = [
        [feature_cells(found, said) for said in own] for own in found.log_probs[:, :, view.step]
    ]
    titles = [f"layer {layer}" for layer in ALL_LAYERS]
    titles[view.layer - 1] = f"<b>{titles[view.layer - 1]}</b>"
    heads = "".join(f"<span>{title}</span>" for title in titles)
    rows = [f'<div class="dv-layers" aria-hidden="true">{heads}</div>']
    for i, name in enumerate(model_names(found.members)[:-1]):
        figures = ""
        for layer in ALL_LAYERS:
            image = feature_image(found, i, layer, view.step, view.perturbed)
            figures += _feature(image, f"{name}, layer {layer}", cells[i][layer - 1], i)
        rows.append(f"<p>distilled on {name}</p><div>{figures}</div>")
    theme = "dark" if is_dark() else "light"
    st.html(f'<div class="dv dv-features {theme}">{"".join(rows)}</div>')
    st.markdown(f"**Layer {view.layer}, answer by answer**")
    models = model_names(found.members)
    lines = [feature_cells(found, found.unchanged[0]), *(own[view.layer - 1] for own in cells)]
    heads_left = ["the source itself", *models[:-1]]
    show_matrix("Distilled on", "What each model says", heads_left, models, lines)


def feature_cells(found: Distilled, log_probs: Tensor) -> list[Cell]:
    """What each model says, of (M+1)×10 log-probabilities."""
    best = log_probs.max(1)
    kinds = map(found.says, best.indices.tolist())
    return [
        Cell(KINDS[says], SAYS_SIGNS[says], CLASSES[answer], 100 * share)
        for says, answer, share in zip(
            kinds, best.indices.tolist(), best.values.exp().tolist(), strict=True
        )
    ]


def _feature(image: Tensor, where: str, cells: list[Cell], own: int) -> str:
    """A picture with a mark a model, which tells more when pointed at; its own is framed."""
    marks, words = "", []
    for j, (name, cell) in enumerate(zip(model_names(len(cells) - 1), cells, strict=True)):
        words.append(f"{name}: {cell.text}, {cell.percent:.0f} %")
        kind = f"{cell.kind} own" if j == own else cell.kind
        letter = "M" if j == len(cells) - 1 else str(j + 1)
        marks += f'<i class="{kind}" title="{words[-1]}">{letter} {cell.sign}</i>'
    alt = escape(f"Distilled on {where}. {'; '.join(words)}", quote=True)
    return (
        f'<figure><img src="{data_uri(image)}" alt="{alt}">'
        f'<figcaption aria-hidden="true">{marks}</figcaption></figure>'
    )


def _show_legend(view: PairView) -> None:
    source, target = CLASSES[view.first.source], CLASSES[view.first.target]
    theme = "dark" if is_dark() else "light"
    words = {
        Says.TARGET: f"the target, {target}",
        Says.SOURCE: f"the source, {source}",
        Says.OTHER: "another class",
    }
    marks = "".join(
        f'<span><i class="{KINDS[says]}">{SAYS_SIGNS[says]}</i>{text}</span>'
        for says, text in words.items()
    )
    st.html(
        f'<div class="dv dv-marks {theme}"><span>Submodels 1, 2, … and the mixture (M) take '
        f"each for</span>{marks}<span>Framed: the submodel it was distilled on</span></div>"
    )
