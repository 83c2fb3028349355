"""Curves: the frames' values against rows made by hand."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from dverge.charts.curves import (
    LOSS_TERMS,
    MOST_POINTS,
    QUANTITIES,
    TRAIN_LOSS,
    VAL_ACCURACY,
    VAL_LOSS,
    best_values,
    compared_curves,
    compared_frame,
    curve_frame,
    layer_frame,
    quantities,
    run_curves,
    smooth,
)


def epoch_row(epoch: int, loss: float, accuracy: float) -> dict[str, Any]:
    return {
        "kind": "epoch",
        "epoch": epoch,
        "train_loss": [loss, loss + 1],
        "val_loss": [loss + 2, loss + 3],
        "val_accuracy": [accuracy, accuracy / 2],
        "mixture_val_loss": loss + 4,
        "mixture_val_accuracy": accuracy,
    }


def step_row(epoch: float) -> dict[str, Any]:
    return {"kind": "step", "epoch": epoch, "loss": [epoch, 2 * epoch]}


def values(frame: pd.DataFrame, quantity: str, model: str) -> list[float]:
    chosen = frame[(frame["quantity"] == quantity) & (frame["model"] == model)]
    return chosen["value"].tolist()


def test_the_frame_has_each_figure_once_with_accuracies_in_per_cent() -> None:
    frame = curve_frame([step_row(0.5), epoch_row(1, 0.1, 0.5), epoch_row(2, 0.2, 0.25)])
    assert values(frame, TRAIN_LOSS, "submodel 2") == [1.0]
    assert values(frame, VAL_LOSS, "submodel 1") == [2.1, 2.2]
    assert values(frame, VAL_LOSS, "mixture") == [4.1, 4.2]
    assert values(frame, VAL_ACCURACY, "submodel 2") == [25.0, 12.5]
    assert values(frame, VAL_ACCURACY, "mixture") == [50.0, 25.0]
    history = epoch_row(1, 0.1, 0.5)
    del history["kind"]  # as in a checkpoint; without steps it is the epoch's mean
    assert values(curve_frame([history]), TRAIN_LOSS, "submodel 1") == [0.1]
    long = curve_frame([step_row(i / 100) for i in range(10_000)])
    assert len(long) <= 2 * (MOST_POINTS + 1)


def test_smoothing_is_the_weighted_mean_of_each_curve_alone() -> None:
    points = [(0, "a", 0.0), (1, "a", 3.0), (0, "b", 10.0), (1, "b", 10.0)]
    frame = pd.DataFrame(points, columns=["epoch", "model", "value"]).assign(quantity=TRAIN_LOSS)
    alpha = 2 / (3 + 1)  # span 3
    expected = (3.0 + (1 - alpha) * 0.0) / (1 + (1 - alpha))
    assert smooth(frame, 3)["value"].tolist() == pytest.approx([0, expected, 10, 10])
    assert smooth(frame, 1) is frame


def test_best_values_are_the_mixtures() -> None:
    best = best_values([epoch_row(1, 0.3, 0.5), epoch_row(2, 0.1, 0.7), epoch_row(3, 0.2, 0.6)])
    assert best == {"loss": 4.1, "loss_epoch": 2, "accuracy": 70.0, "accuracy_epoch": 2}
    assert best_values([step_row(1)]) == {}


def test_comparison_takes_the_mean_for_training_and_the_mixture_for_validation() -> None:
    frame = compared_frame({"run": curve_frame([epoch_row(1, 0.0, 0.5)])})
    assert values(frame, TRAIN_LOSS, "run") == [0.5]
    assert values(frame, VAL_LOSS, "run") == [4.0]


@pytest.mark.parametrize("quantity", QUANTITIES)
@pytest.mark.parametrize("rows", [[], [step_row(0.1)], [epoch_row(1, 0.1, 0.5)]])
@pytest.mark.parametrize("log", [False, True])
def test_charts_are_valid_from_the_first_row(
    quantity: str, rows: list[dict[str, Any]], log: bool
) -> None:
    frame = curve_frame(rows)
    assert run_curves(frame, quantity, "#5B7C99", epochs=3, log=log).to_dict()
    compared = compared_frame({"run": frame})
    assert compared_curves(compared, quantity, {"run": "#5B7C99"}, log).to_dict()


def distilled_row(epoch: int, layer: int | None, **terms: list[float]) -> dict[str, Any]:
    return {**epoch_row(epoch, 0.1, 0.5), "layer": layer, "terms": terms}


def test_loss_terms_are_means_over_submodels_and_drawn_if_there_are_several() -> None:
    frame = curve_frame([distilled_row(1, 2, diversity=[1.0, 3.0], adversarial=[2.0, 2.5])])
    assert values(frame, LOSS_TERMS, "diversity") == [2.0]
    assert values(frame, LOSS_TERMS, "adversarial") == [2.25]
    assert quantities(frame) == [*QUANTITIES, LOSS_TERMS]
    for rows in ([distilled_row(1, 2, diversity=[1.0, 3.0])], []):
        assert quantities(curve_frame(rows)) == list(QUANTITIES)


def test_each_epoch_is_marked_with_its_layer() -> None:
    rows = [step_row(0.5), distilled_row(1, 4), distilled_row(2, 1), epoch_row(3, 0.1, 0.5)]
    frame = layer_frame(rows)
    assert frame.to_numpy().tolist() == [[0, 1, "4"], [1, 2, "1"]]
    chart = run_curves(curve_frame(rows), TRAIN_LOSS, "#000000", 3, layers=frame).to_dict()
    assert [layer["mark"]["type"] for layer in chart["layer"]] == ["line", "rect"]
    assert chart["layer"][1]["encoding"]["color"]["scale"]["domain"] == list("12345")
    rows = [distilled_row(1, None, clean=[1.0, 2.0])]
    assert layer_frame(rows).empty
    plain = run_curves(curve_frame(rows), TRAIN_LOSS, "#000000", 1, layers=layer_frame(rows))
    assert "layer" not in plain.to_dict()
