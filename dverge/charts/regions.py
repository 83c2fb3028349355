"""Maps of decision regions as SVG: colour is the class, its strength the confidence.

The points are a tiny PNG, one pixel a point, that the browser enlarges; over it lie, as vectors,
what has to be crisp at any size: the eps ball, the attack's path, names, frame and axes.
"""

from __future__ import annotations

import base64
import math
from html import escape

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from dverge.attacks import Norm
from dverge.charts.pictures import to_png
from dverge.data import CLASSES
from dverge.exploration.regions import Regions

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
MARK, HALO = "#10151A", "#FFFFFF"  # of what is laid over the colours, on both grounds
GROUNDS = {False: "#FFFFFF", True: "#0F1419"}  # light and dark
INKS = {False: "#1B2733", True: "#E6EBF0"}
QUIET_INKS = {False: "#5D6975", True: "#A3B0BC"}
PALEST = 0.35  # how much of a class's colour there would be at no confidence at all
FONT = "'Source Sans 3','Source Sans Pro',system-ui,-apple-system,'Segoe UI',sans-serif"
SIDE = 184  # px, of the square; about it is room for the axes
LEFT, TOP, RIGHT, BOTTOM = 44, 4, 14, 48
WIDTH, HEIGHT = LEFT + SIDE + RIGHT, TOP + SIDE + BOTTOM
ROOM = 1 / 16  # of the side; a name needs so much to each edge of its region
LETTER = 8  # px of a name's width per letter, at most
FINEST = 61  # points a side that are enough to place names by


def class_colours(*shown: Tensor) -> dict[str, str]:
    """The colour of each class that occurs among int64 classes 0–9, in the classes' order."""
    there = sorted({i for classes in shown for i in classes.unique().tolist()})
    return {CLASSES[i]: CLASS_COLOURS[i] for i in there}


def region_picture(regions: Regions, model: int, dark: bool = False) -> Image.Image:
    """What one model says, a pixel a point, the highest b at the top.

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
        model: 0 is the first member, the last (-1, too) the mixture.
        marked: with a thick frame, as the one to look at.
        dark: the page's ground.
    """
    png = base64.b64encode(to_png(region_picture(regions, model, dark))).decode()
    size = f'width="{SIDE}" height="{SIDE}"'
    return (
        f"{svg_head(WIDTH, HEIGHT)}"
        f'<g transform="translate({LEFT} {TOP})">{_axes(regions, dark)}'
        f'<svg {size}><image {size} href="data:image/png;base64,{png}" '
        'preserveAspectRatio="none" style="image-rendering:pixelated"/>'
        f"{_lines(regions)}{_names(regions, model)}</svg>"
        f"{_frame(3 if marked else 1, dark)}{_ends(regions)}</g></svg>"
    )


def svg_head(width: float, height: float) -> str:
    """The tag that begins a drawing of so many px."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" '
        f'viewBox="0 0 {width:g} {height:g}" font-family="{FONT}">'
    )


def unit_of(regions: Regions) -> int:
    """What coordinates are multiplied by on screen: 255 for L-inf, 1 for L2."""
    return 255 if regions.plane.config.norm is Norm.LINF else 1


def ticks(reach: float) -> list[float]:
    """The multiples of 1, 2 or 5 times a power of ten from -reach to reach, about five of them."""
    rough = 2 * reach / 5
    power = 10.0 ** math.floor(math.log10(rough))
    limits = ((2**0.5, 1), (10**0.5, 2), (50**0.5, 5), (math.inf, 10))
    step = power * next(factor for limit, factor in limits if rough / power < limit)
    most = math.floor(reach / step)
    return [i * step for i in range(-most, most + 1)]


def _rgb(colour: str) -> list[float]:
    return [float(value) for value in bytes.fromhex(colour[1:])]


def _reach(regions: Regions) -> float:
    """Half the square's side: half a step beyond the outermost points, whose pixels are whole."""
    return regions.extent * len(regions.axis) / (len(regions.axis) - 1)


def _placed(regions: Regions, points: Tensor) -> list[tuple[float, float]]:
    """N×2 coordinates a and b in px from the square's upper left corner."""
    reach = _reach(regions)
    across, down = points[:, 0] + reach, reach - points[:, 1]
    return [(x, y) for x, y in (torch.stack([across, down], 1) * SIDE / (2 * reach)).tolist()]


