"""Loss and accuracy of trainings against epochs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from dverge.charts.style import colour_by, if_mixture, tooltip, zoom_x

TRAIN_LOSS, VAL_LOSS, VAL_ACCURACY = "Training loss", "Validation loss", "Validation accuracy"
LOSS_TERMS = "Loss terms"
QUANTITIES = (TRAIN_LOSS, VAL_LOSS, VAL_ACCURACY)
UNITS = {TRAIN_LOSS: "nats", VAL_LOSS: "nats", VAL_ACCURACY: "%", LOSS_TERMS: "nats"}
MIXTURE = "mixture"
LAYER_COLOURS = ("#440154", "#3B528B", "#21918C", "#5EC962", "#FDE725")  # viridis
STRIP = 7  # px, the height of the layers' marks
DASHES = ([1, 0], [6, 2], [2, 2], [8, 2, 2, 2])
HEIGHT = 270
LEGEND: dict[str, Any] = {
    "offset": 2,
    "padding": 0,
    "symbolType": "stroke",  # a line even where there is one point only
}
QUIET = "#767676"  # grey that is legible on light and dark pages
MOST_POINTS = 400  # of the running loss per submodel, so that a long run is still drawn fast


def curve_frame(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Metrics rows as a long frame: epoch, model, quantity, value.

    The training loss is the running loss of several steps an epoch if the rows have it, else the
    mean of each epoch. If the loss has several terms, each is a mean over members, before its
    weight, with the term's name as model. Losses are in nats, accuracies in per cent.
    """
    steps, epochs = [row for row in rows if row.get("kind") == "step"], _epochs(rows)
    records: list[tuple[float, str, str, float]] = []
    for row in steps[:: len(steps) // MOST_POINTS + 1]:
        records += _members(row["epoch"], TRAIN_LOSS, row["loss"])
    for row in epochs:
        if not steps:
            records += _members(row["epoch"], TRAIN_LOSS, row["train_loss"])
        records += _members(row["epoch"], VAL_LOSS, row["val_loss"])
        records.append((row["epoch"], MIXTURE, VAL_LOSS, row["mixture_val_loss"]))
        records += _members(row["epoch"], VAL_ACCURACY, [100 * a for a in row["val_accuracy"]])
        records.append((row["epoch"], MIXTURE, VAL_ACCURACY, 100 * row["mixture_val_accuracy"]))
        terms = row.get("terms", {})
        if len(terms) > 1:
            for name, each in terms.items():
                records.append((row["epoch"], name, LOSS_TERMS, sum(each) / len(each)))
    return pd.DataFrame(records, columns=["epoch", "model", "quantity", "value"])


def quantities(frame: pd.DataFrame) -> list[str]:
    """The quantities to draw; the loss terms only if there are several."""
    return [*QUANTITIES, *([LOSS_TERMS] if (frame["quantity"] == LOSS_TERMS).any() else [])]


def layer_frame(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """The layer that each epoch distilled from: begin, end, layer; empty if none did."""
    drawn = [
        (row["epoch"] - 1, row["epoch"], str(row["layer"])) for row in rows if row.get("layer")
    ]
    return pd.DataFrame(drawn, columns=["begin", "end", "layer"])


def smooth(frame: pd.DataFrame, span: int) -> pd.DataFrame:
    """Exponentially weighted means of each curve; a span of 1 changes nothing."""
    if span <= 1 or frame.empty:
        return frame
    grouped = frame.groupby(["quantity", "model"], sort=False)["value"]
    return frame.assign(value=grouped.transform(lambda v: v.ewm(span=span).mean()))


def best_values(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """The mixture's lowest validation loss, its best accuracy in per cent, and their epochs."""
    epochs = _epochs(rows)
    if not epochs:
        return {}
    loss = min(epochs, key=lambda row: row["mixture_val_loss"])
    accuracy = max(epochs, key=lambda row: row["mixture_val_accuracy"])
    return {
        "loss": loss["mixture_val_loss"],
        "loss_epoch": loss["epoch"],
        "accuracy": 100 * accuracy["mixture_val_accuracy"],
        "accuracy_epoch": accuracy["epoch"],
    }


def run_curves(
    frame: pd.DataFrame,
    quantity: str,
    colour: str,
    epochs: int,
    log: bool = False,
    layers: pd.DataFrame | None = None,
) -> alt.Chart | alt.LayerChart:
    """One quantity of one run: the mixture thick, submodels thin, each with its own dash.

    With layers (see layer_frame), a strip along the bottom shows the layer of each epoch.
    """
    shown = frame[frame["quantity"] == quantity]
    models = sorted(shown["model"].unique(), key=lambda name: (name == MIXTURE, name))
    dashes = [[1, 0] if m == MIXTURE else DASHES[i % len(DASHES)] for i, m in enumerate(models)]
    lines = _lines(shown, quantity, epochs, log).encode(
        color=alt.value(colour),
        strokeDash=alt.StrokeDash(
            "model:N",
            scale=alt.Scale(domain=models, range=dashes),
            legend=alt.Legend(
                title=None, orient="top", columns=2, symbolStrokeWidth=2, symbolSize=260, **LEGEND
            ),
        ),
        strokeWidth=if_mixture(3, 1.4),
        opacity=if_mixture(1, 0.75),
    )
    if layers is None or layers.empty:
        return lines
    return (
        alt.layer(lines, _layer_strip(layers))
        .resolve_scale(color="independent")
        .properties(height=HEIGHT, title=lines.title)
    )


def compared_curves(
    frame: pd.DataFrame, quantity: str, colours: dict[str, str], log: bool = False
) -> alt.Chart:
    """One quantity of several runs, each run in its colour; see compared_frame."""
    shown = frame[frame["quantity"] == quantity]
    epochs = int(max(1, shown["epoch"].max())) if len(shown) else 1
    colour = colour_by("model:N", colours, columns=1, labelLimit=300, **LEGEND)
    return _lines(shown, quantity, epochs, log).encode(color=colour, strokeWidth=alt.value(2))


def compared_frame(frames: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """One curve for each run and quantity, with the run's name as model.

    The training loss is the mean over submodels, the validation figures are the mixture's.
    """
    parts = []
    for name, frame in frames.items():
        kept = frame[(frame["quantity"] == TRAIN_LOSS) | (frame["model"] == MIXTURE)]
        mean = kept.groupby(["quantity", "epoch"], as_index=False, sort=False)["value"].mean()
        parts.append(mean.assign(model=name))
    return pd.concat(parts, ignore_index=True)


def _lines(shown: pd.DataFrame, quantity: str, epochs: int, log: bool) -> alt.Chart:
    title = f"{quantity} ({UNITS[quantity]})"
    y_scale = alt.Scale(type="log" if log and quantity != VAL_ACCURACY else "linear", zero=False)
    axis = alt.Axis(tickMinStep=1, format="d", tickCount=6, grid=False, labelFlushOffset=-4)
    return (
        alt.Chart(shown)
        .mark_line(interpolate="linear", point=shown["epoch"].nunique() == 1)
        .encode(
            x=alt.X("epoch:Q", title="Epoch", scale=alt.Scale(domain=[0, epochs]), axis=axis),
            y=alt.Y("value:Q", title=None, scale=y_scale, axis=alt.Axis(tickCount=5)),
            tooltip=tooltip(
                ("epoch:Q", "Epoch", ".2f"), ("model:N", "Model"), ("value:Q", title, ".3f")
            ),
        )
        .add_params(zoom_x())
        .properties(height=HEIGHT, title=_title(title, empty=shown.empty))
    )


def _layer_strip(layers: pd.DataFrame) -> alt.Chart:
    """A mark for each epoch in the colour of its layer, from dark for 1 to bright for 5."""
    names = [str(i + 1) for i in range(len(LAYER_COLOURS))]
    scale = alt.Scale(domain=names, range=list(LAYER_COLOURS))
    return (
        alt.Chart(layers)
        .mark_rect(clip=True)
        .encode(
            x=alt.X("begin:Q"),
            x2="end:Q",
            y=alt.value(alt.ExprRef(f"height - {STRIP}")),
            y2=alt.value(alt.ExprRef("height")),
            color=alt.Color("layer:N", scale=scale, legend=None),
            tooltip=tooltip(("end:Q", "Epoch"), ("layer:N", "Layer distilled")),
        )
    )


def _title(text: str, empty: bool) -> alt.Title:
    waiting = ["first point after epoch 1"] if empty else []
    return alt.Title(
        text, subtitle=waiting, subtitleColor=QUIET, anchor="start", fontSize=14, offset=8
    )


def _epochs(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows that end an epoch; in a checkpoint's history, which names no kinds, all of them."""
    return [row for row in rows if row.get("kind", "epoch") == "epoch"]


def _members(
    epoch: float, quantity: str, values: Sequence[float]
) -> list[tuple[float, str, str, float]]:
    return [(epoch, f"submodel {i}", quantity, value) for i, value in enumerate(values, 1)]
