"""What is looked at of one pair's distilled features, and its downloads."""

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
from pages.widgets.shared.downloads import offer_files

Found = tuple[tuple[CheckpointInfo, Distilled], ...]
"""Each chosen checkpoint with its features of the pair; at least one."""


@dataclass(frozen=True, eq=False)
class PairView:
    """One pair on the chosen checkpoints, and what is looked at.

    Attributes:
        found: each checkpoint with its features; at least one.
        layer: 1–5, of the curves and the matrices.
        step: 0 to the number of steps.
        perturbed: perturbations are shown instead of the features.
    """

    found: Found
    layer: int
    step: int
    perturbed: bool

    @property
    def first(self) -> Distilled:
        return self.found[0][1]

    @property
    def pair(self) -> Pairs:
        return self.first.pair

    @property
    def named(self) -> dict[str, Distilled]:
        return {info.name: each for info, each in self.found}

    def sentence(self) -> str:
        return overlap_in_words(list(self.named.items()), self.step)


def show_downloads(view: PairView) -> None:
    """The features of the step as PNG, and everything as JSON."""
    numbers = (int(each.indices[0]) for each in (view.pair.sources, view.pair.targets))
    stem = "distilled-{}-to-{}".format(*numbers)
    with st.container(horizontal=True, gap="small"):
        offer_files(
            stem,
            {
                "PNG": (
                    lambda: _sheet(view),
                    "Source, target and all features of this step, enlarged, with their settings.",
                ),
                "JSON": (
                    lambda: record(view.found),
                    "All settings, digests, distances and probabilities, at every step.",
                ),
            },
            "distilled",
        )


def _sheet(view: PairView) -> bytes:
    ends = (end_title(each) for each in (view.pair.sources, view.pair.targets))
    what = "perturbations" if view.perturbed else "features"
    footer = (
        f"Distilled {what} of {{}} towards {{}}, {settings(view.first)}. T: taken for the target, "
        "S: for the source, o: for another class; by submodels 1, 2, … and the mixture (M)."
    )
    return feature_sheet(
        view.named, view.step, view.perturbed, view.sentence(), footer.format(*ends)
    )


def record(found: Found) -> str:
    """Everything about the features, as JSON."""
    ensembles = [
        {
            "checkpoint": {"name": info.name, "digest": info.digest, "method": info.card.method},
            **each.to_dict(),
        }
        for info, each in found
    ]
    return json.dumps(
        {"sentence": overlap_in_words([(i.name, d) for i, d in found]), "ensembles": ensembles},
        indent=2,
    )


def settings(found: Distilled) -> str:
    """How the features were distilled, in words."""
    config = found.config
    noun = "step" if config.steps == 1 else "steps"
    return f"within eps {config.eps:g} by {config.steps} {noun} of {config.step_size:g}"
