"""One ensemble's maps of decision regions, their figures and their downloads."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from html import escape

import streamlit as st

from dverge.attacks import StrongConfig
from dverge.charts.regions import region_sheet, region_svg
from dverge.checkpoints import CheckpointInfo
from dverge.data import CLASSES
from dverge.exploration.kinds import describe
from dverge.exploration.plane import Plane, attack_plane
from dverge.exploration.regions import Regions, regions_on
from pages.widgets.shared.attack_form import AttackChoice
from pages.widgets.shared.cards import Files, is_dark, offer_files, show_html
from pages.widgets.shared.images import ChosenImage
from pages.widgets.shared.resources import BY_CONTENT, load_fast

LEAST_SHARE = 0.5  # per cent of the ball's points; a class with less is not listed


@dataclass(frozen=True)
class RegionChoice:
    """Which part of an attack's plane is shown.

    Attributes:
        extent: half the side of the map in multiples of eps.
        points: along each side, odd.
        seed: of the random direction.
    """

    extent: float
    points: int
    seed: int


# Without spinners, which would move the maps. The plane has a cache of its own because it stays
# the same when the reach or the number of points changes.
@st.cache_data(max_entries=64, show_spinner=False, hash_funcs=BY_CONTENT)
def plane_of(
    attacked: CheckpointInfo, image: ChosenImage, choice: AttackChoice, seed: int
) -> Plane:
    """The plane of an attack on a checkpoint; the seed draws the direction across."""
    ensemble, config, victim = load_fast(attacked), choice.config, choice.victim
    about = (ensemble, image.pixels, image.label, config, victim, choice.target)
    return attack_plane(*about, seed=seed, number=image.number)


@st.cache_data(max_entries=64, show_spinner=False, hash_funcs=BY_CONTENT)
def regions_of(
    info: CheckpointInfo,
    attacked: CheckpointInfo,
    image: ChosenImage,
    choice: AttackChoice,
    view: RegionChoice,
) -> Regions:
    """What one checkpoint answers on the plane of an attack on another or itself."""
    plane = plane_of(attacked, image, choice, view.seed)
    extent = view.extent * choice.config.eps
    return regions_on(plane, load_fast(info), image.label, extent=extent, points=view.points)


def show_maps(info: CheckpointInfo, result: Regions) -> None:
    """One map per model, all in one element, so that they change together and nothing moves."""
    figures = "".join(_figure(info, result, i) for i in range(len(result.models)))
    show_html(f'<div class="dv-maps">{figures}</div>')


def show_more(
    info: CheckpointInfo, attacked: CheckpointInfo, image: ChosenImage, result: Regions
) -> None:
    """Each model's answers in figures, and the maps and their data as files."""
    files: Files = {
        "SVG": (
            lambda: sheet(info, attacked, image, result),
            "All maps on one sheet, with their settings.",
        ),
        "CSV": (result.to_csv, "Class and confidence, one line per point and model."),
        "JSON": (
            lambda: record(info, attacked, image, result),
            "All settings, the checkpoint's digest, and every class and confidence.",
        ),
    }
    with st.container(horizontal=True, gap="small"):
        with st.popover(
            "In figures",
            type="tertiary",
            icon=":material/percent:",
            key=f"regions-figures-{info.name}",
        ):
            _show_table(result)
        offer_files(f"{info.name}-{image.file_name}-regions", files, f"regions-{info.name}")


def sheet(
    info: CheckpointInfo, attacked: CheckpointInfo, image: ChosenImage, result: Regions
) -> str:
    """All maps as one SVG, with the settings below them."""
    plane = result.plane
    config = plane.config
    settings = f"{describe(config, plane.victim, plane.target)}, on {attacked.name}"
    if isinstance(config, StrongConfig) or config.random_start:
        settings += f", random start (seed {config.seed})"
    points = len(result.axis)
    return region_sheet(
        result,
        f"Decision regions of {info.name}: {image.title}",
        [
            f"Plane: {settings}.",
            f"{points} × {points} points; paler is less confident; dashed: the eps ball; cross: "
            "where the attack ends. Kept: the ball's points that get the true class.",
        ],
    )


def record(
    info: CheckpointInfo, attacked: CheckpointInfo, image: ChosenImage, result: Regions
) -> str:
    """Everything about the maps as JSON."""
    checkpoints = {
        key: {"name": each.name, "digest": each.digest, "method": each.card.method}
        for key, each in (("checkpoint", info), ("attacked_checkpoint", attacked))
    }
    return json.dumps({"image": image.title, **checkpoints, **result.to_dict()})


def _figure(info: CheckpointInfo, result: Regions, model: int) -> str:
    """One model's map under its name; the last one, the mixture's, is emphasised."""
    name, last = result.models[model], model == len(result.models) - 1
    kept = f"{result.kept()[model].item():.0f} %"
    svg = region_svg(result, model, last, is_dark())
    alt = f"Decision regions of {name} of {info.name}: {kept} of the eps ball keep the true class"
    kind = ' class="mixture"' if last else ""
    return (
        f"<figure{kind}><figcaption><b>{name.capitalize()}</b> "
        f"<span>keeps {kept}</span></figcaption>"
        f'<img src="data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}" '
        f'alt="{escape(alt, quote=True)}" decoding="sync"></figure>'
    )


def _show_table(result: Regions) -> None:
    """What each model answers at the image, where the attack ends and in the ball."""
    heads = ("Model", "Clean image", "Where the attack ends", "In the eps ball")
    head = "".join(f'<th scope="col">{text}</th>' for text in heads)
    rows = "".join(_row(result, i) for i in range(len(result.models)))
    show_html(
        f'<table class="dv-said"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>',
        "dv-scroll",
    )
    st.caption(
        "At the two points: a model's answer and its probability. In the ball: the share of each "
        f"class among the {int(result.within.sum()):,} points of the map that lie in the eps ball, "
        "the true class first. This is one plane through one image."
    )


def _row(result: Regions, model: int) -> str:
    """One model's row of the table."""
    last = model == len(result.models) - 1
    cells = []
    for moment in (result.before, result.after):
        answer = int(moment[model].argmax())
        cells.append(f"{CLASSES[answer]} {100 * moment[model, answer].item():.0f} %")
    shares = enumerate(result.shares()[model].tolist())
    order = sorted(shares, key=lambda each: (each[0] != result.label, -each[1]))
    listed = [f"{CLASSES[i]} {x:.0f} %" for i, x in order if i == result.label or x >= LEAST_SHARE]
    body = "".join(f"<td>{text}</td>" for text in (*cells, ", ".join(listed)))
    name = result.models[model].capitalize()
    kind = ' class="mixture"' if last else ""
    return f'<tr{kind}><th scope="row">{name}</th>{body}</tr>'
