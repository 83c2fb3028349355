"""Clean against robust accuracy, and accuracy against the budget."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import altair as alt
import pandas as pd

from dverge.evaluation.comparison import Standing
from dverge.evaluation.naming import model_title
from dverge.results import Result

KINDS = ("mixture", "submodel", "random submodel")
SHAPES = ("circle", "circle", "diamond")
HEIGHT = 400
CURVE_HEIGHT = 360


def kind_of(model: str) -> str:
    """The kind of a model: mixture, submodel, or a random one for each query."""
    title = model_title(model)
    return title if title in KINDS else "submodel"


def standing_frame(standings: Iterable[Standing]) -> pd.DataFrame:
    """A row a model that has both figures.

    Columns: ensemble, model, kind, n, and clean and robust accuracy in per cent, each with
    …_low and …_high of its 95 % interval.
    """
    rows = []
    for standing in standings:
        for model, robust in standing.robust.items():
            if (clean := standing.clean.get(model)) is None:
                continue
            what = {"ensemble": standing.name, "model": model_title(model), "kind": kind_of(model)}
            rows.append({**what, "n": robust.n, **_of("clean", clean), **_of("robust", robust)})
    return pd.DataFrame(rows)


def _of(name: str, figure: Result) -> dict[str, float]:
    return {name: figure.accuracy, f"{name}_low": figure.ci_low, f"{name}_high": figure.ci_high}


def standing_chart(frame: pd.DataFrame, colours: Mapping[str, str], attack: str) -> alt.LayerChart:
    """Clean against robust accuracy: mixtures large and solid, submodels small and open."""
    x_title, y_title = "Accuracy without attack (%)", f"Accuracy under {attack} (%)"
    nothing = alt.Axis(tickCount=6, grid=True)
    base = alt.Chart(frame).encode(
        x=alt.X("clean:Q", title=x_title, scale=alt.Scale(zero=False, padding=24), axis=nothing),
        y=alt.Y("robust:Q", title=y_title, scale=alt.Scale(domainMin=0), axis=nothing),
        color=alt.Color(
            "ensemble:N",
            scale=alt.Scale(domain=list(colours), range=list(colours.values())),
            legend=alt.Legend(title=None, orient="top", columns=2, labelLimit=260, symbolSize=120),
        ),
        tooltip=_tooltip(),
    )
    faint = alt.condition("datum.kind == 'mixture'", alt.value(0.9), alt.value(0.3))
    spread = [
        base.mark_rule(strokeWidth=1.4).encode(x="clean_low:Q", x2="clean_high:Q", opacity=faint),
        base.mark_rule(strokeWidth=1.4).encode(y="robust_low:Q", y2="robust_high:Q", opacity=faint),
    ]
    shape = alt.Shape(
        "kind:N",
        scale=alt.Scale(domain=list(KINDS), range=list(SHAPES)),
        legend=None,
    )
    open_marks = base.transform_filter("datum.kind != 'mixture'").mark_point(
        filled=False, size=70, strokeWidth=1.8, opacity=0.9
    )
    solid = base.transform_filter("datum.kind == 'mixture'").mark_point(
        filled=True, size=320, opacity=1
    )
    layers = [*spread, open_marks.encode(shape=shape), solid]
    return alt.LayerChart(layer=layers).properties(height=HEIGHT)


def _tooltip() -> list[alt.Tooltip]:
    return [
        alt.Tooltip("ensemble:N", title="Ensemble"),
        alt.Tooltip("model:N", title="Model"),
        alt.Tooltip("clean:Q", title="Without attack (%)", format=".1f"),
        alt.Tooltip("robust:Q", title="Under attack (%)", format=".1f"),
        alt.Tooltip("robust_low:Q", title="95 % from", format=".1f"),
        alt.Tooltip("robust_high:Q", title="to", format=".1f"),
        alt.Tooltip("n:Q", title="Images", format=","),
    ]


def eps_frame(figures: Mapping[str, Iterable[Result]]) -> pd.DataFrame:
    """A row a model and budget, from each ensemble's own figures under the curve protocol.

    Columns: ensemble, model, kind, eps (0 without attack), accuracy, low, high in per cent, n.
    """
    rows = [
        {
            "ensemble": name,
            "model": model_title(figure.model),
            "kind": kind_of(figure.model),
            "eps": figure.parameters.get("eps", 0.0),
            "accuracy": figure.accuracy,
            "low": figure.ci_low,
            "high": figure.ci_high,
            "n": figure.n,
        }
        for name, own in figures.items()
        for figure in own
    ]
    return pd.DataFrame(rows).sort_values(["ensemble", "model", "eps"], ignore_index=True)


def eps_chart(frame: pd.DataFrame, colours: Mapping[str, str], columns: int = 2) -> alt.LayerChart:
    """Accuracy against the budget: mixtures thick with their intervals, submodels thin.

    Args:
        frame: as of eps_frame.
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
        color=alt.Color(
            "ensemble:N",
            scale=alt.Scale(domain=list(colours), range=list(colours.values())),
            legend=alt.Legend(
                title=None, orient="top", columns=columns, labelLimit=260, symbolOpacity=1
            ),
        ),
        detail="model:N",
    )
    y = alt.Y("accuracy:Q", title="Result (%)", scale=alt.Scale(domainMin=0))
    mixture = "datum.kind == 'mixture'"
    tooltip = [
        alt.Tooltip("ensemble:N", title="Ensemble"),
        alt.Tooltip("model:N", title="Model"),
        alt.Tooltip("eps:Q", title="eps", format=".3f"),
        alt.Tooltip("accuracy:Q", title="Result (%)", format=".1f"),
        alt.Tooltip("low:Q", title="95 % from", format=".1f"),
        alt.Tooltip("high:Q", title="to", format=".1f"),
    ]
    band = base.transform_filter(mixture).mark_area(opacity=0.15).encode(y="low:Q", y2="high:Q")
    thin = base.transform_filter(f"!({mixture})").mark_line(strokeWidth=1, opacity=0.55)
    dots = alt.OverlayMarkDef(size=45)
    thick = base.transform_filter(mixture).mark_line(strokeWidth=3, point=dots)
    lines = [each.encode(y=y, tooltip=tooltip) for each in (thin, thick)]
    zoom = alt.selection_interval(bind="scales", encodings=["x"], name="zoom")
    lines[-1] = lines[-1].add_params(zoom)
    return alt.LayerChart(layer=[band, *lines]).properties(height=CURVE_HEIGHT)
