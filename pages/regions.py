"""Decision regions: what each submodel and the mixture say on a plane through one image."""

from __future__ import annotations

from html import escape

import streamlit as st
import torch

from dverge.charts import class_colours, region_chart
from dverge.checkpoints import CheckpointInfo
from dverge.data import CLASSES
from dverge.evaluation import Regions, attack_plane, model_names, regions_on
from pages.widgets.attack_form import AttackChoice, attack_form
from pages.widgets.cards import is_dark, show_heading
from pages.widgets.image_choice import ChosenImage, choose_image, gallery
from pages.widgets.messages import errors_as_messages, stop_without_checkpoints
from pages.widgets.navigation import enter_through_app
from pages.widgets.region_form import RegionChoice, region_form
from pages.widgets.resources import (
    all_checkpoints,
    data_in_use,
    load_fast,
    most_accurate,
)

MOST_BESIDE = 2
FIGURE_1 = ("vanilla", "dverge")  # the methods that the paper's figure compares


def choose_ensembles(available: list[CheckpointInfo]) -> list[CheckpointInfo]:
    """The checkpoints to compare, by name in the page's address."""
    by_name = {info.name: info for info in available}
    kinds = [[info for info in available if info.card.method == method] for method in FIGURE_1]
    first = [most_accurate(kind) for kind in kinds if kind] or [most_accurate(available)]
    names = st.multiselect(
        "Ensembles",
        list(by_name),
        default=[info.name for info in first],
        max_selections=MOST_BESIDE,
        key="ensembles",
        bind="query-params",
        help=f"Up to {MOST_BESIDE}, one above the other.",
    )
    return [by_name[name] for name in names]


@st.cache_data(max_entries=64, show_spinner=False)  # a spinner would move the maps
def found(
    digest: str,
    attacked: str,
    image: str,
    _info: CheckpointInfo,
    _attacked: CheckpointInfo,
    _image: ChosenImage,
    choice: AttackChoice,
    view: RegionChoice,
) -> Regions:
    """What one checkpoint says on the plane of an attack on another or itself."""
    plane = attack_plane(
        load_fast(_attacked),
        _image.pixels,
        _image.label,
        choice.config,
        choice.victim,
        choice.target,
        seed=view.seed,
    )
    extent = view.extent * choice.config.eps
    return regions_on(plane, load_fast(_info), _image.label, extent=extent, points=view.points)


def show_ensemble(info: CheckpointInfo, attacked: CheckpointInfo, result: Regions) -> None:
    """One ensemble's sentence, and a map a model; the mixture's has a thick frame."""
    st.markdown(f"**{result.summary()}**")
    if attacked.digest != info.digest:
        st.caption(f"The plane is that of the attack on {attacked.name}, not on this ensemble.")
    names = model_names(len(result.classes) - 1)
    kept = result.kept().tolist()
    with st.grid(min(len(names), 4), min_column_width=200):
        for i, name in enumerate(names):
            is_mixture = i == len(names) - 1
            with st.container(gap=None, key=f"map-{info.name}-{i}"):
                title = f"**{name.capitalize()}**" if is_mixture else name.capitalize()
                st.markdown(f"{title} :gray[keeps {kept[i]:.0f} %]")
                st.altair_chart(
                    region_chart(result, i, is_mixture, is_dark()),
                    key=f"regions-{info.name}-{i}",
                    width="content",
                    alt=f"Decision regions of {name} of {info.name}: {kept[i]:.0f} % of the eps "
                    "ball keep the true class",
                )


def show_legend(results: list[Regions], label: int) -> None:
    """The colours of the classes that occur, the true one named as such."""
    colours = class_colours(torch.cat([result.classes.flatten() for result in results]))
    chips = "".join(
        f'<span><i style="background:{colour}"></i>{escape(name)}'
        f"{' (true class)' if name == CLASSES[label] else ''}</span>"
        for name, colour in colours.items()
    )
    st.html(f'<div class="dv-legend">{chips}</div>')


def show_all(
    chosen: list[CheckpointInfo], image: ChosenImage, choice: AttackChoice, view: RegionChoice
) -> None:
    """A card an ensemble, and how to read them."""
    results = []
    for info in chosen:
        attacked = chosen[0] if view.shared else info
        with st.container(border=True):
            show_heading(info)
            with errors_as_messages():
                digests = (info.digest, attacked.digest, image.digest)
                result = found(*digests, info, attacked, image, choice, view)
                show_ensemble(info, attacked, result)
                results.append(result)
    if results:
        show_legend(results, image.label)
        st.caption(
            "Colour is the class a model says, paler where it is less sure. The cross is where the "
            "attack ends, the line its path, projected on the plane; the dashed line is where the "
            "plane leaves the eps ball. Across is one random direction orthogonal to the attack, "
            "of the same unit. Points outside the pixel box are clipped to [0, 1] before a model "
            "is asked about them. Away from these two directions nothing is shown, so a plane that "
            "looks safe is no proof. "
            f"{image.title.capitalize()}. Images: {data_in_use()}. One image is no rate."
        )


enter_through_app()
st.title("Decision regions", anchor=False)
available, broken = all_checkpoints()
answer = st.container()
if not available:
    stop_without_checkpoints()

with st.sidebar:
    image = choose_image()
    chosen = choose_ensembles(available)
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
for item in broken:
    st.warning(f"{item.name} is left out. {item.reason}", icon=":material/folder_off:")
