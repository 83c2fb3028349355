"""Choosing the ensembles that a page compares."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from dverge.checkpoints import CheckpointInfo
from pages.widgets.resources import most_accurate


def choose_ensembles(
    available: list[CheckpointInfo], methods: Sequence[str], most: int, where: str
) -> list[CheckpointInfo]:
    """The checkpoints to compare, by name in the page's address.

    Args:
        available: all there are.
        methods: at first there is one checkpoint of each of these, in their order.
        most: so many at once.
        where: how they are shown, such as "side by side".
    """
    by_name = {info.name: info for info in available}
    names = st.multiselect(
        "Ensembles",
        list(by_name),
        default=[info.name for info in best_of_each(available, methods)],
        max_selections=most,
        key="ensembles",
        bind="query-params",
        help=f"Up to {most}, {where}.",
    )
    return [by_name[name] for name in names]


def best_of_each(available: list[CheckpointInfo], methods: Sequence[str]) -> list[CheckpointInfo]:
    """The checkpoint of each method that states the best clean mixture, in the methods' order.

    If there is none of any, the most accurate one of all.
    """
    kinds = [[info for info in available if info.card.method == method] for method in methods]
    return [most_accurate(kind) for kind in kinds if kind] or [most_accurate(available)]
