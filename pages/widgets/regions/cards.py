"""One ensemble's maps of decision regions, what they hold in figures, and their downloads."""

from __future__ import annotations

import base64
import json
from html import escape

import streamlit as st

from dverge.charts.regions import region_sheet, region_svg
from dverge.checkpoints import CheckpointInfo
from dverge.data import CLASSES
from dverge.evaluation.naming import attack_title
from dverge.exploration.regions import Regions
from pages.widgets.shared.cards import is_dark
from pages.widgets.shared.downloads import offer_files
from pages.widgets.shared.image_choice import ChosenImage
from pages.widgets.shared.links import attack_kind, victim_words

LEAST_SHARE = 0.5  # per cent of the ball's points; a class with less is not told of


def show_maps(info: CheckpointInfo, result: Regions) -> None:
    """A map a model, all in one piece, so that they change together and nothing moves."""
    figures = "".join(_figure(info, result, i) for i in range(len(result.models)))
    st.html(f'<div class="dv {_theme()}"><div class="dv-maps">{figures}</div></div>')


def show_more(
    info: CheckpointInfo, attacked: CheckpointInfo, image: ChosenImage, result: Regions
) -> None:
    """What each model says in figures, and the maps and what they are drawn from as files."""
    with st.container(horizontal=True, gap="small"):
        more = st.popover(
            "In figures",
            type="tertiary",
            icon=":material/percent:",
            key=f"regions-figures-{info.name}",
        )
        with more:
            _show_table(result)
        offer_files(
            f"{info.name}-{image.file_name}-regions",
            {
                "SVG": (
                    lambda: sheet(info, attacked, image, result),
                    "All maps on one sheet, with their settings.",
                ),
                "CSV": (result.to_csv, "Class and confidence, a line a point and model."),
                "JSON": (
                    lambda: record(info, attacked, image, result),
                    "All settings, the checkpoint's digest, and every class and confidence.",
                ),
            },
            f"regions-{info.name}",
        )


def sheet(
    info: CheckpointInfo, attacked: CheckpointInfo, image: ChosenImage, result: Regions
) -> str:
    """All maps as one SVG, with the settings below them."""
    plane = result.plane
    config = plane.config
    attack = attack_title(attack_kind(config), {"eps": config.eps, "steps": config.steps})
    settings = [
        f"{attack}, gradient of the {victim_words(plane.victim)} of {attacked.name}",
        *([f"target {CLASSES[plane.target]}"] if plane.target is not None else []),
        *([f"random start (seed {config.seed})"] if config.random_start else []),
        *([f"{config.restarts} restarts"] if config.restarts > 1 else []),
    ]
    points = len(result.axis)
    return region_sheet(
        result,
        f"Decision regions of {info.name}: {image.title}",
        [
            f"Plane: {', '.join(settings)}.",
            f"{points} × {points} points; fainter is less sure; dashed: the eps ball; cross: where "
            "the attack ends. Kept: the ball's points that get the true class.",
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
    """One model's map under its name; the mixture's, the last, stands out."""
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
    """What each model says at the image, where the attack ends and in the ball."""
    heads = ("Model", "Clean image", "Where the attack ends", "In the eps ball")
    head = "".join(f'<th scope="col">{text}</th>' for text in heads)
    rows = "".join(_row(result, i) for i in range(len(result.models)))
    st.html(
        f'<div class="dv dv-scroll {_theme()}"><table class="dv-said"><thead><tr>{head}</tr>'
        f"</thead><tbody>{rows}</tbody></table></div>"
    )
    st.caption(
        "At the two points: the class a model says and how sure it is. In the ball: of the "
        f"{int(result.within.sum()):,} points of the map that lie in the eps ball, how many it "
        "gives to each class, the true class first. Of one plane through one image."
    )


def _row(result: Regions, model: int) -> str:
    """One model's line of the table."""
    last = model == len(result.models) - 1
    cells = []
    for moment in (result.before, result.after):
        said = int(moment[model].argmax())
        cells.append(f"{CLASSES[said]} {100 * moment[model, said].item():.0f} %")
    shares = enumerate(result.shares()[model].tolist())
    order = sorted(shares, key=lambda each: (each[0] != result.label, -each[1]))
    told = [f"{CLASSES[i]} {x:.0f} %" for i, x in order if i == result.label or x >= LEAST_SHARE]
    body = "".join(f"<td>{text}</td>" for text in (*cells, ", ".join(told)))
    name = result.models[model].capitalize()
    kind = ' class="mixture"' if last else ""
    return f'<tr{kind}><th scope="row">{name}</th>{body}</tr>'


def _theme() -> str:
    return "dark" if is_dark() else "light"
