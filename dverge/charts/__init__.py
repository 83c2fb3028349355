"""Figures: pure functions from data to Altair charts and pictures, in one style."""

from dverge.charts.answers import class_chart, class_frame
from dverge.charts.curves import (
    QUANTITIES,
    TRAIN_LOSS,
    best_values,
    compared_curves,
    compared_frame,
    curve_frame,
    layer_frame,
    quantities,
    run_curves,
    smooth,
)
from dverge.charts.pictures import data_uri, perturbation_image, side_by_side, to_picture, to_png
from dverge.charts.style import (
    METHOD_COLOURS,
    VERDICT_SIGNS,
    ensemble_colour,
    method_title,
)

__all__ = [
    "METHOD_COLOURS",
    "QUANTITIES",
    "TRAIN_LOSS",
    "VERDICT_SIGNS",
    "best_values",
    "class_chart",
    "class_frame",
    "compared_curves",
    "compared_frame",
    "curve_frame",
    "data_uri",
    "ensemble_colour",
    "layer_frame",
    "method_title",
    "perturbation_image",
    "quantities",
    "run_curves",
    "side_by_side",
    "smooth",
    "to_picture",
    "to_png",
]
