"""Matrices: every cell with its number and interval, legible on light and dark ground."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dverge.charts.matrices import matrix_chart, matrix_frame

VALUES = torch.tensor([[90.0, 10.0, 55.0], [20.0, 80.0, 45.0]])
ROWS, COLUMNS = ["submodel 2", "mixture"], ["submodel 2", "submodel 1", "mixture"]
FRAME = matrix_frame(VALUES, ROWS, COLUMNS, VALUES - 1, VALUES + 2)


def spec_of(digits: int = 0, dark: bool = False) -> dict[str, Any]:
    chart = matrix_chart(FRAME, "Crafted on", "Fools", "Fooled (%)", (0, 100), digits, dark)
    return dict(chart.to_dict())


def test_a_row_for_each_cell_with_its_interval() -> None:
    assert len(FRAME) == 6
    assert FRAME.iloc[3].to_list() == ["mixture", "submodel 2", 20.0, 19.0, 22.0]
    assert FRAME["value"].tolist() == VALUES.flatten().tolist()


def test_an_unknown_cell_can_be_drawn() -> None:
    unknown = torch.full((1, 1), torch.nan)
    frame = matrix_frame(unknown, ["mixture"], ["mixture"], unknown, unknown)
    assert matrix_chart(frame, "from", "to", "d", (0, 12)).to_dict()


@pytest.mark.parametrize("digits", [0, 1])
def test_cells_keep_their_order_and_numbers(digits: int) -> None:
    spec = spec_of(digits)
    (data,) = spec["datasets"].values()
    assert [row["value"] for row in data] == VALUES.flatten().tolist()
    squares, numbers = spec["layer"]
    assert (squares["mark"]["type"], numbers["mark"]["type"]) == ("rect", "text")
    for layer in (squares, numbers):
        assert layer["encoding"]["y"]["sort"] == ROWS
        assert layer["encoding"]["x"]["sort"] == COLUMNS
        fields = [each["field"] for each in layer["encoding"]["tooltip"]]
        assert fields == ["row", "column", "value", "low", "high"]
    assert numbers["encoding"]["text"]["field"] == "value"
    assert numbers["encoding"]["text"]["format"] == f".{digits}f"
    titles = (squares["encoding"][axis]["title"] for axis in ("y", "x"))
    assert tuple(titles) == ("Crafted on", "Fools")


def test_the_scale_is_fixed_so_that_maps_compare() -> None:
    scale = spec_of()["layer"][0]["encoding"]["color"]["scale"]
    assert scale == {"domain": [0, 100], "clamp": True}


def luminance(colour: str) -> float:
    colour = {"white": "#FFFFFF"}.get(colour, colour)
    return sum(int(colour[i : i + 2], 16) for i in (1, 3, 5)) / (3 * 255)


@pytest.mark.parametrize("dark", [False, True])
def test_ink_stands_out_from_its_cell(dark: bool) -> None:
    """Larger values are darker on a light page and lighter on a dark one; the ink is opposite."""
    ink = spec_of(dark=dark)["layer"][1]["encoding"]["color"]
    assert ink["condition"]["test"] == "datum.value > 50.0"
    strong, weak = luminance(ink["condition"]["value"]), luminance(ink["value"])
    assert (strong < 0.2 and weak > 0.8) if dark else (strong > 0.8 and weak < 0.2)
