"""Distilled features: what a submodel sees in an image and a person does not (Eq. 1)."""

from __future__ import annotations

import streamlit as st

from dverge.attacks import AttackConfig
from dverge.checkpoints import CheckpointInfo
from dverge.evaluation.diversity import Pairs
from dverge.evaluation.naming import distillation_title
from dverge.exploration.distilled import Distilled, distilled, one_pair
from pages.widgets.distilled.overlap import show_overlap
from pages.widgets.distilled.pair_form import (
    choose_ends,
    distillation_form,
    end_title,
    is_first,
    pair_gallery,
)
from pages.widgets.distilled.view import show_pair
from pages.widgets.shared.ensemble_choice import choose_ensembles
from pages.widgets.shared.images import data_in_use
from pages.widgets.shared.messages import ask_for_an_ensemble, errors_as_messages, show_left_out
from pages.widgets.shared.navigation import begin_page
from pages.widgets.shared.resources import BY_CONTENT, load_fast

MOST_SIDE_BY_SIDE = 2
FIRST_METHODS = ("vanilla", "dverge")  # their difference is the point


# Without a spinner, which would move the pictures.
@st.cache_data(max_entries=24, show_spinner=False, hash_funcs=BY_CONTENT)
def features_of(info: CheckpointInfo, pair: Pairs, config: AttackConfig) -> Distilled:
    """One checkpoint's distilled features of a pair."""
    return distilled(load_fast(info), pair, config)


def show_all(chosen: list[CheckpointInfo], pair: Pairs, config: AttackConfig) -> None:
    """The pair on all chosen checkpoints, and how typical it is."""
    features = tuple((info, features_of(info, pair, config)) for info in chosen)
    st.fragment(show_pair)(features)
    note = " This pair was chosen to explain; see below how typical it is."
    st.caption(
        f"Source: {end_title(pair.sources)}. Target: {end_title(pair.targets)}. Distilled "
        f"with {distillation_title(config)}, without a random start. Images: {data_in_use()}. One "
        f"pair says nothing about accuracy.{note if is_first(pair) else ''}"
    )
    st.fragment(show_overlap)(features)


available, broken = begin_page("Distilled features")
answer = st.container()

with st.sidebar:
    source, target = choose_ends()
    chosen = choose_ensembles(available, FIRST_METHODS, MOST_SIDE_BY_SIDE, "side by side")
    config = None
    with errors_as_messages():
        config = distillation_form()

with answer:
    if not chosen:
        ask_for_an_ensemble()
    elif config is not None:
        with errors_as_messages():
            show_all(chosen, one_pair(source, target), config)

st.subheader("Choose an image", anchor=False)
st.fragment(pair_gallery)(chosen)
show_left_out(broken)
