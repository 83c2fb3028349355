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
        available: all there are.
        methods: at first there is one checkpoint of each of these, in their order.
        most: so many at once.
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
    """The first checkpoint of each method, in the methods' order; if there is none, any one."""
    ordered = sorted(available, key=place_by_name)
    kinds = [[info for info in ordered if info.card.method == method] for method in methods]
    return [kind[0] for kind in kinds if kind] or available[:1]


def place_by_name(info: CheckpointInfo) -> tuple[bool, str]:
    """The place among those of one method: those named like it come first."""
    return not info.name.startswith(f"{info.card.method}-"), info.name
