"""Choosing the ensembles that a page compares."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from dverge.checkpoints import CheckpointInfo


def choose_ensembles(
    available: list[CheckpointInfo], methods: Sequence[str], most: int, where: str
) -> list[CheckpointInfo]:
    """The checkpoints to compare, by name in the page's address.

    Args:
        available: all checkpoints.
        methods: the page opens with one checkpoint of each of these, in this order.
        most: how many can be chosen.
        where: how they are shown, such as "side by side".
    """
    named = {info.name: info for info in available}
    names = st.multiselect(
        "Ensembles",
        list(named),
        default=[info.name for info in first_of_each(available, methods)],
        max_selections=most,
        key="ensembles",
        bind="query-params",
        help=f"Up to {most}, {where}.",
    )
    return [named[name] for name in names]


def first_of_each(available: list[CheckpointInfo], methods: Sequence[str]) -> list[CheckpointInfo]:
    """The first checkpoint of each method, in the methods' order; any one if there is none."""
    ordered = sorted(available, key=rank_in_method)
    by_method = [[info for info in ordered if info.card.method == method] for method in methods]
    return [infos[0] for infos in by_method if infos] or available[:1]


def rank_in_method(info: CheckpointInfo) -> tuple[bool, str]:
    """A sort key within one method: checkpoints whose name starts with the method come first."""
    return not info.name.startswith(f"{info.card.method}-"), info.name
