"""All of an ensemble's maps of decision regions on one sheet, to keep or to print."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from dverge.charts.regions import (
    GROUNDS,
    HEIGHT,
    INKS,
    LEFT,
    LETTER,
    QUIET_INKS,
    WIDTH,
    class_colours,
    region_svg,
    svg_head,
)
from dverge.exploration.regions import Regions

TITLE, HEADS, KEY, LINE = 44, 24, 36, 16  # px, heights of what lies above and below the maps
NARROWEST = 800  # px that the lines below the maps need


def region_sheet(regions: Regions, title: str, footer: Sequence[str], dark: bool = False) -> str:
    """An SVG of every model's map, side by side.

    Args:
        regions: of all models.
        title: above the maps; also the document's.
        footer: lines below them, such as the settings.
        dark: on dark ground.
    """
    width = max(len(regions.models) * WIDTH, NARROWEST)
    height = TITLE + HEADS + HEIGHT + KEY + LINE * len(footer) + LINE
    lines = "".join(
        f'<text x="{LEFT}" y="{height - LINE * (len(footer) - i)}">{escape(line)}</text>'
        for i, line in enumerate(footer)
    )
    return (
        f"{svg_head(width, height)}<title>{escape(title)}</title>"
        f'<rect width="{width}" height="{height}" fill="{GROUNDS[dark]}"/>'
        f'<g fill="{INKS[dark]}"><text x="{LEFT}" y="28" font-size="16" font-weight="600">'
        f"{escape(title)}</text>{_maps(regions, dark)}{_key(regions)}</g>"
        f'<g fill="{QUIET_INKS[dark]}" font-size="11">{lines}</g></svg>'
    )


def _maps(regions: Regions, dark: bool) -> str:
    """Each model's map under its name and what it keeps; the mixture, the last, is marked."""
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


def _key(regions: Regions) -> str:
    """What class each colour is."""
    drawn, x = "", float(LEFT)
    for name, colour in class_colours(regions.classes).items():
        drawn += (
            f'<rect x="{x:g}" y="-10" width="12" height="12" rx="3" fill="{colour}"/>'
            f'<text x="{x + 18:g}">{escape(name)}</text>'
        )
        x += 18 + LETTER * len(name) + 18
    top = TITLE + HEADS + HEIGHT + KEY / 2
    return f'<g transform="translate(0 {top:g})" font-size="12">{drawn}</g>'