def _axes(regions: Regions, dark: bool) -> str:
    """Ticks and their numbers on both axes, in the attack's unit, and what the axes are."""
    unit = unit_of(regions)
    marks, numbers = "", ""
    for value in ticks(unit * _reach(regions)):
        ((x, y),) = _placed(regions, torch.tensor([[value, value]], dtype=torch.float64) / unit)
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
    """A line of so many px about the square."""
    side = f"{SIDE + width}"
    return (
        f'<rect class="frame" x="{-width / 2}" y="{-width / 2}" width="{side}" height="{side}" '
        f'fill="none" stroke="{INKS[dark]}" stroke-width="{width}"/>'
    )


def _lines(regions: Regions) -> str:
    """The ball's edge, dashed, and the attack's path, each dark on a light halo."""
    drawn = ""
    plane, dash = regions.plane, ' stroke-dasharray="5 4"'
    for kind, points, dashes in (("ball", plane.outline(180), dash), ("path", plane.path, "")):
        course = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in _placed(regions, points))
        drawn += (
            f'<path d="{course}" stroke="{HALO}" stroke-opacity="0.8" stroke-width="3.5"/>'
            f'<path class="{kind}" d="{course}" stroke="{MARK}" stroke-width="1.6"{dashes}/>'
        )
    return f'<g fill="none" stroke-linejoin="round">{drawn}</g>'


def _ends(regions: Regions) -> str:
    """A dot at the clean image and a cross where the attack ends."""
    (x, y), (to_x, to_y) = _placed(regions, torch.stack([torch.zeros(2), regions.plane.path[-1]]))
    cross = f"M{to_x - 4:.1f} {to_y - 4:.1f}l8 8m-8 0l8-8"
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.7" fill="{MARK}" stroke="{HALO}" '
        f'stroke-width="1.5"/><path d="{cross}" stroke="{HALO}" stroke-width="4.5"/>'
        f'<path class="cross" d="{cross}" stroke="{MARK}" stroke-width="2.2"/>'
    )


def _names(regions: Regions, model: int) -> str:
    """The name of each class in its region, where that is widest and clear of the path."""
    coarser = -(-len(regions.axis) // FINEST)
    axis = regions.axis[::coarser]
    classes = regions.classes[model, ::coarser, ::coarser]
    there = classes.unique()
    inside = (classes == there.view(-1, 1, 1)) & ~_near_path(regions, axis)
    texts = ""
    for i, (row, column, depth) in zip(there.tolist(), _deepest(inside), strict=True):
        if depth >= ROOM * len(axis):
            name, at = CLASSES[i], torch.stack([axis[column], axis[row]])
            ((x, y),) = _placed(regions, at.unsqueeze(0))
            half = LETTER * len(name) / 2 + 2
            x = min(max(x, half), SIDE - half)  # all of it on the map
            texts += f'<text x="{x:.1f}" y="{y + 4:.1f}">{escape(name)}</text>'
    look = 'font-size="12" font-weight="600" text-anchor="middle"'
    return (
        f'<g {look} fill="{HALO}" stroke="{HALO}" stroke-width="3.5" stroke-linejoin="round">'
        f'{texts}</g><g class="names" {look} fill="{MARK}">{texts}</g>'
    )


def _near_path(regions: Regions, axis: Tensor) -> Tensor:
    """N×N booleans: too near the way from the clean image to the attack's end for a name."""
    a, b, room = axis, axis.view(-1, 1), regions.extent / 6
    return (a > -room) & (a < regions.plane.path[-1, 0] + room) & (b.abs() < room / 2)


def _deepest(inside: Tensor) -> list[tuple[int, int, int]]:
    """Row and column of the point of each of K×H×W regions furthest from its edge, and how far."""
    layer = inside.float()
    depth = torch.zeros_like(layer)
    while layer.any():
        depth += layer
        layer = -F.max_pool2d(-F.pad(layer, (1, 1, 1, 1)), 3, stride=1)
    best = depth.flatten(1).max(1)
    return [
        (*divmod(at, inside.shape[2]), int(far))
        for at, far in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]
