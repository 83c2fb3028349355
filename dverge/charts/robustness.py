"""Clean against robust accuracy, and accuracy against the budget."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import altair as alt
import pandas as pd

from dverge.charts.style import IS_MIXTURE, colour_by, if_mixture, interval_lines, tooltip, zoom_x
from dverge.evaluation.comparison import Standing
from dverge.evaluation.naming import model_title
from dverge.results import Result

KINDS = ("mixture", "submodel", "random submodel")
SHAPES = ("circle", "circle", "diamond")
HEIGHT, CURVE_HEIGHT = 400, 360  # px


def kind_of(model: str) -> str:
    """The kind of a model: mixture, submodel, or random submodel (one drawn for each query)."""
    title = model_title(model)
    return title if title in KINDS else "submodel"


def standing_frame(standings: Iterable[Standing]) -> pd.DataFrame:
    """A row for each model with both a clean and a robust accuracy.

    Columns: ensemble, model, kind, n, and clean and robust accuracy in per cent, each with
    …_low and …_high of its 95 % interval.
    """
    return pd.DataFrame(
        [
            {
                "ensemble": standing.name,
                "model": model_title(model),
                "kind": kind_of(model),
                "n": robust.n,
                **_accuracy("clean", standing.clean[model]),
                **_accuracy("robust", robust),
            }
            for standing in standings
            for model, robust in standing.robust.items()
            if model in standing.clean
        ]
    )


def _accuracy(name: str, result: Result) -> dict[str, float]:
    return {name: result.accuracy, f"{name}_low": result.ci_low, f"{name}_high": result.ci_high}


def standing_chart(frame: pd.DataFrame, colours: Mapping[str, str], attack: str) -> alt.LayerChart:
    """Clean against robust accuracy: mixtures large and solid, submodels small and open."""
    x_title, y_title = "Accuracy without attack (%)", f"Accuracy under {attack} (%)"
    axis = alt.Axis(tickCount=6, grid=True)
    base = alt.Chart(frame).encode(
        x=alt.X("clean:Q", title=x_title, scale=alt.Scale(zero=False, padding=24), axis=axis),
        y=alt.Y("robust:Q", title=y_title, scale=alt.Scale(domainMin=0), axis=axis),
        color=colour_by("ensemble:N", colours, columns=2, labelLimit=260, symbolSize=120),
        tooltip=tooltip(
            ("ensemble:N", "Ensemble"),
            ("model:N", "Model"),
            ("clean:Q", "Without attack (%)", ".1f"),
            ("robust:Q", "Under attack (%)", ".1f"),
            *interval_lines("robust_low", "robust_high", ".1f"),
            ("n:Q", "Images", ","),
        ),
    )
    rule = base.mark_rule(strokeWidth=1.4).encode(opacity=if_mixture(0.9, 0.3))
    open_marks = base.transform_filter(f"!({IS_MIXTURE})").mark_point(
        filled=False, size=70, strokeWidth=1.8, opacity=0.9
    )
    shapes = alt.Scale(domain=list(KINDS), range=list(SHAPES))
    solid = base.transform_filter(IS_MIXTURE).mark_point(filled=True, size=320, opacity=1)
    layers = [
        rule.encode(x="clean_low:Q", x2="clean_high:Q"),
        rule.encode(y="robust_low:Q", y2="robust_high:Q"),
        open_marks.encode(shape=alt.Shape("kind:N", scale=shapes, legend=None)),
        solid,
    ]
    return alt.LayerChart(layer=layers).properties(height=HEIGHT)


def eps_frame(results: Mapping[str, Iterable[Result]]) -> pd.DataFrame:
    """A row for each model and budget, from each ensemble's results of the curve protocol.

    Columns: ensemble, model, kind, eps (0 without attack), accuracy, low, high in per cent, n.
    """
    rows = [
        {
            "ensemble": name,
            "model": model_title(each.model),
            "kind": kind_of(each.model),
            "eps": each.parameters.get("eps", 0.0),
            "accuracy": each.accuracy,
            "low": each.ci_low,
            "high": each.ci_high,
            "n": each.n,
        }
        for name, own in results.items()
        for each in own
    ]
    return pd.DataFrame(rows).sort_values(["ensemble", "model", "eps"], ignore_index=True)


def eps_chart(frame: pd.DataFrame, colours: Mapping[str, str], columns: int = 2) -> alt.LayerChart:
    """Accuracy against the budget: mixtures thick with their intervals, submodels thin.

    Args:
        frame: see eps_frame.
        colours: by ensemble, in the order of the legend.
        columns: of the legend.
    """
    base = alt.Chart(frame[frame["kind"] != "random submodel"]).encode(
        x=alt.X(
            "eps:Q",
            title="eps (L∞, pixels in 0–1)",
            scale=alt.Scale(nice=False),
            axis=alt.Axis(tickCount=8, grid=False),
        ),
        color=colour_by("ensemble:N", colours, columns=columns, labelLimit=260, symbolOpacity=1),
        detail="model:N",
    )
    line = base.encode(
        y=alt.Y("accuracy:Q", title="Accuracy (%)", scale=alt.Scale(domainMin=0)),
        tooltip=tooltip(
            ("ensemble:N", "Ensemble"),
            ("model:N", "Model"),
            ("eps:Q", "eps", ".3f"),
            ("accuracy:Q", "Accuracy (%)", ".1f"),
            *interval_lines("low", "high", ".1f"),
        ),
    )
    band = base.transform_filter(IS_MIXTURE).mark_area(opacity=0.15).encode(y="low:Q", y2="high:Q")
    thin = line.transform_filter(f"!({IS_MIXTURE})").mark_line(strokeWidth=1, opacity=0.55)
    dots = alt.OverlayMarkDef(size=45)
    thick = line.transform_filter(IS_MIXTURE).mark_line(strokeWidth=3, point=dots)
    layers = [band, thin, thick.add_params(zoom_x())]
    return alt.LayerChart(layer=layers).properties(height=CURVE_HEIGHT)
