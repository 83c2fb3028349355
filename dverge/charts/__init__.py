"""Figures: pure functions from data to Altair charts and pictures, in one style."""

from dverge.charts.answers import class_chart, class_frame
from dverge.charts.budgets import budget_chart, budget_frame
from dverge.charts.course import course_chart, course_frame, loss_chart, loss_frame
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
from dverge.charts.distilled import (
    SAYS_SIGNS,
    distance_chart,
    distance_frame,
    feature_image,
    feature_sheet,
)
from dverge.charts.matrices import matrix_chart, matrix_frame
from dverge.charts.pictures import data_uri, perturbation_image, side_by_side, to_picture, to_png
from dverge.charts.region_sheet import region_sheet
from dverge.charts.regions import CLASS_COLOURS, class_colours, region_picture, region_svg
from dverge.charts.report_curves import figure_chart, figure_panels, trainings_panels
from dverge.charts.reproduction import (
    ablation_frame,
    again_frame,
    agreement_chart,
    agreement_frame,
    auto_columns,
    cell_frame,
    column_title,
)
from dverge.charts.robustness import eps_chart, eps_frame, standing_chart, standing_frame
from dverge.charts.style import (
    METHOD_COLOURS,
    VERDICT_SIGNS,
    ensemble_colour,
    method_title,
)
from dverge.charts.tables import result_frame, to_latex, to_markdown

__all__ = [
    "CLASS_COLOURS",
    "METHOD_COLOURS",
    "QUANTITIES",
    "SAYS_SIGNS",
    "TRAIN_LOSS",
    "VERDICT_SIGNS",
    "ablation_frame",
    "again_frame",
    "agreement_chart",
    "agreement_frame",
    "auto_columns",
    "best_values",
    "budget_chart",
    "budget_frame",
    "cell_frame",
    "class_chart",
    "class_colours",
    "class_frame",
    "column_title",
    "compared_curves",
    "compared_frame",
    "course_chart",
    "course_frame",
    "curve_frame",
    "data_uri",
    "distance_chart",
    "distance_frame",
    "ensemble_colour",
    "eps_chart",
    "eps_frame",
    "feature_image",
    "feature_sheet",
    "figure_chart",
    "figure_panels",
    "layer_frame",
    "loss_chart",
    "loss_frame",
    "matrix_chart",
    "matrix_frame",
    "method_title",
    "perturbation_image",
    "quantities",
    "region_picture",
    "region_sheet",
    "region_svg",
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
    "trainings_panels",
]
