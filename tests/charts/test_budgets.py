"""Bars of the smallest budgets: lengths, and what is written at their ends."""

from __future__ import annotations

import pytest
import torch

from dverge.attacks import Norm
from dverge.charts.budgets import budget_chart, budget_frame
from dverge.exploration.smallest import SmallestEps

IMAGE = torch.zeros(1, 3, 32, 32)
FOUND = {
    "a": [SmallestEps("member-1", 2 / 255, 1 / 255, IMAGE), SmallestEps("mixture", 0.0, 0, IMAGE)],
    "b": [
        SmallestEps("member-1", 30.4 / 255, 0, IMAGE),
        SmallestEps("mixture", None, 0.5, IMAGE),
    ],
}


def test_lengths_and_words_in_255ths() -> None:
    frame = budget_frame(FOUND, Norm.LINF)
    assert frame["ensemble"].tolist() == ["a", "a", "b", "b"]
    assert frame["model"].tolist() == ["submodel 1", "mixture"] * 2
    assert frame["eps"].tolist() == pytest.approx([2, 0, 30.4, 127.5])
    assert frame["label"].tolist() == [
        "2/255",
        "wrong before the attack",
        "30/255",
        "more than 128/255",
    ]


def test_l2_is_in_its_own_unit() -> None:
    frame = budget_frame({"a": [SmallestEps("mixture", 0.125, 0.1, IMAGE)]}, Norm.L2)
    assert frame["eps"].tolist() == [0.125] and frame["label"].tolist() == ["0.12"]


def test_ensembles_keep_their_colours() -> None:
    colours = {"a": "#111111", "b": "#222222"}
    spec = budget_chart(budget_frame(FOUND, Norm.LINF), colours, Norm.LINF).to_dict()
    scale = spec["layer"][0]["encoding"]["color"]["scale"]
    assert scale == {"domain": ["a", "b"], "range": ["#111111", "#222222"]}
    assert "of 255" in spec["layer"][0]["encoding"]["x"]["title"]
