"""One palette and one look for every figure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import altair as alt

from dverge.attacks import Norm
from dverge.exploration.verdicts import Verdict

METHOD_COLOURS = {
    "vanilla": "#5B7C99",
    "dverge": "#E07A1F",
    "dverge-advt": "#2A9D6F",
    "advt": "#8E5EA2",
    "tuned": "#C2185B",
}
METHOD_TITLES = {
    "vanilla": "Vanilla",
    "dverge": "DVERGE",
    "dverge-advt": "DVERGE+AdvT",
    "advt": "AdvT",
    "imported": "Imported",
}
OTHER_COLOURS = ("#0072B2", "#B8860B", "#CC79A7", "#00798C", "#7F6A4F", "#6A5ACD")
VERDICT_SIGNS = {
    Verdict.HOLDS: "✓",
    Verdict.FOOLED: "✕",
    Verdict.WRONG_BEFORE: "○",
    Verdict.REACHED: "✕",
    Verdict.MISSED: "≠",
    Verdict.TARGET_BEFORE: "○",
}
GROUNDS = {False: "#FFFFFF", True: "#0F1419"}  # light and dark
INKS = {False: "#1B2733", True: "#E6EBF0"}
FAINT = "#6B7885"  # grey text on white
IS_MIXTURE = "datum.model == 'mixture'"  # a Vega expression


def ensemble_colour(name: str, method: str) -> str:
    """An ensemble's colour, the same on every page.

    A checkpoint named like its method ("vanilla-3xconv-s0") has the method's colour, and all tuned
    ones share a colour. Any other has a colour that depends only on its name.
    """
    if name.endswith("-tuned"):
        return METHOD_COLOURS["tuned"]
    if method in METHOD_COLOURS and name.startswith(f"{method}-") and name.endswith("-s0"):
        return METHOD_COLOURS[method]
    number = hashlib.sha256(name.encode()).digest()[0]
    return OTHER_COLOURS[number % len(OTHER_COLOURS)]


def method_title(method: str) -> str:
    """A method's name for the screen."""
    return METHOD_TITLES.get(method, method)


def eps_unit(norm: Norm) -> int:
    """What a budget is multiplied by on screen: 255 for L-inf, 1 for L2."""
    return 255 if norm is Norm.LINF else 1


def colour_by(field: str, colours: Mapping[str, str], **legend: Any) -> alt.Color:
    """Each name in its colour, with a legend without title, at the top unless set otherwise."""
    scale = alt.Scale(domain=list(colours), range=list(colours.values()))
    settings: dict[str, Any] = {"title": None, "orient": "top"} | legend
    return alt.Color(field, scale=scale, legend=alt.Legend(**settings))


def if_mixture(value: float, otherwise: float) -> Any:
    """One value for the mixture's marks and another for those of the submodels."""
    return alt.condition(IS_MIXTURE, alt.value(value), alt.value(otherwise))


def tooltip(*lines: tuple[str, ...]) -> list[alt.Tooltip]:
    """A line for each field (such as "eps:Q"), with its title and, for a number, its format."""
    return [
        alt.Tooltip(field, title=title, format=form[0] if form else alt.Undefined)
        for field, title, *form in lines
    ]


def interval_lines(low: str, high: str, form: str) -> list[tuple[str, ...]]:
    """The two lines of a tooltip with the ends of a 95 % interval."""
    return [(f"{low}:Q", "95 % from", form), (f"{high}:Q", "to", form)]


def name_axis(**settings: Any) -> alt.Axis:
    """An axis of names, without line and ticks."""
    return alt.Axis(ticks=False, domain=False, **settings)


def zoom_x() -> alt.Parameter:
    """Lets a person zoom and pan along x."""
    return alt.selection_interval(bind="scales", encodings=["x"], name="zoom")
