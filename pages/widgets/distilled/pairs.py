"""The pairs that ensembles are compared on, and each ensemble's overlap and Eq. 2 on them."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st
import torch

from dverge.attacks import REPORT_DISTILLATION, AttackConfig
from dverge.checkpoints import CheckpointInfo
from dverge.data import Split, load
from dverge.evaluation.diversity import Pairs, correct_pairs, draw_pairs
from dverge.exploration.overlap import Overlap, overlap
from pages.widgets.shared.resources import BY_CONTENT, load_fast

DRAWN = (256, 1000, 4000)
SEED = 0
FEWEST = 10  # pairs that an interval is given for
SCALE_NOTE = (
    "Eq. 2 also rises with the scale of the logits while every prediction stays the same, so "
    "compare ensembles by the overlap."
)


def choose_pairs(infos: Sequence[CheckpointInfo]) -> tuple[Pairs, str] | None:
    """The controls for the pairs; returns the pairs, and a sentence that says what they are.

    Every submodel of the ensembles to compare classifies their images correctly, unless the viewer
    asks for all pairs. Where too few are left, it says so and returns None.
    """
    drawn = st.segmented_control(
        "Pairs drawn",
        DRAWN,
        default=DRAWN[1],
        required=True,
        format_func=lambda n: f"{n:,} pairs",
        key="pairs",
        label_visibility="collapsed",
        help="Drawn from the 1,000 bundled test images by a seed, each of two classes.",
    )
    every = st.toggle(
        "Include misclassified images",
        key="all-pairs",
        help="Otherwise a pair counts only if every submodel of all ensembles shown classifies "
        "both of its images correctly, so that distillation alone explains the target's class. "
        "Measuring all pairs takes many times as long.",
    )
    pairs = draw_pairs(load(Split.SAMPLE), drawn, SEED)
    origin = f"{drawn:,} random pairs of bundled test images (seed {SEED})"
    if every:
        return pairs, f"All {origin}, whether or not submodels classify them correctly."
    correct = torch.tensor(_correct(tuple(infos), drawn))
    left = int(correct.sum())
    if left < FEWEST:
        st.info(
            f"Too few pairs to measure: of {origin}, every submodel of the ensembles shown "
            f"classifies both images correctly in {left}.",
            icon=":material/filter_alt:",
        )
        return None
    return pairs.subset(correct), (
        f"{left} of {origin}: those whose source and target every submodel of the ensembles shown "
        "classifies correctly."
    )


@st.cache_data(max_entries=32, show_spinner="Classifying the pairs", hash_funcs=BY_CONTENT)
def _correct(infos: tuple[CheckpointInfo, ...], drawn: int) -> list[bool]:
    pairs = draw_pairs(load(Split.SAMPLE), drawn, SEED)
    return correct_pairs(pairs, [load_fast(info) for info in infos]).tolist()


@st.cache_data(max_entries=32, show_spinner="Distilling features", hash_funcs=BY_CONTENT)
def overlap_of(
    info: CheckpointInfo, pairs: Pairs, config: AttackConfig = REPORT_DISTILLATION
) -> Overlap:
    """One checkpoint's overlap and Eq. 2."""
    return overlap(load_fast(info), pairs, config)
