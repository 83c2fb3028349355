"""The report's tables and figures drawn: frames against the results that they were made of."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest

from dverge import checkpoints
from dverge.charts.report_document import count_reproduced
from dverge.charts.reproduction import (
    agreement_chart,
    agreement_frame,
    auto_columns,
    cell_frame,
    column_title,
    figure_chart,
    figure_panels,
    table_frame,
)
from dverge.charts.style import METHOD_COLOURS
from dverge.evaluation.protocols import Protocol
from dverge.reproduction.matching import ReproducedFigure, Reproduction, reproduce
from dverge.reproduction.printed import DVERGE, REPORT_TABLES
from dverge.results import wilson_interval
from tests.reproduction.report_shelf import COLUMNS, epochs_of, measure, trained

REPORT_COUNTS = {c: [100 * i + j for j in range(4)] for i, c in enumerate(COLUMNS, 1)}
STANDARD_COUNTS = {c: [50 * i + j for j in range(4)] for i, c in enumerate(COLUMNS, 1)}


@pytest.fixture(scope="module")
def reproduction(tmp_path_factory: pytest.TempPathFactory) -> Reproduction:
    """Vanilla and DVERGE trainings, measured, with histories; DVERGE of two seeds.

    100 vanilla epochs are there, too; DVERGE+AdvT stopped before the epoch that the report names.
    """
    root = tmp_path_factory.mktemp("report")
    falling = [2 - 0.005 * i for i in range(200)]
    valleys = [[1 + 0.01 * abs(i - bottom) for i in range(100)] for bottom in (20, 30, 40)]
    rows = epochs_of([falling] * 3, falling[:100], valleys)
    trained(root, "vanilla-3xconv-s0-100", "vanilla", 100, history=rows)
    vanilla = trained(root, "vanilla-3xconv-s0", "vanilla", 30)
    measure(vanilla, Protocol.AUTOATTACK, {"aa-linf": (1, 2, 3, 44)})
    for seed in (0, 1):
        mixture = [1 + 0.001 * abs(i - 50 - seed) for i in range(200)]
        rows = epochs_of([falling] * 3, mixture, layers=[1 + i % 5 for i in range(200)])
        dverge = trained(root, f"dverge-3xconv-s{seed}", "dverge", 200, seed, history=rows)
        for info in (vanilla, dverge) if seed == 0 else ():
            measure(info, Protocol.REPORT, REPORT_COUNTS)
            measure(info, Protocol.STANDARD, STANDARD_COUNTS)
    rows = epochs_of([falling] * 3, falling[:20])
    trained(root, "dverge-advt-3xconv-s0", "dverge-advt", 50, history=rows)
    return reproduce(checkpoints.list_all(root)[0])


def interval(correct: int) -> str:
    low, high = wilson_interval(correct, 1000)
    return f"({100 * low:.1f}–{100 * high:.1f})"


# --- tables ---


def test_a_table_as_texts(reproduction: Reproduction) -> None:
    lines = reproduction.lines(reproduction.table(DVERGE))
    frame = table_frame(lines)
    titles = ("no attack", "FGSM", "PGD L∞", "PGD L2")
    heads = [f"{t}: {source}" for t in titles for source in ("report", "here", "standard")]
    assert list(frame.columns) == ["Model", *heads, "AutoAttack L∞ 8/255"]
    assert frame["Model"].tolist() == [line.title for line in lines]
    mixture, vanilla = frame.iloc[3], frame.iloc[4]
    assert mixture["FGSM: report"] == "34.67" and vanilla["FGSM: report"] == "–"
    assert mixture["FGSM: here"] == f"20.3 {interval(203)}"
    assert mixture["FGSM: standard"] == f"10.3 {interval(103)}"
    assert mixture["AutoAttack L∞ 8/255"] == "–"
    assert vanilla["AutoAttack L∞ 8/255"] == f"4.4 {interval(44)}"
    assert auto_columns(lines) == ["aa-linf"] and auto_columns(lines[:4]) == []
    assert "AutoAttack L∞ 8/255" not in table_frame(lines[:4])


def test_columns_are_named_with_their_setting() -> None:
    assert column_title("pgd-l2") == "PGD L2"
    assert column_title("pgd-l2", Protocol.STANDARD) == "Strong L2 0.5"
    assert column_title("aa-l2", Protocol.AUTOATTACK) == "AutoAttack L2 0.5"


def test_all_cells_in_a_frame(reproduction: Reproduction) -> None:
    frame = cell_frame(reproduction)
    printed = frame[frame["protocol"] == "printed"]
    assert sorted(printed["accuracy"]) == sorted(
        value for table in REPORT_TABLES for row in table.rows.values() for value in row
    )
    chosen = (frame["table"] == 2) & (frame["model"] == "mixture") & (frame["attack"] == "fgsm")
    (row,) = frame[chosen & (frame["protocol"] == "report")].to_dict("records")
    low, high = wilson_interval(203, 1000)
    assert (row["accuracy"], row["images"], row["split"]) == (20.3, 1000, "validation")
    assert (row["low"], row["high"]) == pytest.approx((100 * low, 100 * high))
    assert (row["lowest"], row["highest"], row["trainings"]) == (20.3, 20.3, 1)
    assert (row["checkpoints"], row["reproduced"]) == ("dverge-3xconv-s0", False)


def test_agreement_is_of_every_printed_figure_that_was_measured(
    reproduction: Reproduction,
) -> None:
    frame = agreement_frame(reproduction)
    assert len(frame) == 12 + 16
    assert (frame["verdict"] == "reproduced").sum() == count_reproduced(reproduction)[0]
    spec = json.dumps(agreement_chart(frame).to_dict())
    assert METHOD_COLOURS["vanilla"] in spec and METHOD_COLOURS["dverge"] in spec
    assert METHOD_COLOURS["dverge-advt"] not in spec
    assert agreement_frame(reproduce([])).empty


# --- figures ---


def specs(figure: ReproducedFigure, legends: bool = True) -> dict[str, dict[str, Any]]:
    return {quantity: chart.to_dict() for quantity, chart in figure_panels(figure, legends)}


def rows_with(spec: dict[str, Any], field: str) -> list[dict[str, Any]]:
    return [row for rows in spec["datasets"].values() for row in rows if field in row]


def models(spec: dict[str, Any]) -> set[str]:
    return {row["model"] for row in rows_with(spec, "model")}


def lowest(spec: dict[str, Any]) -> dict[str, float]:
    """The marked points, which are a data set with one row for each model of the first training."""
    (rows,) = [
        rows
        for rows in spec["datasets"].values()
        if "model" in rows[0] and len(rows) == len({row["model"] for row in rows})
    ]
    return {row["model"]: row["epoch"] for row in rows}


def named(spec: dict[str, Any]) -> list[str]:
    return [row["text"] for row in rows_with(spec, "text")]


def test_figure_2_is_of_the_submodels_with_their_lowest_epochs(reproduction: Reproduction) -> None:
    panels = specs(reproduction.figures[0])
    assert list(panels) == ["Training loss", "Validation loss"]
    assert models(panels["Training loss"]) == {f"submodel {i}" for i in (1, 2, 3)}
    validation = panels["Validation loss"]
    expected = {"submodel 1": 21, "submodel 2": 31, "submodel 3": 41}
    assert lowest(validation) == expected | {"mixture": 100}
    assert named(validation) == ["report: around 30"] and named(panels["Training loss"]) == []
    assert validation["title"]["text"] == "Validation loss (nats)"


def test_figure_3_is_of_the_mixture_and_of_all_trainings(reproduction: Reproduction) -> None:
    panels = specs(reproduction.figures[1])
    validation, training = panels["Validation loss"], panels["Training loss"]
    assert models(validation) == {"mixture", "dverge-3xconv-s1"}
    assert lowest(validation) == {"mixture": 51}
    assert named(training) == ["report: around 200"]
    assert rows_with(training, "layer")
    assert models(training) == {*(f"submodel {i}" for i in (1, 2, 3)), "dverge-3xconv-s1"}
    assert METHOD_COLOURS["dverge"] in json.dumps(validation)


def test_legends_can_be_left_out(reproduction: Reproduction) -> None:
    for legends in (True, False):
        text = json.dumps(specs(reproduction.figures[1], legends))
        assert ('"orient": "top"' in text) is legends


def test_an_epoch_beyond_the_curves_is_not_named(reproduction: Reproduction) -> None:
    assert [named(spec) for spec in specs(reproduction.figures[2]).values()] == [[], []]
    assert figure_panels(reproduce([]).figures[0]) == []


def test_a_figure_is_saved_whole_and_without_a_warning(
    reproduction: Reproduction, tmp_path: Path
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure_chart(reproduction.figures[1]).save(str(tmp_path / "figure.json"))
    spec = json.loads((tmp_path / "figure.json").read_text())
    assert len(spec["hconcat"]) == 2
    assert spec["title"]["text"] == "Figure 3: dverge-3xconv-s0, dverge-3xconv-s1"
