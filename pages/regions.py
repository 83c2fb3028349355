"""Decision regions: what each submodel and the mixture answer on a plane through one image."""

from __future__ import annotations

from html import escape

import streamlit as st

from dverge.charts.regions import class_colours
from dverge.checkpoints import CheckpointInfo
from dverge.data import CLASSES
from dverge.exploration.kinds import describe
from dverge.exploration.regions import Regions
from pages.widgets.regions.cards import RegionChoice, regions_of, show_maps, show_more
from pages.widgets.shared.attack_form import LARGEST_SEED, AttackChoice, attack_form, attack_query
from pages.widgets.shared.cards import show_heading
from pages.widgets.shared.ensemble_choice import choose_ensembles
from pages.widgets.shared.image_choice import choose_image, gallery
from pages.widgets.shared.images import ChosenImage, data_in_use
from pages.widgets.shared.messages import ask_for_an_ensemble, errors_as_messages, show_left_out
from pages.widgets.shared.navigation import begin_page, show_link

MOST_SIDE_BY_SIDE = 2
FIRST_METHODS = ("vanilla", "dverge")  # those that the paper's Figure 1 compares
EXTENTS = (1, 1.5, 2, 3, 5, 8)
POINTS = (61, 121)
PLANES = {"own": "Each its own", "first": "Of the first"}


def region_form() -> tuple[RegionChoice, bool]:
    """The controls for the plane, in the page's address; the flag: all share the first's plane."""
    plane = st.segmented_control(
        "Plane",
        list(PLANES),
        default="own",
        required=True,
        format_func=PLANES.__getitem__,
        key="plane",
        bind="query-params",
        help="Each ensemble on the plane of the attack on itself, or both on the plane of the "
        "attack on the first, where they compare point by point.",
    )
    extent = st.select_slider(
        "Reach (multiples of eps)",
        EXTENTS,
        3,
        format_func="{:g}".format,
        key="extent",
        bind="query-params",
        help="How far around the image to look: half the side of a map.",
    )
    left, right = st.columns(2)
    points = left.selectbox(
        "Points a side",
        POINTS,
        key="points",
        bind="query-params",
        help="More are finer and slower.",
    )
    seed = right.number_input(
        "Direction seed",
        0,
        LARGEST_SEED,
        0,
        key="direction",
        bind="query-params",
        help="Of the random direction, the vertical axis.",
    )
    return RegionChoice(extent, points, seed), plane == "first"


def show_ensemble(
    info: CheckpointInfo,
    attacked: CheckpointInfo,
    image: ChosenImage,
    choice: AttackChoice,
    view: RegionChoice,
) -> Regions:
    """One ensemble's sentence and maps, and on demand the figures behind them."""
    result = regions_of(info, attacked, image, choice, view)
    st.markdown(f"**{result.summary()}**")
    sentence = result.outcome()
    st.caption(f"At the cross, where the attack ends: {sentence[0].lower()}{sentence[1:]}")
    if attacked.digest != info.digest:
        st.caption(f"The plane is that of the attack on {attacked.name}, not on this ensemble.")
    show_maps(info, result)
    show_more(info, attacked, image, result)
    return result


def show_legend(results: list[Regions], label: int, target: int | None) -> None:
    """The colours of the classes on the maps, with the true one and the target marked."""
    roles = {CLASSES[label]: " (true class)"}
    if target is not None:
        roles[CLASSES[target]] = " (target)"
    colours = class_colours(*(result.classes for result in results))
    chips = "".join(
        f'<span><i style="background:{colour}"></i>{escape(name)}{roles.get(name, "")}</span>'
        for name, colour in colours.items()
    )
    st.html(f'<div class="dv-legend">{chips}</div>')


def show_all(
    chosen: list[CheckpointInfo],
    image: ChosenImage,
    choice: AttackChoice,
    view: RegionChoice,
    shared: bool,
) -> None:
    """A card per ensemble, how to read the maps, and the link to the attack itself."""
    results, attack = [], describe(choice.config, choice.victim, choice.target)
    for info in chosen:
        attacked = chosen[0] if shared else info
        with st.container(border=True, key=f"regions-card-{info.name}"):
            show_heading(info, attack)
            with errors_as_messages():
                results.append(show_ensemble(info, attacked, image, choice, view))
    if results:
        show_legend(results, image.label, choice.target)
        st.caption(
            "Colour is the class a model answers, paler where it is less confident. The dot is the "
            "image, the cross where the attack ends, the line its path, projected on the plane. "
            "Dashed is the edge of the eps ball, the largest change the attack may make. The "
            "vertical axis is one random direction orthogonal to the attack, in the same unit. "
            "Points outside the pixel box are clipped to [0, 1] before a model sees them. Other "
            "directions are not shown, so a plane that looks safe is no proof. "
            f"{image.title.capitalize()}. Images: {data_in_use()}. One image says nothing about "
            "accuracy."
        )
    if image.number is not None:
        query = attack_query(choice, image.number, [info.name for info in chosen])
        show_link("lab", "Open this in the attack lab", query)


available, broken = begin_page("Decision regions")
answer = st.container()

with st.sidebar:
    image = choose_image()
    chosen = choose_ensembles(available, FIRST_METHODS, MOST_SIDE_BY_SIDE, "one above the other")
    choice = None
    with errors_as_messages():
        choice = attack_form(max((len(info.card.members) for info in chosen), default=3))
    view, shared = region_form()

with answer:
    if not chosen:
        ask_for_an_ensemble()
    elif choice is not None:
        show_all(chosen, image, choice, view, shared)

st.subheader("Choose an image", anchor=False)
st.fragment(gallery)(chosen)
show_left_out(broken)
