"""The robustness charts: all results are in them, the mixture stands out, colours are fixed."""

from __future__ import annotations

from typing import Any

import altair as alt
import pytest

from dverge.charts.robustness import eps_chart, eps_frame, kind_of, standing_chart, standing_frame
from dverge.evaluation.comparison import Standing
from dverge.results import Result

COLOURS = {"one": "#5B7C99", "two": "#E07A1F"}
MODELS = ("member-1", "member-2", "mixture", "random-member")


def result(model: str, accuracy: float, **parameters: Any) -> Result:
    ends = accuracy - 1.5, accuracy + 2.5
    return Result(model, "pgd-linf", "test", 500, accuracy, *ends, parameters)


def standing(name: str, clean: float) -> Standing:
    """Each model a point better than the one before it; under attack a tenth of the accuracy."""
    before = {model: result(model, clean + i) for i, model in enumerate(MODELS)}
    after = {model: result(model, (clean + i) / 10) for i, model in enumerate(MODELS)}
    return Standing(name, before, after)


STANDINGS = [standing("one", 60.0), standing("two", 50.0)]
CURVES = {
    name: [
        result(model, top / (1 + 100 * eps), **({"eps": eps} if eps else {}))
        for eps in (0.0, 0.01, 0.02)
        for model in MODELS
    ]
    for name, top in (("two", 50.0), ("one", 60.0))
}


def data_of(chart: alt.LayerChart) -> list[dict[str, Any]]:
    """The only data set of a chart."""
    (data,) = chart.to_dict()["datasets"].values()
    return list(data)


def layers(chart: alt.LayerChart, mark: str | None = None) -> list[dict[str, Any]]:
    """The layers of a chart, or only those with a mark."""
    return [layer for layer in chart.to_dict()["layer"] if mark in (None, layer["mark"]["type"])]


def is_mixtures(layer: dict[str, Any]) -> bool:
    return {"filter": "datum.model == 'mixture'"} in layer.get("transform", [])


def test_the_frame_has_both_accuracies_of_each_model_with_their_intervals() -> None:
    frame = standing_frame(STANDINGS)
    assert len(frame) == 8
    assert frame.to_dict("records")[6] == {
        "ensemble": "two",
        "model": "mixture",
        "kind": "mixture",
        "n": 500,
        "clean": 52.0,
        "clean_low": 50.5,
        "clean_high": 54.5,
        "robust": pytest.approx(5.2),
        "robust_low": pytest.approx(3.7),
        "robust_high": pytest.approx(7.7),
    }
    kinds = ["submodel", "submodel", "mixture", "random submodel"]
    assert [kind_of(model) for model in MODELS] == kinds
    one = standing("one", 60.0)
    del one.clean["member-2"]
    assert standing_frame([one])["model"].tolist() == ["submodel 1", "mixture", "random submodel"]


def test_the_summary_shows_every_model_of_every_ensemble() -> None:
    chart = standing_chart(standing_frame(STANDINGS), COLOURS, "PGD L∞ 8/255, 50 steps")
    models = ("submodel 1", "submodel 2", "mixture", "random submodel")
    shown = {(row["ensemble"], row["model"]) for row in data_of(chart)}
    assert shown == {(name, model) for name in COLOURS for model in models}
    points = [layer["encoding"] for layer in layers(chart, "point")]
    assert [(each["x"]["field"], each["y"]["field"]) for each in points] == [
        ("clean", "robust")
    ] * 2
    assert points[0]["y"]["title"] == "Accuracy under PGD L∞ 8/255, 50 steps (%)"
    spans = [layer["encoding"] for layer in layers(chart, "rule")]
    assert spans[0]["x"]["field"] == "clean_low" and spans[0]["x2"]["field"] == "clean_high"
    assert spans[1]["y"]["field"] == "robust_low" and spans[1]["y2"]["field"] == "robust_high"


def test_the_mixture_is_large_and_solid_and_the_others_small_and_open() -> None:
    points = layers(standing_chart(standing_frame(STANDINGS), COLOURS, "FGSM"), "point")
    (mixture,) = (layer["mark"] for layer in points if is_mixtures(layer))
    (other,) = (layer for layer in points if not is_mixtures(layer))
    assert mixture["filled"] and not other["mark"]["filled"]
    assert mixture["size"] > 3 * other["mark"]["size"]
    assert other["transform"] == [{"filter": "!(datum.model == 'mixture')"}]
    shapes = other["encoding"]["shape"]["scale"]
    by_kind = dict(zip(shapes["domain"], shapes["range"], strict=True))
    assert by_kind["submodel"] != by_kind["random submodel"]


def test_ensembles_have_their_colours() -> None:
    standings = standing_chart(standing_frame(STANDINGS), COLOURS, "FGSM")
    for chart in (standings, eps_chart(eps_frame(CURVES), COLOURS)):
        for layer in layers(chart):
            scale = layer["encoding"]["color"]["scale"]
            assert dict(zip(scale["domain"], scale["range"], strict=True)) == COLOURS


def test_one_ensemble_of_one_model() -> None:
    one = Standing("one", {"mixture": result("mixture", 60)}, {"mixture": result("mixture", 0)})
    assert standing_chart(standing_frame([one]), {"one": "#5B7C99"}, "FGSM").to_dict()


def test_curves_begin_without_attack_and_have_each_model_and_budget() -> None:
    frame = eps_frame(CURVES)
    assert len(frame) == 2 * 3 * len(MODELS)
    chosen = frame[(frame["ensemble"] == "one") & (frame["model"] == "mixture")]
    assert chosen["eps"].tolist() == [0.0, 0.01, 0.02]
    for column, shift in (("accuracy", 0), ("low", -1.5), ("high", 2.5)):
        assert chosen[column].tolist() == pytest.approx([60 + shift, 30 + shift, 20 + shift])
    assert set(chosen["n"]) == {500}


def test_the_curve_of_the_mixture_is_thick_and_has_its_band() -> None:
    chart = eps_chart(eps_frame(CURVES), COLOURS)
    assert {row["model"] for row in data_of(chart)} == {"submodel 1", "submodel 2", "mixture"}
    (band,) = layers(chart, "area")
    assert is_mixtures(band)
    assert (band["encoding"]["y"]["field"], band["encoding"]["y2"]["field"]) == ("low", "high")
    lines = layers(chart, "line")
    widths = {is_mixtures(layer): layer["mark"]["strokeWidth"] for layer in lines}
    assert widths[True] >= 3 * widths[False]
    for line in lines:
        encoding = line["encoding"]
        assert [encoding[axis]["field"] for axis in ("x", "y", "detail")] == [
            "eps",
            "accuracy",
            "model",
        ]
        tooltip = {each["field"]: each["title"] for each in encoding["tooltip"]}
        assert list(tooltip) == ["ensemble", "model", "eps", "accuracy", "low", "high"]
        assert tooltip["accuracy"] == encoding["y"]["title"] == "Accuracy (%)"
