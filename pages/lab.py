"""Attack lab: one image, one attack, every chosen ensemble side by side."""

from __future__ import annotations

import json

import streamlit as st

from dverge.charts import class_chart, class_frame, perturbation_image, side_by_side
from dverge.checkpoints import CheckpointInfo
from dverge.data import CLASSES
from dverge.evaluation import Examination, examine, model_names
from pages.widgets.attack_form import AttackChoice, attack_form, linf_label
from pages.widgets.cards import show_answers, show_heading, show_pictures, show_verdict
from pages.widgets.image_choice import ChosenImage, choose_image, gallery
from pages.widgets.messages import errors_as_messages, stop_without_checkpoints
from pages.widgets.navigation import enter_through_app
from pages.widgets.resources import (
    all_checkpoints,
    colour_of,
    data_in_use,
    load_ensemble,
    most_accurate,
)

MOST_SIDE_BY_SIDE = 4
SCALES = {"8": 8 / 255, "16": 16 / 255, "64": 64 / 255, "fit": None}
DEFAULT_SCALE = "16"


def choose_ensembles(available: list[CheckpointInfo]) -> list[CheckpointInfo]:
    """The checkpoints to compare, by name in the page's address."""
    by_name = {info.name: info for info in available}
    names = st.multiselect(
        "Ensembles",
        list(by_name),
        default=[most_accurate(available).name],
        max_selections=MOST_SIDE_BY_SIDE,
        key="ensembles",
        bind="query-params",
        help=f"Up to {MOST_SIDE_BY_SIDE}, side by side; each is attacked for itself.",
    )
    return [by_name[name] for name in names]


@st.cache_data(max_entries=256, show_spinner=False)
def examined(
    digest: str, image: str, _info: CheckpointInfo, _image: ChosenImage, choice: AttackChoice
) -> Examination:
    """The examination of an image by a checkpoint, kept by what it depends on."""
    ensemble = load_ensemble(_info)
    return examine(
        ensemble, _image.pixels, _image.label, choice.config, choice.victim, choice.target
    )


def show_ensemble(info: CheckpointInfo, image: ChosenImage, choice: AttackChoice) -> None:
    """One ensemble's card: verdict, pictures, answers, all classes, downloads."""
    with st.container(border=True):
        show_heading(info)
        with errors_as_messages():
            outcome = examined(info.digest, image.digest, info, image, choice)
            show_verdict(outcome)
            scale = SCALES[st.session_state.get("scale", DEFAULT_SCALE)]
            delta = (outcome.adversarial - outcome.clean).abs().max().item()
            scale = scale or max(delta, 1 / 255)
            show_pictures(outcome, scale)
            show_answers(outcome, info)
            show_classes(outcome, info)
            show_downloads(outcome, info, image, scale)


def show_classes(outcome: Examination, info: CheckpointInfo) -> None:
    """The probabilities of all ten classes, a small chart a model, drawn when opened."""
    section = st.expander("All ten classes", on_change="rerun", key=f"classes-{info.name}")
    if not section.open:
        return
    with section:
        st.caption("Probability in per cent: pale bars before the attack, solid bars after it.")
        with st.grid("auto", min_column_width=200):
            for i, name in enumerate(model_names(len(outcome.members))):
                with st.container(gap="xsmall"):
                    st.markdown(f"**{name.capitalize()}**")
                    st.altair_chart(
                        class_chart(class_frame(outcome, i), colour_of(info)),
                        key=f"classes-{info.name}-{i}",
                        alt=f"Probabilities of {name} for all classes, before and after",
                    )


def show_downloads(
    outcome: Examination, info: CheckpointInfo, image: ChosenImage, scale: float
) -> None:
    """The pictures as PNG and everything about the view as JSON."""
    stem = f"{info.name}-{image.file_name}"
    with st.container(horizontal=True):
        st.download_button(
            "PNG",
            lambda: picture_sheet(outcome, info, image, scale),
            f"{stem}.png",
            "image/png",
            icon=":material/image:",
            key=f"png-{info.name}",
            on_click="ignore",
            help="The three pictures, enlarged, with their settings.",
        )
        st.download_button(
            "JSON",
            lambda: record(outcome, info, image),
            f"{stem}.json",
            "application/json",
            icon=":material/data_object:",
            key=f"json-{info.name}",
            on_click="ignore",
            help="All settings, the seed, the checkpoint's digest and every probability.",
        )


def picture_sheet(
    outcome: Examination, info: CheckpointInfo, image: ChosenImage, scale: float
) -> bytes:
    delta = outcome.adversarial - outcome.clean
    says = CLASSES[int(outcome.after[-1].argmax())]
    pictures = [
        (f"clean: {CLASSES[outcome.label]}", outcome.clean),
        (f"perturbation, ends ±{255 * scale:g}/255", perturbation_image(delta, scale)),
        (f"adversarial: {says}", outcome.adversarial),
    ]
    return side_by_side(pictures, f"{info.name}, {image.title}, {describe(outcome)}")


def record(outcome: Examination, info: CheckpointInfo, image: ChosenImage) -> str:
    checkpoint = {"name": info.name, "digest": info.digest, "method": info.card.method}
    return json.dumps(
        {"image": image.title, "checkpoint": checkpoint, **outcome.to_dict()}, indent=2
    )


def describe(outcome: Examination) -> str:
    """The attack in a few words."""
    config = outcome.config
    eps = linf_label(config.eps) if config.norm == "linf" else f"{config.eps:g}"
    victim = str(outcome.victim).replace("member-", "submodel ")
    norm = "L∞" if config.norm == "linf" else "L2"
    tries = f", {config.restarts} restarts" if config.restarts > 1 else ""
    return f"{norm} eps {eps}, {config.steps} steps{tries}, gradient of the {victim}"


enter_through_app()
st.title("Attack lab", anchor=False)
available, broken = all_checkpoints()
answer = st.container()
if not available:
    stop_without_checkpoints()

with st.sidebar:
    image = choose_image()
    chosen = choose_ensembles(available)
    most_members = max((len(info.card.members) for info in chosen), default=3)
    choice = None
    with errors_as_messages():
        choice = attack_form(most_members)
    st.segmented_control(
        "Perturbation's scale (± of 255)",
        list(SCALES),
        default=DEFAULT_SCALE,
        required=True,
        key="scale",
        bind="query-params",
        help="What the ends of the grey-centred scale stand for. Fixed scales make pictures "
        "comparable; fit takes the largest change.",
    )

with answer:
    if not chosen:
        st.info("Choose at least one ensemble on the left.", icon=":material/arrow_back:")
    elif choice is not None:
        with st.grid(min(len(chosen), 2), min_column_width=420):
            for info in chosen:
                show_ensemble(info, image, choice)
        st.caption(f"{image.title.capitalize()}. Images: {data_in_use()}. One image is no rate.")

st.subheader("Choose an image", anchor=False)
st.fragment(gallery)(chosen)
for item in broken:
    st.warning(f"{item.name} is left out. {item.reason}", icon=":material/folder_off:")
