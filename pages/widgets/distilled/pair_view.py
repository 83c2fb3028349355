"""One pair's distilled features as the page shows them, and their downloads."""

from __future__ import annotations

import json
from dataclasses import dataclass

import streamlit as st

from dverge.charts.distilled import feature_sheet
from dverge.checkpoints import CheckpointInfo
from dverge.evaluation.diversity import Pairs
from dverge.exploration.distilled import Distilled
from dverge.exploration.overlap import overlap_in_words
from pages.widgets.distilled.pair_form import end_title
from pages.widgets.shared.cards import Files, offer_files

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

    def sentence(self) -> str:
        return overlap_in_words(list(self.named.items()), self.step)


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
        f"Distilled {what} of {source} towards {target}, {settings(view.first)}. T: taken for the "
        "target, S: for the source, o: for another class; by submodels 1, 2, … and the mixture (M)."
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


def settings(features: Distilled) -> str:
    """How the features were distilled, as text."""
    config = features.config
    noun = "step" if config.steps == 1 else "steps"
    return f"within eps {config.eps:g} by {config.steps} {noun} of {config.step_size:g}"
