"""Colours: the method's for the plain names, else one of the name alone."""

from __future__ import annotations

from dverge.charts.style import METHOD_COLOURS, OTHER_COLOURS, ensemble_colour


def test_plain_checkpoints_have_their_methods_colour() -> None:
    assert ensemble_colour("vanilla-3xconv-s0", "vanilla") == METHOD_COLOURS["vanilla"]
    assert ensemble_colour("dverge-advt-3xconv-s0", "dverge-advt") == METHOD_COLOURS["dverge-advt"]
    assert ensemble_colour("dverge-3xconv-s0-tuned", "dverge") == METHOD_COLOURS["tuned"]


def test_other_names_keep_their_colour_whatever_the_method() -> None:
    colour = ensemble_colour("my-own", "vanilla")
    assert colour in OTHER_COLOURS
    assert colour == ensemble_colour("my-own", "imported")
