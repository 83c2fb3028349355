"""The smallest budgets that fool each model, as bars across ensembles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import altair as alt
import pandas as pd

from dverge.attacks import Norm
from dverge.evaluation.naming import model_title
from dverge.exploration.smallest import SmallestEps

BAR, GAP = 22, 16  # px


def budget_frame(found: Mapping[str, Sequence[SmallestEps]], norm: Norm) -> pd.DataFrame:
    """A row a model of each ensemble.

    Columns: ensemble, model, eps (in 255ths for L-inf; where nothing worked the largest tried),
    label, what is written at the bar's end.
    """
    unit = 255 if norm is Norm.LINF else 1
    rows = []
    for ensemble, models in found.items():
        for each in models:
            eps = unit * (each.tried if each.eps is None else each.eps)
            rows.append(
                {
                    "ensemble": ensemble,
                    "model": model_title(each.model),
                    "eps": eps,
                    "label": _label(each, eps, norm),
                }
            )
    return pd.DataFrame(rows)


def _label(each: SmallestEps, eps: float, norm: Norm) -> str:
    if each.eps == 0:
        return "wrong before the attack"
    text = f"{eps:.2g}/255" if norm is Norm.LINF and eps < 10 else f"{eps:.0f}/255"
    text = text if norm is Norm.LINF else f"{eps:.2f}"
    return f"more than {text}" if each.eps is None else text


def budget_chart(
    frame: pd.DataFrame, colours: Mapping[str, str], norm: Norm, dark: bool = False
) -> alt.LayerChart:
    """A group of bars a model, one bar an ensemble in its colour, submodels paler."""
    models, ensembles = list(dict.fromkeys(frame["model"])), list(dict.fromkeys(frame["ensemble"]))
    title = "eps (L∞, of 255)" if norm is Norm.LINF else "eps (L2)"
    base = alt.Chart(frame).encode(
        y=alt.Y(
            "model:N",
            sort=models,
            title=None,
            axis=alt.Axis(ticks=False, domain=False),
            scale=alt.Scale(paddingInner=0.25),
        ),
        yOffset=alt.YOffset("ensemble:N", sort=ensembles),
        x=alt.X(
            "eps:Q",
            title=f"Smallest {title} found",
            scale=alt.Scale(domainMin=0, padding=60, nice=False),
            axis=alt.Axis(tickCount=6),
        ),
        tooltip=[
            alt.Tooltip("ensemble:N", title="Ensemble"),
            alt.Tooltip("model:N", title="Model"),
            alt.Tooltip("label:N", title="Smallest eps found"),
        ],
    )
    bars = base.mark_bar(cornerRadiusEnd=3).encode(
        color=alt.Color(
            "ensemble:N",
            scale=alt.Scale(domain=list(colours), range=list(colours.values())),
            legend=alt.Legend(title=None, orient="top", columns=2, labelLimit=260),
        ),
        opacity=alt.condition("datum.model == 'mixture'", alt.value(1), alt.value(0.55)),
    )
    ink = "#E6EBF0" if dark else "#1B2733"
    words = base.mark_text(align="left", dx=5, fontSize=12, color=ink).encode(text="label:N")
    height = len(models) * (BAR * len(ensembles) + GAP)
    return alt.LayerChart(layer=[bars, words]).properties(height=height + 110)
