"""The distance of distilled features from their target, and all features on one sheet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import altair as alt
import pandas as pd
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from dverge.charts.pictures import BORDER, perturbation_image, to_picture, to_png
from dverge.charts.style import FAINT, INKS, colour_by, tooltip
from dverge.exploration.distilled import Distilled, Says
from dverge.exploration.examine import model_names
from dverge.models import LAYERS

SAYS_SIGNS = {Says.TARGET: "✕", Says.SOURCE: "✓", Says.OTHER: "○"}
DASHES = ([1, 0], [6, 3], [2, 2], [8, 2, 2, 2])
HEIGHT = 200
TITLE = "Squared distance to the target's features (% of start)"
TILE = 3  # the sheet enlarges each picture so many times
SIDE, ROW, NAMES = 32 * TILE, 32 * TILE + 26, 70  # px of a picture, its row, and a row's name
INK = INKS[False]
LETTERS = {Says.TARGET: ("T", "#B8232F"), Says.SOURCE: ("S", "#14744D"), Says.OTHER: ("o", FAINT)}


def distance_frame(named: Mapping[str, Distilled], layer: int) -> pd.DataFrame:
    """The distance of each member's features of one layer, 1–5, from the target's.

    Columns: ensemble, model, step, distance (the squared one of Eq. 1, in per cent of the start's).
    """
    rows = [
        (name, model_names(each.members)[member], step, distance)
        for name, each in named.items()
        for member, course in enumerate(each.course()[:, layer - 1].tolist())
        for step, distance in enumerate(course)
    ]
    return pd.DataFrame(rows, columns=["ensemble", "model", "step", "distance"])


def distance_chart(
    frame: pd.DataFrame, colours: Mapping[str, str], step: int, setting: str
) -> alt.LayerChart:
    """A line for each member, in its ensemble's colour and its own dash, and a rule at one step.

    Args:
        frame: see distance_frame.
        colours: of the ensembles.
        step: from 0.
        setting: the layer and how its features were distilled, the title's second line.
    """
    models = list(dict.fromkeys(frame["model"]))
    dashes = [DASHES[i % len(DASHES)] for i in range(len(models))]
    legend: dict[str, Any] = {"orient": "right", "offset": 8, "labelLimit": 160, "symbolSize": 220}
    steps = alt.Axis(tickMinStep=1, format="d", grid=False)
    x = alt.X("step:Q", title="Step", scale=alt.Scale(nice=False), axis=steps)
    y = alt.Y("distance:Q", title=None, scale=alt.Scale(domainMin=0), axis=alt.Axis(tickCount=4))
    lines = (
        alt.Chart(frame)
        .mark_line(strokeWidth=1.8)
        .encode(
            x=x,
            y=y,
            color=colour_by("ensemble:N", colours, **legend),
            strokeDash=alt.StrokeDash(
                "model:N",
                scale=alt.Scale(domain=models, range=dashes),
                legend=alt.Legend(title=None, **legend),
            ),
            tooltip=tooltip(
                ("ensemble:N", "Ensemble"),
                ("model:N", "Distilled on"),
                ("step:Q", "Step"),
                ("distance:Q", "Squared distance (% of start)", ".1f"),
            ),
        )
    )
    here = alt.Chart(pd.DataFrame({"step": [step]})).mark_rule(color=FAINT, strokeWidth=1.5)
    return alt.LayerChart(layer=[here.encode(x=x), lines]).properties(
        height=HEIGHT,
        title=alt.Title(
            [TITLE, setting], anchor="start", fontSize=12, fontWeight="normal", offset=6
        ),
    )


def feature_image(result: Distilled, member: int, layer: int, step: int, perturbed: bool) -> Tensor:
    """3×32×32 in [0, 1]: a member's feature of a layer, 1–5, at a step.

    If perturbed, its difference from the source instead: middle grey is 0, the ends of each
    channel are ±eps.
    """
    image = result.images[member, layer - 1, step]
    if not perturbed:
        return image
    delta = image - result.pair.sources.pixels()[0].cpu()
    return perturbation_image(delta, max(result.config.eps, 1e-6))


def feature_sheet(
    named: Mapping[str, Distilled], step: int, perturbed: bool, headline: str, footer: str
) -> bytes:
    """A PNG of source, target and each ensemble's features; rows are members, columns layers.

    Below a feature are the predictions of each submodel and of the mixture (M): T for the target,
    S for the source, o for another class.
    """
    across = BORDER + SIDE + 2 * BORDER  # the left edge of the first ensemble
    own_width = NAMES + LAYERS * (SIDE + BORDER) + 2 * BORDER
    width = across + own_width * len(named)
    head, foot = _wrapped(headline, width, 13), _wrapped(footer, width, 11)
    top = BORDER + 18 * len(head) + 50
    rows = max(2, *(each.members for each in named.values()))
    bottom = top + rows * ROW
    sheet = Image.new("RGB", (width, bottom + 15 * len(foot) + BORDER), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((BORDER, BORDER), "\n".join(head), fill=INK, font_size=13, spacing=5)
    pair = next(iter(named.values())).pair
    for i, (title, images) in enumerate((("source", pair.sources), ("target", pair.targets))):
        draw.text((BORDER, top + i * ROW + SIDE + 3), title, fill=INK, font_size=11)
        sheet.paste(to_picture(images.pixels(), TILE), (BORDER, top + i * ROW))
    for i, (name, result) in enumerate(named.items()):
        left = across + i * own_width
        draw.text((left, top - 38), name, fill=INK, font_size=13)
        _paste_features(sheet, (left, top), result, step, perturbed)
    draw.text((BORDER, bottom), "\n".join(foot), fill=FAINT, font_size=11, spacing=4)
    return to_png(sheet)


def _paste_features(
    sheet: Image.Image, corner: tuple[int, int], result: Distilled, step: int, perturbed: bool
) -> None:
    """Paste one ensemble's features and their predictions, with their upper left corner there."""
    draw, classes = ImageDraw.Draw(sheet), result.classes(step)
    marks = [*map(str, range(1, result.members + 1)), "M"]
    for i, model in enumerate(model_names(result.members)[:-1]):
        top = corner[1] + i * ROW
        draw.text((corner[0], top + SIDE // 2), model, fill=FAINT, font_size=11)
        for layer in range(1, LAYERS + 1):
            left = corner[0] + NAMES + (layer - 1) * (SIDE + BORDER)
            if i == 0:
                draw.text((left, top - 17), f"layer {layer}", fill=FAINT, font_size=11)
            picture = to_picture(feature_image(result, i, layer, step, perturbed), TILE)
            sheet.paste(picture, (left, top))
            predicted = classes[i, layer - 1].tolist()
            for j, (mark, label) in enumerate(zip(marks, predicted, strict=True)):
                letter, colour = LETTERS[result.says(label)]
                at = (left + j * SIDE // len(marks), top + SIDE + 3)
                draw.text(at, f"{mark}{letter}", fill=colour, font_size=11)


def _wrapped(text: str, width: int, size: int) -> list[str]:
    """The text in lines that fit on a sheet of this width."""
    font = ImageFont.load_default(size)
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width - 2 * BORDER:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
