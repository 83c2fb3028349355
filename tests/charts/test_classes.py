"""Accuracy by class: each class, state and ensemble is one mark with its own figures."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dverge.charts.classes import per_class_chart, per_class_frame
from dverge.data import CLASSES
from dverge.results import wilson_interval
from tests.charts.test_robustness import data_of

COLOURS = {"one": "#5B7C99", "two": "#E07A1F"}


def counts(right: int) -> Tensor:
    """Of the k-th class, right + k of 50 images are correct; there is no truck."""
    matrix = torch.diag(torch.arange(10) + right)
    matrix[:, 0] += 50 - matrix.diagonal()
    matrix[0, 0], matrix[9] = right, 0
    matrix[0, 5] = 50 - right
    return matrix


COUNTS = {"two": (counts(30), counts(10)), "one": (counts(25), counts(0))}


def test_the_frame_has_each_accuracy_with_its_interval() -> None:
    frame = per_class_frame(COUNTS)
    assert len(frame) == 2 * 2 * 9  # no truck
    (row,) = frame[
        (frame["ensemble"] == "two")
        & (frame["class"] == CLASSES[3])
        & (frame["state"] == "under attack")
    ].to_dict("records")
    low, high = wilson_interval(13, 50)
    assert (row["accuracy"], row["n"]) == (26, 50)
    assert (row["low"], row["high"]) == pytest.approx((100 * low, 100 * high))


def test_the_chart_draws_both_states_and_the_interval_under_attack() -> None:
    chart = per_class_chart(per_class_frame(COUNTS), COLOURS)
    assert len(data_of(chart)) == 36
    drawn = [
        (layer["mark"]["type"], layer["mark"].get("filled"), layer["transform"][0]["filter"])
        for layer in chart.to_dict()["layer"]
    ]
    under, clean = ("datum.state == 'under attack'", "datum.state == 'without attack'")
    assert drawn == [("rule", None, under), ("point", False, clean), ("point", True, under)]
    for layer in chart.to_dict()["layer"]:
        encoding = layer["encoding"]
        assert encoding["y"]["sort"] == list(CLASSES)
        assert encoding["color"]["scale"]["domain"] == list(COLOURS)
    rule = chart.to_dict()["layer"][0]["encoding"]
    assert (rule["x"]["field"], rule["x2"]["field"]) == ("low", "high")
