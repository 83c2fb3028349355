"""Maps of decision regions as SVG: colour is the class, its strength the confidence.

The points are a small PNG, one pixel for each, that the browser enlarges. Over it everything that
has to be sharp at any size is drawn as vectors: eps ball, attack's path, names, frame and axes.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from html import escape

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from dverge.charts.pictures import to_png
from dverge.charts.style import GROUNDS, INKS, eps_unit
from dverge.data import CLASSES
from dverge.exploration.regions import Regions

# Paul Tol's "muted" scheme and his orange: distinct for colour-blind eyes on light and dark pages.
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
MARK, HALO = "#10151A", "#FFFFFF"  # lines and names over the colours, on light and dark pages
QUIET_INKS = {False: "#5D6975", True: "#A3B0BC"}  # light and dark
PALEST = 0.35  # share of a class's colour at confidence 0
FONT = "'Source Sans 3','Source Sans Pro',system-ui,-apple-system,'Segoe UI',sans-serif"
SIDE = 184  # px, of the square; the axes are around it
LEFT, TOP, RIGHT, BOTTOM = 44, 4, 14, 48
WIDTH, HEIGHT = LEFT + SIDE + RIGHT, TOP + SIDE + BOTTOM
ROOM = 1 / 16  # of the side: least distance of a name from each edge of its region
LETTER = 8  # px, the largest width of a letter of a name
FINEST = 61  # points along a side that are enough to place names
TITLE, HEADS, KEY, LINE = 44, 24, 36, 16  # px on a sheet: heights above and below the maps
NARROWEST = 800  # px on a sheet: width that its lines of text need


def class_colours(*shown: Tensor) -> dict[str, str]:
    """The colour of each class that occurs among int64 classes 0–9, in the classes' order."""
    present = sorted({i for classes in shown for i in classes.unique().tolist()})
    return {CLASSES[i]: CLASS_COLOURS[i] for i in present}


def region_picture(regions: Regions, model: int, dark: bool = False) -> Image.Image:
    """One model's predictions, a pixel for each point, the highest b at the top.

    A pixel is ground + (PALEST + (1 - PALEST) · confidence) · (the class's colour - ground).
    """
    colours = torch.tensor([_rgb(colour) for colour in CLASS_COLOURS])
    ground = torch.tensor(_rgb(GROUNDS[dark]))
    share = PALEST + (1 - PALEST) * regions.confidence[model].double().unsqueeze(2)
    pixels = ground + share * (colours[regions.classes[model]] - ground)
    return Image.fromarray(pixels.round().byte().flip(0).numpy())


def region_svg(regions: Regions, model: int, marked: bool = False, dark: bool = False) -> str:
    """One model's regions, with the eps ball, the attack's path and the clean image.

    Args:
        regions: of all models.
        model: 0 is the first member, the last (or -1) the mixture.
        marked: draw a thick frame, to stand out among other maps.
        dark: the page's ground.
    """
    png = base64.b64encode(to_png(region_picture(regions, model, dark))).decode()
    size = f'width="{SIDE}" height="{SIDE}"'
    return (
        f"{_svg_head(WIDTH, HEIGHT)}"
        f'<g transform="translate({LEFT} {TOP})">{_axes(regions, dark)}'
        f'<svg {size}><image {size} href="data:image/png;base64,{png}" '
        'preserveAspectRatio="none" style="image-rendering:pixelated"/>'
        f"{_lines(regions)}{_names(regions, model)}</svg>"
        f"{_frame(3 if marked else 1, dark)}{_ends(regions)}</g></svg>"
    )


def region_sheet(regions: Regions, title: str, footer: Sequence[str], dark: bool = False) -> str:
    """All of an ensemble's maps side by side in one SVG, to keep or to print.

    Args:
        regions: of all models.
        title: above the maps; also the document's.
        footer: lines of text below them, such as the settings.
        dark: draw on dark ground.
    """
    width = max(len(regions.models) * WIDTH, NARROWEST)
    height = TITLE + HEADS + HEIGHT + KEY + LINE * len(footer) + LINE
    lines = "".join(
        f'<text x="{LEFT}" y="{height - LINE * (len(footer) - i)}">{escape(line)}</text>'
        for i, line in enumerate(footer)
    )
    return (
        f"{_svg_head(width, height)}<title>{escape(title)}</title>"
        f'<rect width="{width}" height="{height}" fill="{GROUNDS[dark]}"/>'
        f'<g fill="{INKS[dark]}"><text x="{LEFT}" y="28" font-size="16" font-weight="600">'
        f"{escape(title)}</text>{_maps(regions, dark)}{_class_key(regions)}</g>"
        f'<g fill="{QUIET_INKS[dark]}" font-size="11">{lines}</g></svg>'
    )


