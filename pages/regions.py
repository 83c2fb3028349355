"""Decision regions: what each submodel and the mixture say on a plane through one image."""

from __future__ import annotations

from html import escape

import streamlit as st

from dverge.charts.regions import class_colours
from dverge.checkpoints import CheckpointInfo
from dverge.data import CLASSES
from dverge.exploration.plane import Plane, attack_plane
from dverge.exploration.regions import Regions, regions_on
from pages.widgets.regions.cards import show_maps, show_more
from pages.widgets.regions.form import RegionChoice, region_form
from pages.widgets.shared.attack_form import AttackChoice, attack_form
from pages.widgets.shared.cards import show_heading
from pages.widgets.shared.ensemble_choice import choose_ensembles
from pages.widgets.shared.image_choice import ChosenImage, choose_image, gallery
from pages.widgets.shared.links import attack_query, show_link
from pages.widgets.shared.messages import (
    errors_as_messages,
    show_left_out,
    stop_without_checkpoints,
)
from pages.widgets.shared.navigation import enter_through_app
from pages.widgets.shared.resources import all_checkpoints, data_in_use, load_fast

MOST_BESIDE = 2
FIGURE_1 = ("vanilla", "dverge")  # the methods that the paper's figure compares


# No spinners: they would move the maps. What is asked of the plane changes more often than it.
@st.cache_data(max_entries=64, show_spinner=False)
def plane_of(
    attacked: str,
    image: str,
    _attacked: CheckpointInfo,
    _image: ChosenImage,
    choice: AttackChoice,
    seed: int,
) -> Plane:
    """The plane of an attack on a checkpoint; the direction across is the seed's."""
    return attack_plane(
        load_fast(_attacked),
        _image.pixels,
        _image.label,
        choice.config,
        choice.victim,
        choice.target,
        seed=seed,
    )


@st.cache_data(max_entries=64, show_spinner=False)
def found(
    digest: str,
    attacked: str,
    image: str,
    _info: CheckpointInfo,
    _attacked: CheckpointInfo,
    _image: ChosenImage,
    choice: AttackChoice,
    seed: int,
    extent: float,
    points: int,
) -> Regions:
    """What one checkpoint says on the plane of an attack on another or itself.

    The extent is in multiples of eps.
    """
    plane = plane_of(attacked, image, _attacked, _image, choice, seed)
    reach = extent * choice.config.eps
    return regions_on(plane, load_fast(_info), _image.label, extent=reach, points=points)


def show_ensemble(
    info: CheckpointInfo,
    attacked: CheckpointInfo,
    image: ChosenImage,
    choice: AttackChoice,
    view: RegionChoice,
) -> Regions:
    """One ensemble's sentence, its maps, and on demand what they are drawn from."""
    keys = (info.digest, attacked.digest, image.digest)
    where = (view.seed, view.extent, view.points)
    result = found(*keys, info, attacked, image, choice, *where)
    st.markdown(f"**{result.summary()}**")
    if attacked.digest != info.digest:
        st.caption(f"The plane is that of the attack on {attacked.name}, not on this ensemble.")
    show_maps(info, result)
    show_more(info, attacked, image, result)
    return result


def show_legend(results: list[Regions], label: int) -> None:
    """The colours of the classes that occur, the true one named as such."""
    colours = class_colours(*(result.classes for result in results))
    chips = "".join(
        f'<span><i style="background:{colour}"></i>{escape(name)}'
        f"{' (true class)' if name == CLASSES[label] else ''}</span>"
        for name, colour in colours.items()
    )
    st.html(f'<div class="dv-legend">{chips}</div>')


def show_all(
    chosen: list[CheckpointInfo], image: ChosenImage, choice: AttackChoice, view: RegionChoice
) -> None:
    """A card an ensemble, how to read them, and the way to the attack itself."""
    results = []
    for info in chosen:
        attacked = chosen[0] if view.shared else info
        with st.container(border=True, key=f"regions-card-{info.name}"):
            show_heading(info)
            with errors_as_messages():
                results.append(show_ensemble(info, attacked, image, choice, view))
    if results:
        show_legend(results, image.label)
        st.caption(
            "Colour is the class a model says, fainter where it is less sure. The dot is the "
            "image, the cross where the attack ends, the line its path, projected on the plane. "
            "Dashed is the edge of the eps ball, which holds all that the attack may reach. The "
            "vertical axis is one random direction orthogonal to the attack, in the same unit. "
            "Points outside the pixel box are clipped to [0, 1] before a model is asked. Other "
            "directions are not shown, so a plane that looks safe is no proof. "
            f"{image.title.capitalize()}. Images: {data_in_use()}. One image is no rate."
        )
    if image.number is not None:
        query = attack_query(choice, image.number, [info.name for info in chosen])
        show_link("lab", "Open this in the attack lab", query)


enter_through_app()
st.title("Decision regions", anchor=False)
available, broken = all_checkpoints()
answer = st.container()
if not available:
    stop_without_checkpoints()

with st.sidebar:
    image = choose_image()
    chosen = choose_ensembles(available, FIGURE_1, MOST_BESIDE, "one above the other")
    choice = None
    with errors_as_messages():
        choice = attack_form(max((len(info.card.members) for info in chosen), default=3))
    view = region_form()

with answer:
    if not chosen:
        st.info("Choose at least one ensemble on the left.", icon=":material/arrow_back:")
    elif choice is not None:
        show_all(chosen, image, choice, view)

st.subheader("Choose an image", anchor=False)
st.fragment(gallery)(chosen)
show_left_out(broken)
