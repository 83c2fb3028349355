"""Distilled features: what a submodel takes for a class that a person does not see (Eq. 1)."""

from __future__ import annotations

import streamlit as st

from dverge.attacks import AttackConfig
from dverge.checkpoints import CheckpointInfo
from dverge.evaluation.diversity import Pairs
from dverge.exploration.distilled import Distilled, distilled, one_pair
from pages.widgets.distilled.overlap import show_overlap
from pages.widgets.distilled.pair_form import (
    choose_ends,
    distillation_form,
    end_title,
    is_first,
    pair_gallery,
)
from pages.widgets.distilled.pair_view import settings
from pages.widgets.distilled.view import show_pair
from pages.widgets.shared.ensemble_choice import choose_ensembles
from pages.widgets.shared.messages import (
    errors_as_messages,
    show_left_out,
    stop_without_checkpoints,
)
from pages.widgets.shared.navigation import enter_through_app
from pages.widgets.shared.resources import all_checkpoints, data_in_use, load_fast

MOST_BESIDE = 2
COMPARED = ("vanilla", "dverge")  # the methods whose difference is the point


@st.cache_data(max_entries=24, show_spinner=False)  # a spinner would move the pictures
def found(
    digest: str,
    source: str,
    target: str,
    config: AttackConfig,
    _info: CheckpointInfo,
    _pair: Pairs,
) -> Distilled:
    """One checkpoint's features of a pair, kept by what they depend on."""
    return distilled(load_fast(_info), _pair, config)


def show_all(chosen: list[CheckpointInfo], pair: Pairs, config: AttackConfig) -> None:
    """The pair on all chosen checkpoints, and what the figures are of."""
    digests = pair.sources.digest, pair.targets.digest
    features = tuple((info, found(info.digest, *digests, config, info, pair)) for info in chosen)
    st.fragment(show_pair)(features)
    chosen_pair = " This pair was chosen to explain; see below how typical it is."
    st.caption(
        f"Source: {end_title(pair.sources)}. Target: {end_title(pair.targets)}. Distilled "
        f"{settings(features[0][1])}, without a random start. Images: {data_in_use()}. One pair "
        f"is no rate.{chosen_pair if is_first(pair) else ''}"
    )
    st.fragment(show_overlap)(features)


enter_through_app()
st.title("Distilled features", anchor=False)
available, broken = all_checkpoints()
answer = st.container()
if not available:
    stop_without_checkpoints()

with st.sidebar:
    source, target = choose_ends()
    chosen = choose_ensembles(available, COMPARED, MOST_BESIDE, "side by side")
    config = None
    with errors_as_messages():
        config = distillation_form()

with answer:
    if not chosen:
        st.info("Choose at least one ensemble on the left.", icon=":material/arrow_back:")
    elif config is not None:
        with errors_as_messages():
            show_all(chosen, one_pair(source, target), config)

st.subheader("Choose an image", anchor=False)
st.fragment(pair_gallery)(chosen)
show_left_out(broken)