def _maps(regions: Regions, dark: bool) -> str:
    """Each model's map below its name and the share that it keeps; the mixture's is marked."""
    drawn, last = "", len(regions.models) - 1
    for i, (name, kept) in enumerate(zip(regions.models, regions.kept().tolist(), strict=True)):
        weight = ' font-weight="600"' if i == last else ""
        drawn += (
            f'<g transform="translate({i * WIDTH} {TITLE + HEADS})">'
            f'<text x="{LEFT}" y="-9" font-size="13"{weight}>'
            f"{escape(name.capitalize())} keeps {kept:.0f} %</text>"
            f"{region_svg(regions, i, i == last, dark)}</g>"
        )
    return drawn


def _class_key(regions: Regions) -> str:
    """The colour and name of each class."""
    drawn, x = "", float(LEFT)
    for name, colour in class_colours(regions.classes).items():
        drawn += (
            f'<rect x="{x:g}" y="-10" width="12" height="12" rx="3" fill="{colour}"/>'
            f'<text x="{x + 18:g}">{escape(name)}</text>'
        )
        x += 18 + LETTER * len(name) + 18
    top = TITLE + HEADS + HEIGHT + KEY / 2
    return f'<g transform="translate(0 {top:g})" font-size="12">{drawn}</g>'


def _svg_head(width: float, height: float) -> str:
    """The tag that begins a drawing of this size in px."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" '
        f'viewBox="0 0 {width:g} {height:g}" font-family="{FONT}">'
    )


def ticks(reach: float) -> list[float]:
    """About five multiples of 1, 2 or 5 times a power of ten, from -reach to reach."""
    rough = 2 * reach / 5
    power = 10.0 ** math.floor(math.log10(rough))
    limits = ((2**0.5, 1), (10**0.5, 2), (50**0.5, 5), (math.inf, 10))
    step = power * next(factor for limit, factor in limits if rough / power < limit)
    last = math.floor(reach / step)
    return [i * step for i in range(-last, last + 1)]


def _rgb(colour: str) -> list[float]:
    return [float(value) for value in bytes.fromhex(colour[1:])]


def _reach(regions: Regions) -> float:
    """Half the square's side: half a step beyond the outermost points, to show whole pixels."""
    return regions.extent * len(regions.axis) / (len(regions.axis) - 1)


def _pixels(regions: Regions, points: Tensor) -> list[tuple[float, float]]:
    """N×2 coordinates a and b in px from the square's upper left corner."""
    reach = _reach(regions)
    across, down = points[:, 0] + reach, reach - points[:, 1]
    return [(x, y) for x, y in (torch.stack([across, down], 1) * SIDE / (2 * reach)).tolist()]


def _axes(regions: Regions, dark: bool) -> str:
    """Both axes' ticks with their numbers, in the attack's unit, and titles."""
    unit = eps_unit(regions.plane.config.norm)
    marks, numbers = "", ""
    for value in ticks(unit * _reach(regions)):
        ((x, y),) = _pixels(regions, torch.tensor([[value, value]], dtype=torch.float64) / unit)
        text = f"{value:.6g}".replace("-", "−")
        marks += f"M{x:.1f} {SIDE + 2}v4M-2 {y:.1f}h-4"
        numbers += f'<text x="{x:.1f}" y="{SIDE + 16}" text-anchor="middle">{text}</text>'
        numbers += f'<text x="-9" y="{y + 3.5:.1f}" text-anchor="end">{text}</text>'
    length = "largest change of a pixel, /255" if unit == 255 else "L2 length"
    titles = "".join(
        f'<text transform="translate({x} {y}) rotate({angle})" text-anchor="middle" '
        f'font-size="11">{text}</text>'
        for x, y, angle, text in (
            (SIDE / 2, SIDE + 30, 0, "along the attack"),
            (SIDE / 2, SIDE + 43, 0, f"({length})"),
            (-34, SIDE / 2, -90, f"random, orthogonal (seed {regions.plane.seed})"),
        )
    )
    ink = QUIET_INKS[dark]
    return (
        f'<path class="ticks" d="{marks}" stroke="{ink}"/>'
        f'<g fill="{ink}" font-size="10">{numbers}{titles}</g>'
    )


