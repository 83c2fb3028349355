"""Maps of decision regions: colour is the class, its strength the confidence."""

from __future__ import annotations

import altair as alt
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from dverge.attacks import Norm
from dverge.data import CLASSES
from dverge.evaluation import Regions

# Tol's "muted" scheme and his orange: told apart by colour-blind eyes on light and dark ground.
CLASS_COLOURS = (
    "#88CCEE",  # airplane
    "#332288",  # automobile
    "#999933",  # bird
    "#CC6677",  # cat
    "#882255",  # deer
    "#DDCC77",  # dog
    "#117733",  # frog
    "#AA4499",  # horse
    "#44AA99",  # ship
    "#EE7733",  # truck
)
DARK = "#10151A"  # of what is laid over the colours, on both grounds
SIDE = 172  # px
CROSS = "M-1,-1L1,1M1,-1L-1,1"
ROOM = 1 / 16  # of the side; a name needs so much to each edge of its region
STRONGEST = 0.999  # a confidence of one would be the next class's zero


def class_colours(shown: Tensor) -> dict[str, str]:
    """The colour of each class that occurs among int64 classes 0–9, in the classes' order."""
    return {CLASSES[i]: CLASS_COLOURS[i] for i in sorted(set(shown.flatten().tolist()))}


def region_frame(regions: Regions, model: int, dark: bool = False) -> pd.DataFrame:
    """What one model says, a row a stretch of equal points along u.

    Points are equal that have one class and, rounded to ten per cent, one confidence: far fewer
    shapes to draw than points. Columns: left, right, low, high (in 255ths for L-inf), class,
    confidence in per cent, and colour, the class's, paler towards the ground where less sure.
    """
    ground = "#0F1419" if dark else "#FFFFFF"
    classes = regions.classes[model]
    tens = (10 * regions.confidence[model]).round().long()
    kind = 11 * classes + tens
    starts = torch.ones_like(kind, dtype=torch.bool)
    starts[:, 1:] = kind[:, 1:] != kind[:, :-1]
    rows, first = starts.nonzero().T
    ends = torch.ones_like(starts)
    ends[:, :-1] = starts[:, 1:]
    last = ends.nonzero()[:, 1]
    unit, half = unit_of(regions), regions.extent / (len(classes) - 1)
    columns = {
        "left": regions.horizontal[first] - half,
        "right": regions.horizontal[last] + half,
        "low": regions.vertical[rows] - half,
        "high": regions.vertical[rows] + half,
    }
    said, sure = classes[rows, first].tolist(), tens[rows, first].tolist()
    shades = {
        (c, t): _blend(ground, CLASS_COLOURS[c], 0.35 + 0.065 * t)
        for c, t in zip(said, sure, strict=True)
    }
    return pd.DataFrame(
        {name: (unit * values).numpy() for name, values in columns.items()}
        | {"class": [CLASSES[c] for c in said], "confidence": [10 * t for t in sure]}
        | {"colour": [shades[each] for each in zip(said, sure, strict=True)]}
    )


def unit_of(regions: Regions) -> int:
    """What coordinates are multiplied by on screen: 255 for L-inf, 1 for L2."""
    return 255 if regions.plane.config.norm is Norm.LINF else 1


def region_chart(
    regions: Regions, model: int, marked: bool = False, dark: bool = False
) -> alt.LayerChart:
    """One model's regions, with the eps ball, the attack's path and the clean image.

    Args:
        regions: of all models.
        model: 0 is the first member, the last (-1, too) the mixture.
        marked: with a thick frame, as the one to look at.
        dark: the page's ground.
    """
    unit = unit_of(regions)
    length = "largest change of a pixel, /255" if unit == 255 else "L2 length"
    scale = alt.Scale(domain=[-unit * regions.extent, unit * regions.extent], nice=False)
    text = {"titleFontSize": 11, "titlePadding": 5, "labelFontSize": 10, "labelPadding": 4}
    axis = alt.Axis.from_dict({"grid": False, "tickCount": 5, "tickSize": 3, **text})
    across = f"random, orthogonal (seed {regions.plane.seed})"
    x = alt.X("left:Q", scale=scale, axis=axis, title=["along the attack", f"({length})"])
    y = alt.Y("low:Q", scale=scale, axis=axis, title=across)
    cells = alt.Chart(region_frame(regions, model, dark)).mark_rect(clip=True)
    cells = cells.encode(
        x=x,
        x2="right:Q",
        y=y,
        y2="high:Q",
        color=alt.Color("colour:N", scale=None),
        tooltip=[
            alt.Tooltip("class:N", title="Class"),
            alt.Tooltip("confidence:Q", title="Confidence, about (%)"),
        ],
    )
    # The cells hide the inner half of the frame.
    frame = alt.ViewBackground(
        stroke="#E6EBF0" if dark else "#1B2733", strokeWidth=6 if marked else 2
    )
    layers = [cells, *_lines(regions), *_ends(regions), *_names(regions, model)]
    return alt.LayerChart(layer=layers, view=frame).properties(
        width=SIDE,
        height=SIDE,
        autosize=alt.AutoSizeParams(type="pad"),
        padding={"left": 0, "top": 4, "right": 4, "bottom": 8},
    )


