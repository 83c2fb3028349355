"""The report's tables and figures drawn: frames against the figures that they were made of."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest

from dverge import checkpoints
from dverge.charts.report_curves import figure_chart, figure_panels, trainings_panels
from dverge.charts.reproduction import (
    again_frame,
    agreement_chart,
    agreement_frame,
    auto_columns,
    cell_frame,
    column_title,
)
from dverge.charts.style import METHOD_COLOURS
from dverge.evaluation.protocols import Protocol
from dverge.reproduction.figures import FigureAgain, reproduce_figures
from dverge.reproduction.reproduction import Reproduction, reproduce
from dverge.reproduction.tables import REPORT_TABLES
from dverge.results import wilson_interval
from tests.reproduction.report_shelf import COLUMNS, epochs_of, measure, trained

REPORT_COUNTS = {c: [100 * i + j for j in range(4)] for i, c in enumerate(COLUMNS, 1)}
STANDARD_COUNTS = {c: [50 * i + j for j in range(4)] for i, c in enumerate(COLUMNS, 1)}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The vanilla and DVERGE trainings, measured under both protocols, vanilla by AutoAttack."""
    for name, method, epochs in (
        ("vanilla-3xconv-s0", "vanilla", 30),
        ("dverge-3xconv-s0", "dverge", 200),
    ):
        info = trained(tmp_path, name, method, epochs)
        measure(info, Protocol.REPORT, REPORT_COUNTS)
        measure(info, Protocol.STANDARD, STANDARD_COUNTS)
        if method == "vanilla":
            measure(info, Protocol.AUTOATTACK, {"aa-linf": (1, 2, 3, 44)})
    return tmp_path


@pytest.fixture
def found(root: Path) -> Reproduction:
    return reproduce(checkpoints.list_all(root)[0])


def interval(right: int) -> str:
    low, high = wilson_interval(right, 1000)
    return f"({100 * low:.1f}–{100 * high:.1f})"


# --- tables ---


def test_a_table_as_texts(found: Reproduction) -> None:
    frame = again_frame(found.lines(found.table("dverge", 200)))
    titles = ("no attack", "FGSM", "PGD L∞", "PGD L2")
    heads = [f"{t}: {source}" for t in titles for source in ("report", "here", "standard")]
    assert list(frame.columns) == ["Model", *heads, "AutoAttack L∞ 8/255"]
    assert frame["Model"].tolist() == [
        "submodel 1",
        "submodel 2",
        "submodel 3",
        "mixture",
        "vanilla mixture",
    ]
    mixture = frame.iloc[3]
    assert mixture["FGSM: report"] == "34.67"
    assert mixture["FGSM: here"] == f"20.3 {interval(203)}"
    assert mixture["FGSM: standard"] == f"10.3 {interval(103)}"
    assert mixture["AutoAttack L∞ 8/255"] == "–"
    baseline = frame.iloc[4]
    assert baseline["FGSM: report"] == "–"
    assert baseline["AutoAttack L∞ 8/255"] == f"4.4 {interval(44)}"


def test_without_autoattack_there_is_no_column_of_it(found: Reproduction) -> None:
    lines = found.lines(found.table("dverge", 200))
    assert auto_columns(lines) == ["aa-linf"]
    assert auto_columns(lines[:4]) == []
    assert "AutoAttack L∞ 8/255" not in again_frame(lines[:4])


def test_columns_are_named_with_their_setting() -> None:
    assert column_title("pgd-l2") == "PGD L2"
    assert column_title("pgd-l2", Protocol.STANDARD) == "PGD L2 0.5, 50 steps"
    assert column_title("aa-l2", Protocol.AUTOATTACK) == "AutoAttack L2 0.5"


def test_all_cells_in_a_frame(found: Reproduction) -> None:
    frame = cell_frame(found)
    printed = frame[frame["protocol"] == "printed"]
    assert len(printed) == 60
    assert sorted(printed["accuracy"]) == sorted(
        value for table in REPORT_TABLES for row in table.rows.values() for value in row
    )
    (row,) = frame[
        (frame["table"] == 2)
        & (frame["model"] == "mixture")
        & (frame["attack"] == "fgsm")
        & (frame["protocol"] == "report")
    ].to_dict("records")
    low, high = wilson_interval(203, 1000)
    assert (row["accuracy"], row["images"], row["split"]) == (20.3, 1000, "validation")
    assert (row["low"], row["high"]) == pytest.approx((100 * low, 100 * high))
    assert (row["lowest"], row["highest"], row["trainings"]) == (20.3, 20.3, 1)
    assert (row["checkpoints"], row["comes_back"]) == ("dverge-3xconv-s0", False)


def test_agreement_holds_every_printed_cell_that_was_measured(found: Reproduction) -> None:
    frame = agreement_frame(found)
    assert len(frame) == 12 + 16
    assert (frame["verdict"] == "comes back").sum() == found.returned()[0]
    spec = agreement_chart(frame).to_dict()
    assert len(spec["layer"]) == 4
    text = json.dumps(spec)
    assert METHOD_COLOURS["vanilla"] in text and METHOD_COLOURS["dverge"] in text
    assert METHOD_COLOURS["dverge-advt"] not in text


