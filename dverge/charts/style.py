"""One palette and one look for every figure."""

from __future__ import annotations

import hashlib

from dverge.exploration.examine import Verdict

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
VERDICT_SIGNS = {Verdict.HOLDS: "✓", Verdict.FOOLED: "✕", Verdict.WRONG_BEFORE: "○"}


def ensemble_colour(name: str, method: str) -> str:
    """An ensemble's colour, the same on every page: its method's, if its name says no variant.

    A checkpoint named like its method ("vanilla-3xconv-s0") has the method's colour; tuned ones
    theirs; others one that depends on their name alone.
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