def _lines(regions: Regions) -> list[alt.Chart]:
    """The ball's edge, dashed, and the attack's path, each dark on a light halo."""
    unit, charts = unit_of(regions), []
    for points, dash in ((regions.plane.outline(), [5, 4]), (regions.plane.path, [1, 0])):
        frame = pd.DataFrame((unit * points).numpy(), columns=["a", "b"]).reset_index()
        base = alt.Chart(frame).encode(x="a:Q", y="b:Q", order="index:O")
        charts += [
            base.mark_line(clip=True, tooltip=None, color="white", opacity=0.8, strokeWidth=3.5),
            base.mark_line(clip=True, tooltip=None, color=DARK, strokeWidth=1.6, strokeDash=dash),
        ]
    return charts


def _ends(regions: Regions) -> list[alt.Chart]:
    """A dot at the clean image and a cross where the attack ends."""
    end = (unit_of(regions) * regions.plane.path[-1]).tolist()
    what = ["clean image", "where the attack ends"]
    frame = pd.DataFrame({"a": [0.0, end[0]], "b": [0.0, end[1]], "what": what})
    base = alt.Chart(frame).encode(x="a:Q", y="b:Q", tooltip=alt.Tooltip("what:N", title="Point"))
    dot = base.transform_filter("datum.what == 'clean image'").mark_point(
        shape="circle", filled=True, size=70, color=DARK, stroke="white", strokeWidth=1.5, opacity=1
    )
    cross = base.transform_filter("datum.what != 'clean image'")
    return [
        dot,
        cross.mark_point(shape=CROSS, size=60, color="white", strokeWidth=4.5, opacity=1),
        cross.mark_point(shape=CROSS, size=60, color=DARK, strokeWidth=2.2, opacity=1),
    ]


def _names(regions: Regions, model: int) -> list[alt.Chart]:
    """The name of each class in its region, where that is widest and clear of the path."""
    classes, busy, unit = regions.classes[model], _near_path(regions), unit_of(regions)
    rows = []
    for i in classes.unique().tolist():
        row, column, depth = _deepest((classes == i) & ~busy)
        if depth >= ROOM * len(classes):
            a, b = float(regions.horizontal[column]), float(regions.vertical[row])
            rows.append((unit * a, unit * b, CLASSES[i]))
    frame = pd.DataFrame(rows, columns=["a", "b", "class"])
    base = alt.Chart(frame).encode(x="a:Q", y="b:Q", text="class:N")
    halo = base.mark_text(
        fontSize=12, fontWeight=600, stroke="white", strokeWidth=3.5, strokeJoin="round"
    )
    return [halo, base.mark_text(fontSize=12, fontWeight=600, color=DARK)]


def _near_path(regions: Regions) -> Tensor:
    """H×W booleans: too near the way from the clean image to the attack's end for a name."""
    a, b = regions.horizontal, regions.vertical.view(-1, 1)
    room = regions.extent / 6
    return (a > -room) & (a < regions.plane.path[-1, 0] + room) & (b.abs() < room / 2)


def _deepest(inside: Tensor) -> tuple[int, int, int]:
    """Row and column of an H×W region's point that is furthest from its edge, and how far."""
    layer = inside.float()[None, None]
    depth = torch.zeros_like(layer)
    while layer.any():
        depth += layer
        layer = -F.max_pool2d(-F.pad(layer, (1, 1, 1, 1)), 3, stride=1)
    row, column = divmod(int(depth.argmax()), inside.shape[1])
    return row, column, int(depth.max())


def _blend(first: str, second: str, share: float) -> str:
    """A colour between two, so much of it the second."""
    ends = [[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in (first, second)]
    mixed = (round(a + share * (b - a)) for a, b in zip(*ends, strict=True))
    return "#" + "".join(f"{value:02X}" for value in mixed)
