"""Which part of which plane is looked at; the values live in the page's address."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

EXTENTS = (1, 1.5, 2, 3, 5, 8)
POINTS = (61, 121)
OWN, FIRST = "own", "first"
PLANE_TITLES = {OWN: "Each its own", FIRST: "Of the first"}


@dataclass(frozen=True)
class RegionChoice:
    """What the controls hold.

    Attributes:
        extent: half the side of the map in multiples of eps.
        points: along each side, odd.
        seed: of the random direction.
        shared: every ensemble is shown on the plane of the attack on the first.
    """

    extent: float
    points: int
    seed: int
    shared: bool


def region_form() -> RegionChoice:
    """The controls for the plane."""
    plane = st.segmented_control(
        "Plane",
        list(PLANE_TITLES),
        default=OWN,
        required=True,
        format_func=PLANE_TITLES.__getitem__,
        key="plane",
        bind="query-params",
        help="Each ensemble on the plane of the attack on itself, or both on the plane of the "
        "attack on the first, where they compare point by point.",
    )
    extent = st.select_slider(
        "Reach (multiples of eps)",
        EXTENTS,
        3,
        format_func="{:g}".format,
        key="extent",
        bind="query-params",
        help="How far around the image to look: half the side of a map.",
    )
    left, right = st.columns(2)
    points = left.selectbox(
        "Points a side",
        POINTS,
        key="points",
        bind="query-params",
        help="More are finer and slower.",
    )
    seed = right.number_input(
        "Direction's seed",
        0,
        2**31 - 1,
        0,
        key="direction",
        bind="query-params",
        help="Of the random direction, the vertical axis.",
    )
    return RegionChoice(extent, points, seed, plane == FIRST)