def test_nothing_measured_is_an_empty_frame(tmp_path: Path) -> None:
    assert agreement_frame(reproduce([])).empty


# --- figures ---


@pytest.fixture
def figures(tmp_path: Path) -> list[FigureAgain]:
    """Of 100 vanilla epochs, and of two DVERGE trainings."""
    falling = [2 - 0.01 * i for i in range(100)]
    valleys = [[1 + 0.01 * abs(i - bottom) for i in range(100)] for bottom in (20, 30, 40)]
    history = epochs_of([falling] * 3, falling, valleys)
    trained(tmp_path, "vanilla-3xconv-s0", "vanilla", 100, history=history)
    for seed in (0, 1):
        mixture = [1 + 0.001 * abs(i - 50 - seed) for i in range(200)]
        losses = [[2 - 0.005 * i for i in range(200)]] * 3
        layers = [1 + i % 5 for i in range(200)]
        rows = epochs_of(losses, mixture, layers=layers)
        trained(tmp_path, f"dverge-3xconv-s{seed}", "dverge", 200, seed, history=rows)
    return reproduce_figures(checkpoints.list_all(tmp_path)[0])


def specs(again: FigureAgain) -> dict[str, dict[str, Any]]:
    return {quantity: chart.to_dict() for quantity, chart in figure_panels(again)}


def data(spec: dict[str, Any]) -> list[list[dict[str, Any]]]:
    return list(spec["datasets"].values())


def models(spec: dict[str, Any]) -> set[str]:
    return {row["model"] for rows in data(spec) for row in rows if "model" in row}


def lowest(spec: dict[str, Any]) -> dict[str, float]:
    """The marked points, which are a data set with one row a model."""
    (rows,) = [
        rows
        for rows in data(spec)
        if "model" in rows[0] and len(rows) == len({row["model"] for row in rows})
    ]
    return {row["model"]: row["epoch"] for row in rows}


def named(spec: dict[str, Any]) -> list[str]:
    return [row["text"] for rows in data(spec) for row in rows if "text" in row]


def test_figure_2_is_of_the_members_with_their_lowest_epochs(figures: list[FigureAgain]) -> None:
    panels = specs(figures[0])
    assert list(panels) == ["Training loss", "Validation loss"]
    assert models(panels["Training loss"]) == {f"submodel {i}" for i in (1, 2, 3)}
    validation = panels["Validation loss"]
    assert models(validation) == {*(f"submodel {i}" for i in (1, 2, 3)), "mixture"}
    assert {k: v for k, v in lowest(validation).items() if k != "mixture"} == {
        "submodel 1": 21,
        "submodel 2": 31,
        "submodel 3": 41,
    }
    assert named(validation) == ["report: around 30"]
    assert named(panels["Training loss"]) == []
    assert validation["title"]["text"] == "Validation loss (nats)"


def test_figure_3_has_the_mixtures_validation_loss_alone(figures: list[FigureAgain]) -> None:
    panels = specs(figures[1])
    assert models(panels["Validation loss"]) == {"mixture"}
    assert lowest(panels["Validation loss"]) == {"mixture": 51}
    assert named(panels["Training loss"]) == ["report: around 200"]
    assert any("layer" in row for rows in data(panels["Training loss"]) for row in rows)
    assert METHOD_COLOURS["dverge"] in json.dumps(panels["Validation loss"])


def test_several_trainings_lie_over_each_other(figures: list[FigureAgain]) -> None:
    assert trainings_panels(figures[0]) == []
    panels = dict(trainings_panels(figures[1]))
    for chart in panels.values():
        assert models(chart.to_dict()) == {"dverge-3xconv-s0", "dverge-3xconv-s1"}


def test_without_a_training_nothing_is_drawn(figures: list[FigureAgain]) -> None:
    assert figures[2].curves == ()
    assert figure_panels(figures[2]) == [] and trainings_panels(figures[2]) == []


def test_a_turn_beyond_the_curves_is_not_drawn(tmp_path: Path) -> None:
    losses = [2 - 0.01 * i for i in range(20)]
    history = epochs_of([losses] * 3, losses)
    trained(tmp_path, "dverge-advt-3xconv-s0", "dverge-advt", 50, history=history)
    (again,) = reproduce_figures(checkpoints.list_all(tmp_path)[0])[2:]
    assert [named(spec) for spec in specs(again).values()] == [[], []]


def test_a_figure_is_saved_whole_and_without_a_warning(
    figures: list[FigureAgain], tmp_path: Path
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        chart = figure_chart(figures[1])
        chart.save(str(tmp_path / "figure.json"))
    spec = json.loads((tmp_path / "figure.json").read_text())
    assert len(spec["hconcat"]) == 2
    assert spec["title"]["text"] == "Figure 3: dverge-3xconv-s0"
