"""The distilled features of one pair on screen: the models' answers, and each step on the way."""

from __future__ import annotations

import json
from dataclasses import dataclass
from html import escape

import streamlit as st
from streamlit.delta_generator import DeltaGenerator
from torch import Tensor

from dverge.charts.distilled import (
    SAYS_SIGNS,
    distance_chart,
    distance_frame,
    feature_image,
    feature_sheet,
)
from dverge.charts.pictures import data_uri
from dverge.checkpoints import CheckpointInfo
from dverge.data import CLASSES
from dverge.evaluation.diversity import Pairs
from dverge.evaluation.naming import distillation_title
from dverge.exploration.distilled import Distilled, Says
from dverge.exploration.examine import model_names
from dverge.exploration.overlap import overlap_in_words
from dverge.models import LAYERS
from pages.widgets.distilled.pair_form import end_title
from pages.widgets.shared.cards import (
    Cell,
    Files,
    offer_files,
    show_heading,
    show_html,
    show_matrix,
)
from pages.widgets.shared.messages import errors_as_messages
from pages.widgets.shared.resources import colour_of

EXPLANATION = (
    "A distilled feature looks like the source, but one layer of one submodel sees in it what it "
    "sees in the target. Where other submodels see the target in it, too, they share that "
    "weakness; DVERGE trains them not to."
)
KINDS = {Says.TARGET: "fooled", Says.SOURCE: "holds", Says.OTHER: "wrong"}
ALL_LAYERS = tuple(range(1, LAYERS + 1))
FIRST_LAYER = LAYERS  # the logits, where features are the most like the target's

Features = tuple[tuple[CheckpointInfo, Distilled], ...]
"""Each chosen checkpoint with its features of the pair; at least one."""


@dataclass(frozen=True, eq=False)
class PairView:
    """One pair on the chosen checkpoints, and which part of it is shown.

    Attributes:
        features: of each checkpoint.
        layer: 1–5, of the curves and the matrices.
        step: 0 to the number of steps.
        perturbed: show perturbations instead of features.
    """

    features: Features
    layer: int
    step: int
    perturbed: bool

    @property
    def first(self) -> Distilled:
        return self.features[0][1]

    @property
    def pair(self) -> Pairs:
        return self.first.pair

    @property
    def named(self) -> dict[str, Distilled]:
        return {info.name: each for info, each in self.features}

    @property
    def setting(self) -> str:
        """How the features shown were distilled."""
        return distillation_title(self.first.config, self.step)

    def sentence(self) -> str:
        return overlap_in_words(list(self.named.items()), self.step)


def show_pair(features: Features) -> None:
    """The answer: a sentence, source and target, the course, and every checkpoint's features."""
    with errors_as_messages():
        sentence = st.container()
        with st.container(horizontal=True, gap="medium"):
            ends = st.container(width=352)
            with st.container(width="stretch", gap="xsmall"):
                controls, course = st.container(), st.container()
        legend = st.container(horizontal=True, vertical_alignment="center", gap="medium")
        view = _choose_view(features, controls, legend)
        with course:
            _show_course(view)
        with sentence:
            st.markdown(f"**{view.sentence()}**")
            st.caption(EXPLANATION)
        with ends:
            _show_ends(view.pair)
        with legend:
            _show_legend(view)
        with st.grid(min(len(features), 2), min_column_width=420):
            for info, each in features:
                with st.container(border=True):
                    what = "Perturbations" if view.perturbed else "Features"
                    show_title(info, f"{what} of every layer, {view.setting}")
                    _show_features(each, view)
        show_downloads(view)


def show_title(info: CheckpointInfo, subtitle: str) -> None:
    """The top of a card: the ensemble, and with which settings its figures were measured."""
    with st.container(gap=None):
        show_heading(info)
        st.caption(subtitle)


def _choose_view(features: Features, first: DeltaGenerator, second: DeltaGenerator) -> PairView:
    """The controls for what is shown of the features, drawn in two places."""
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
        steps = features[0][1].steps
        step = st.slider(
            "Step",
            0,
            steps,
            steps,
            key="at",
            bind="query-params",
            width="stretch",
            help="0 is the source itself, the last step the distilled feature.",
        )
    with second:
        perturbed = st.toggle(
            "Show perturbations",
            key="perturbations",
            bind="query-params",
            help="What was added to the source: grey is nothing, full colour ±eps.",
        )
    return PairView(features, layer, step, perturbed)


def _show_ends(pair: Pairs) -> None:
    figures = "".join(
        f'<figure><img src="{data_uri(image.pixels())}" alt="{name}: {end_title(image)}">'
        f"<figcaption><b>{name}</b><span>{end_title(image)}</span></figcaption></figure>"
        for name, image in (("Source", pair.sources), ("Target", pair.targets))
    )
    show_html(figures, "dv-ends")


def _show_course(view: PairView) -> None:
    colours = {info.name: colour_of(info) for info, _ in view.features}
    st.altair_chart(
        distance_chart(
            distance_frame(view.named, view.layer),
            colours,
            view.step,
            f"Layer {view.layer}, {distillation_title(view.first.config)}",
        ),
        key="course",
        alt=f"Distance to the target's features in layer {view.layer} against the step",
    )