def _frame(width: int, dark: bool) -> str:
    """A line of this width in px around the square."""
    side = SIDE + width
    return (
        f'<rect class="frame" x="{-width / 2}" y="{-width / 2}" width="{side}" height="{side}" '
        f'fill="none" stroke="{INKS[dark]}" stroke-width="{width}"/>'
    )


def _lines(regions: Regions) -> str:
    """The eps ball's edge (dashed) and the attack's path, each dark on a light halo."""
    drawn = ""
    plane, dash = regions.plane, ' stroke-dasharray="5 4"'
    for kind, points, dashes in (("ball", plane.outline(180), dash), ("path", plane.path, "")):
        course = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in _pixels(regions, points))
        drawn += (
            f'<path d="{course}" stroke="{HALO}" stroke-opacity="0.8" stroke-width="3.5"/>'
            f'<path class="{kind}" d="{course}" stroke="{MARK}" stroke-width="1.6"{dashes}/>'
        )
    return f'<g fill="none" stroke-linejoin="round">{drawn}</g>'


def _ends(regions: Regions) -> str:
    """A dot at the clean image and a cross where the attack ends."""
    (x, y), (to_x, to_y) = _pixels(regions, torch.stack([torch.zeros(2), regions.plane.path[-1]]))
    cross = f"M{to_x - 4:.1f} {to_y - 4:.1f}l8 8m-8 0l8-8"
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.7" fill="{MARK}" stroke="{HALO}" '
        f'stroke-width="1.5"/><path d="{cross}" stroke="{HALO}" stroke-width="4.5"/>'
        f'<path class="cross" d="{cross}" stroke="{MARK}" stroke-width="2.2"/>'
    )


def _names(regions: Regions, model: int) -> str:
    """Each class's name in the widest part of its region, away from the attack's path."""
    stride = -(-len(regions.axis) // FINEST)
    axis = regions.axis[::stride]
    classes = regions.classes[model, ::stride, ::stride]
    present = classes.unique()
    inside = (classes == present.view(-1, 1, 1)) & ~_near_path(regions, axis)
    texts = ""
    for i, (row, column, depth) in zip(present.tolist(), _deepest(inside), strict=True):
        if depth >= ROOM * len(axis):
            name, point = CLASSES[i], torch.stack([axis[column], axis[row]])
            ((x, y),) = _pixels(regions, point.unsqueeze(0))
            half = LETTER * len(name) / 2 + 2
            x = min(max(x, half), SIDE - half)  # keep the whole name on the map
            texts += f'<text x="{x:.1f}" y="{y + 4:.1f}">{escape(name)}</text>'
    look = 'font-size="12" font-weight="600" text-anchor="middle"'
    return (
        f'<g {look} fill="{HALO}" stroke="{HALO}" stroke-width="3.5" stroke-linejoin="round">'
        f'{texts}</g><g class="names" {look} fill="{MARK}">{texts}</g>'
    )


def _near_path(regions: Regions, axis: Tensor) -> Tensor:
    """N×N booleans: too near the line from the clean image to the attack's end for a name."""
    a, b, room = axis, axis.view(-1, 1), regions.extent / 6
    return (a > -room) & (a < regions.plane.path[-1, 0] + room) & (b.abs() < room / 2)


def _deepest(inside: Tensor) -> list[tuple[int, int, int]]:
    """Row, column and distance of the point of each of K×H×W regions furthest from its edge.

    Peels a layer off every region until nothing is left, and counts the layers above each point.
    """
    rest = inside.float()
    depth = torch.zeros_like(rest)
    while rest.any():
        depth += rest
        rest = -F.max_pool2d(-F.pad(rest, (1, 1, 1, 1)), 3, stride=1)
    best = depth.flatten(1).max(1)
    return [
        (*divmod(place, inside.shape[2]), int(distance))
        for place, distance in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]
