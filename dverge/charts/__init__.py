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
from dverge.charts.matrices import matrix_chart, matrix_frame
from dverge.charts.pictures import data_uri, perturbation_image, side_by_side, to_picture, to_png
from dverge.charts.regions import CLASS_COLOURS, class_colours, region_chart, region_frame
from dverge.charts.robustness import eps_chart, eps_frame, standing_chart, standing_frame
from dverge.charts.style import (
    METHOD_COLOURS,
    VERDICT_SIGNS,
    ensemble_colour,
    method_title,
)
from dverge.charts.tables import report_frame, result_frame, to_latex, to_markdown

__all__ = [
    "CLASS_COLOURS",
    "METHOD_COLOURS",
    "QUANTITIES",
    "TRAIN_LOSS",
    "VERDICT_SIGNS",
    "best_values",
    "class_chart",
    "class_colours",
    "class_frame",
    "compared_curves",
    "compared_frame",
    "curve_frame",
    "data_uri",
    "ensemble_colour",
    "eps_chart",
    "eps_frame",
    "layer_frame",
    "matrix_chart",
    "matrix_frame",
    "method_title",
    "perturbation_image",
    "quantities",
    "region_chart",
    "region_frame",
    "report_frame",
    "result_frame",
    "run_curves",
    "side_by_side",
    "smooth",
    "standing_chart",
    "standing_frame",
    "to_latex",
    "to_markdown",
    "to_picture",
    "to_png",
]