def _show_features(distilled: Distilled, view: PairView) -> None:
    """A picture per member and layer with every model's answer; then one layer in full."""
    cells = [
        [feature_cells(distilled, log_probs) for log_probs in layers]
        for layers in distilled.log_probs[:, :, view.step]
    ]
    names = model_names(distilled.members)
    titles = [f"layer {layer}" for layer in ALL_LAYERS]
    titles[view.layer - 1] = f"<b>{titles[view.layer - 1]}</b>"
    heads = "".join(f"<span>{title}</span>" for title in titles)
    rows = [f'<div class="dv-layers" aria-hidden="true">{heads}</div>']
    for i, name in enumerate(names[:-1]):
        figures = ""
        for layer in ALL_LAYERS:
            image = feature_image(distilled, i, layer, view.step, view.perturbed)
            figures += _feature(image, f"{name}, layer {layer}", cells[i][layer - 1], i)
        rows.append(f"<p>distilled on {name}</p><div>{figures}</div>")
    show_html("".join(rows), "dv-features")
    st.markdown(f"**Layer {view.layer}, answer by answer** :small[{view.setting}]")
    lines = [
        feature_cells(distilled, distilled.unchanged[0]),
        *(layers[view.layer - 1] for layers in cells),
    ]
    left = ["the source itself", *names[:-1]]
    show_matrix("Distilled on", "What each model says", left, names, lines)


def feature_cells(distilled: Distilled, log_probs: Tensor) -> list[Cell]:
    """What each model answers, from (M+1)×10 log-probabilities."""
    best = log_probs.max(1)
    cells = []
    for answer, log_prob in zip(best.indices.tolist(), best.values, strict=True):
        says = distilled.says(answer)
        percent = 100 * log_prob.exp().item()
        cells.append(Cell(KINDS[says], SAYS_SIGNS[says], CLASSES[answer], percent))
    return cells


def _feature(image: Tensor, where: str, cells: list[Cell], own: int) -> str:
    """A picture with a mark per model, which has a tooltip; that of the own model is framed."""
    marks, answers = "", []
    for j, (name, cell) in enumerate(zip(model_names(len(cells) - 1), cells, strict=True)):
        answers.append(f"{name}: {cell.text}, {cell.percent:.0f} %")
        kind = f"{cell.kind} own" if j == own else cell.kind
        letter = "M" if j == len(cells) - 1 else str(j + 1)
        marks += f'<i class="{kind}" title="{answers[-1]}">{letter} {cell.sign}</i>'
    alt = escape(f"Distilled on {where}. {'; '.join(answers)}", quote=True)
    return (
        f'<figure><img src="{data_uri(image)}" alt="{alt}">'
        f'<figcaption aria-hidden="true">{marks}</figcaption></figure>'
    )


def _show_legend(view: PairView) -> None:
    texts = {
        Says.TARGET: f"the target, {CLASSES[view.first.target]}",
        Says.SOURCE: f"the source, {CLASSES[view.first.source]}",
        Says.OTHER: "another class",
    }
    marks = "".join(
        f'<span><i class="{KINDS[says]}">{SAYS_SIGNS[says]}</i>{text}</span>'
        for says, text in texts.items()
    )
    show_html(
        "<span>Submodels 1, 2, … and the mixture (M) take each for</span>"
        f"{marks}<span>Framed: the submodel it was distilled on</span>",
        "dv-marks",
    )


def show_downloads(view: PairView) -> None:
    """The features of the step as PNG, and everything as JSON."""
    source, target = (int(each.indices[0]) for each in (view.pair.sources, view.pair.targets))
    files: Files = {
        "PNG": (
            lambda: _sheet(view),
            "Source, target and all features of this step, enlarged, with their settings.",
        ),
        "JSON": (
            lambda: record(view.features),
            "All settings, digests, distances and probabilities, at every step.",
        ),
    }
    with st.container(horizontal=True, gap="small"):
        offer_files(f"distilled-{source}-to-{target}", files, "distilled")


def _sheet(view: PairView) -> bytes:
    source, target = (end_title(each) for each in (view.pair.sources, view.pair.targets))
    what = "perturbations" if view.perturbed else "features"
    footer = (
        f"Distilled {what} of {source} towards {target}, {view.setting}. T: taken for the target, "
        "S: for the source, o: for another class; by submodels 1, 2, … and the mixture (M)."
    )
    return feature_sheet(view.named, view.step, view.perturbed, view.sentence(), footer)


def record(features: Features) -> str:
    """Everything about the features, as JSON."""
    ensembles = [
        {
            "checkpoint": {"name": info.name, "digest": info.digest, "method": info.card.method},
            **each.to_dict(),
        }
        for info, each in features
    ]
    return json.dumps(
        {"sentence": overlap_in_words([(i.name, d) for i, d in features]), "ensembles": ensembles},
        indent=2,
    )
