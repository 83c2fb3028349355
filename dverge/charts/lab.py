"""Charts of one attacked image: all classes, every step of the attack, the smallest budgets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import altair as alt
import pandas as pd

from dverge.attacks import AnyConfig, Norm, StrongConfig
from dverge.charts.style import (
    INKS,
    IS_MIXTURE,
    colour_by,
    eps_unit,
    if_mixture,
    name_axis,
    tooltip,
)
from dverge.data import CLASSES
from dverge.evaluation.naming import model_title
from dverge.exploration.examine import Examination, model_names
from dverge.exploration.smallest import SmallestEps
from dverge.exploration.verdicts import Verdict

CLASS_HEIGHT, COURSE_HEIGHT = 250, 210  # px
BAR, GAP = 22, 16  # px, of the smallest budgets


def class_frame(examination: Examination, model: int) -> pd.DataFrame:
    """A row for each class, for one model (0 is the first member, the last is the mixture).

    Columns: class, before and after in per cent, role ("true class", "target" or "").
    """
    roles = {examination.label: "true class", examination.target: "target"}
    return pd.DataFrame(
        {
            "class": CLASSES,
            "before": 100 * examination.before[model].cpu().numpy(),
            "after": 100 * examination.after[model].cpu().numpy(),
            "role": [roles.get(i, "") for i in range(len(CLASSES))],
        }
    )


def class_chart(frame: pd.DataFrame, colour: str) -> alt.LayerChart:
    """A bar for each class: pale and broad before the attack, solid and slim after it."""
    scale = alt.Scale(domain=[0, 100])
    axis = alt.Axis(values=[0, 50, 100], format="d", title=None, grid=True)
    names = name_axis(labelLimit=90, labelOverlap=False)
    base = alt.Chart(frame).encode(
        y=alt.Y("class:N", sort=list(CLASSES), title=None, axis=names),
        tooltip=tooltip(
            ("class:N", "Class"),
            ("before:Q", "Before (%)", ".1f"),
            ("after:Q", "After (%)", ".1f"),
            ("role:N", "Role"),
        ),
    )
    before = base.mark_bar(color=colour, opacity=0.3, height=14).encode(
        x=alt.X("before:Q", scale=scale, axis=axis)
    )
    after = base.mark_bar(color=colour, height=6).encode(x=alt.X("after:Q", scale=scale))
    return alt.LayerChart(layer=[before, after]).properties(height=CLASS_HEIGHT)


def course_frame(examination: Examination) -> pd.DataFrame:
    """A row for each step, model and class of interest.

    Columns: step, model, role ("true class"; "target" too if the attack has one), probability of
    that class in per cent.
    """
    roles = {"true class": examination.label, "target": examination.target}
    frames = []
    for role, label in roles.items():
        if label is None:
            continue
        probabilities = 100 * examination.course.probabilities[:, :, 0, label]
        steps, models = probabilities.shape
        names = model_names(models - 1)
        rows = {
            "step": [step for step in range(steps) for _ in names],
            "model": names * steps,
            "role": role,
            "probability": probabilities.flatten().cpu().numpy(),
        }
        frames.append(pd.DataFrame(rows))
    return pd.concat(frames, ignore_index=True)


def objective_title(config: AnyConfig) -> str:
    """What loss_frame holds for an attack, with its unit."""
    return "Margin" if isinstance(config, StrongConfig) else "Loss (nats)"


def loss_frame(examination: Examination) -> pd.DataFrame:
    """A row for each step: step, loss.

    It is the victim's cross-entropy in nats; of the strong attack, the margin that it raises. A
    targeted attack lowers the loss towards its target, any other raises that of the true class.
    """
    sign = -1 if examination.config.targeted else 1
    losses = (sign * examination.course.objective[:, 0]).cpu().numpy()
    return pd.DataFrame({"step": range(len(losses)), "loss": losses})


def course_chart(frame: pd.DataFrame, colour: str, step: int) -> alt.LayerChart:
    """Probability of the true class against the step, and of a target dashed.

    The mixture is thick, submodels are thin.
    """
    scale = alt.Scale(domain=[0, 100])
    axis = alt.Axis(values=[0, 25, 50, 75, 100])
    roles = list(dict.fromkeys(frame["role"]))
    title = "True class (%)" if len(roles) == 1 else "Probability (%)"
    dashes = alt.Scale(domain=roles, range=[[1, 0], [6, 4]][: len(roles)])
    base = alt.Chart(frame).encode(
        x=_step_axis(frame),
        y=alt.Y("probability:Q", title=title, scale=scale, axis=axis),
        detail="model:N",
        strokeDash=alt.StrokeDash("role:N", scale=dashes, legend=None),
        tooltip=tooltip(
            ("model:N", "Model"),
            ("step:Q", "Step"),
            ("role:N", "Class"),
            ("probability:Q", "Probability (%)", ".1f"),
        ),
    )
    thin = base.transform_filter(f"!({IS_MIXTURE})").mark_line(
        color=colour, strokeWidth=1.2, opacity=0.6
    )
    thick = base.transform_filter(IS_MIXTURE).mark_line(color=colour, strokeWidth=3)
    return _with_rule([thin, thick], step)


def loss_chart(
    frame: pd.DataFrame, colour: str, step: int, title: str = "Loss (nats)"
) -> alt.LayerChart:
    """The loss, or what the title says instead, against the step."""
    line = alt.Chart(frame).mark_line(color=colour, strokeWidth=2.2)
    line = line.encode(
        x=_step_axis(frame),
        y=alt.Y("loss:Q", title=title, axis=alt.Axis(tickCount=5)),
        tooltip=tooltip(("step:Q", "Step"), ("loss:Q", title, ".3f")),
    )
    return _with_rule([line], step)


def _step_axis(frame: pd.DataFrame) -> alt.X:
    last = int(frame["step"].max())
    axis = alt.Axis(tickMinStep=1, tickCount=min(last, 10), format="d", grid=False)
    return alt.X("step:Q", title="Step", scale=alt.Scale(domain=[0, last], nice=False), axis=axis)


def _with_rule(lines: list[alt.Chart], step: int) -> alt.LayerChart:
    """The lines over a dashed rule at the step that is shown."""
    rule = alt.Chart(pd.DataFrame({"step": [step]})).mark_rule(strokeWidth=1.5, strokeDash=[4, 3])
    rule = rule.encode(x="step:Q", color=alt.value("#93A1AE"))
    return alt.LayerChart(layer=[rule, *lines]).properties(
        height=COURSE_HEIGHT, padding={"top": 8, "bottom": 0, "left": 0, "right": 4}
    )


def budget_frame(results: Mapping[str, Sequence[SmallestEps]], norm: Norm) -> pd.DataFrame:
    """A row for each model of each ensemble.

    Columns: ensemble, model, eps (in 255ths for L-inf; the largest budget that failed if none
    succeeded), label (the text at the bar's end), survives (rounding to 8 bits; None without an
    adversarial image).
    """
    rows = []
    for ensemble, models in results.items():
        for each in models:
            eps = eps_unit(norm) * (each.tried if each.eps is None else each.eps)
            label = _budget_label(each, eps, norm)
            rows.append((ensemble, model_title(each.model), eps, label, each.survives))
    return pd.DataFrame(rows, columns=["ensemble", "model", "eps", "label", "survives"])


def _budget_label(each: SmallestEps, eps: float, norm: Norm) -> str:
    if each.eps == 0:
        return str(Verdict.WRONG_BEFORE if each.target is None else Verdict.TARGET_BEFORE)
    text = f"{eps:.2g}/255" if eps < 10 else f"{eps:.0f}/255"
    text = text if norm is Norm.LINF else f"{eps:.2f}"
    return f"more than {text}" if each.eps is None else text


def budget_chart(
    frame: pd.DataFrame, colours: Mapping[str, str], norm: Norm, dark: bool = False
) -> alt.LayerChart:
    """A group of bars for each model, a bar for each ensemble in its colour; submodels are paler.

    Args:
        frame: see budget_frame.
        colours: by ensemble, in the order of the legend.
        norm: the attack's.
        dark: the page's ground.
    """
    models, ensembles = list(dict.fromkeys(frame["model"])), list(dict.fromkeys(frame["ensemble"]))
    eps = "eps (L∞, of 255)" if norm is Norm.LINF else "eps (L2)"
    base = alt.Chart(frame).encode(
        y=alt.Y(
            "model:N",
            sort=models,
            title=None,
            axis=name_axis(),
            scale=alt.Scale(paddingInner=0.25),
        ),
        yOffset=alt.YOffset("ensemble:N", sort=ensembles),
        x=alt.X(
            "eps:Q",
            title=f"Smallest {eps} found",
            scale=alt.Scale(domainMin=0, padding=60, nice=False),
            axis=alt.Axis(tickCount=6),
        ),
        tooltip=tooltip(
            ("ensemble:N", "Ensemble"), ("model:N", "Model"), ("label:N", "Smallest eps found")
        ),
    )
    bars = base.mark_bar(cornerRadiusEnd=3).encode(
        color=colour_by("ensemble:N", colours, columns=2, labelLimit=260),
        opacity=if_mixture(1, 0.55),
    )
    labels = base.mark_text(align="left", dx=5, fontSize=12, color=INKS[dark])
    height = len(models) * (BAR * len(ensembles) + GAP)
    return alt.LayerChart(layer=[bars, labels.encode(text="label:N")]).properties(
        height=height + 110
    )
