"""The course of an attack, step by step."""

from __future__ import annotations

import altair as alt
import pandas as pd

from dverge.exploration.examine import Examination, model_names

HEIGHT = 210


def course_frame(outcome: Examination) -> pd.DataFrame:
    """A row a step and model.

    Columns: step, model, probability of the true class in per cent, says (the class named).
    """
    probabilities = 100 * outcome.course.probabilities[:, :, 0, outcome.label]
    steps, models = probabilities.shape
    names = model_names(models - 1)
    return pd.DataFrame(
        {
            "step": [step for step in range(steps) for _ in names],
            "model": names * steps,
            "probability": probabilities.flatten().cpu().numpy(),
        }
    )


def loss_frame(outcome: Examination) -> pd.DataFrame:
    """A row a step: step, loss in nats: the victim's cross-entropy towards the class aimed at."""
    sign = -1 if outcome.config.targeted else 1
    losses = (sign * outcome.course.objective[:, 0]).cpu().numpy()
    return pd.DataFrame({"step": range(len(losses)), "loss": losses})


def course_chart(frame: pd.DataFrame, colour: str, step: int) -> alt.LayerChart:
    """Probability of the true class against the step: the mixture thick, submodels thin."""
    y = alt.Y(
        "probability:Q",
        title="True class (%)",
        scale=alt.Scale(domain=[0, 100]),
        axis=alt.Axis(values=[0, 25, 50, 75, 100]),
    )
    tooltip = [
        alt.Tooltip("model:N", title="Model"),
        alt.Tooltip("step:Q", title="Step"),
        alt.Tooltip("probability:Q", title="True class (%)", format=".1f"),
    ]
    base = alt.Chart(frame).encode(x=_x(frame), y=y, detail="model:N", tooltip=tooltip)
    mixture = "datum.model == 'mixture'"
    thin = base.transform_filter(f"!({mixture})").mark_line(
        color=colour, strokeWidth=1.2, opacity=0.6
    )
    thick = base.transform_filter(mixture).mark_line(color=colour, strokeWidth=3)
    return _with_rule([thin, thick], step)


def loss_chart(frame: pd.DataFrame, colour: str, step: int) -> alt.LayerChart:
    """The loss against the step."""
    tooltip = [
        alt.Tooltip("step:Q", title="Step"),
        alt.Tooltip("loss:Q", title="Loss (nats)", format=".3f"),
    ]
    line = alt.Chart(frame).mark_line(color=colour, strokeWidth=2.2)
    y = alt.Y("loss:Q", title="Loss (nats)", axis=alt.Axis(tickCount=5))
    return _with_rule([line.encode(x=_x(frame), y=y, tooltip=tooltip)], step)


def _x(frame: pd.DataFrame) -> alt.X:
    last = int(frame["step"].max())
    axis = alt.Axis(tickMinStep=1, tickCount=min(last, 10), format="d", grid=False)
    return alt.X("step:Q", title="Step", scale=alt.Scale(domain=[0, last], nice=False), axis=axis)


def _with_rule(lines: list[alt.Chart], step: int) -> alt.LayerChart:
    rule = alt.Chart(pd.DataFrame({"step": [step]})).mark_rule(strokeWidth=1.5, strokeDash=[4, 3])
    rule = rule.encode(x="step:Q", color=alt.value("#93A1AE"))
    return alt.LayerChart(layer=[rule, *lines]).properties(
        height=HEIGHT, padding={"top": 8, "bottom": 0, "left": 0, "right": 4}
    )
