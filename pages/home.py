"""Home: what this is, what is on this machine, and one attack, live."""

from __future__ import annotations

import streamlit as st

from dverge.attacks import Norm, Victim, pgd
from dverge.checkpoints import CheckpointInfo
from dverge.data import CLASSES, Split, load
from dverge.devices import describe_device, resolve_device
from dverge.exploration.examine import Examination, Verdict, examine
from pages.widgets.home.data_status import show_data_status
from pages.widgets.shared.cards import show_answers, show_heading, show_pictures, show_verdict
from pages.widgets.shared.ensemble_choice import first_of_each
from pages.widgets.shared.messages import errors_as_messages, show_left_out
from pages.widgets.shared.navigation import enter_through_app
from pages.widgets.shared.resources import all_checkpoints, data_in_use, load_ensemble, run_manager

EPS = 8 / 255
STEPS = 10
LOOKED_AT = 40  # sample images searched for the example


@st.cache_data(max_entries=16, show_spinner="Attacking an image")
def example(digest: str, _info: CheckpointInfo) -> tuple[int, Examination]:
    """The first sample image that every submodel gets right and the mixture survives.

    The attack follows submodel 1 only, so the others and the mixture see what transfers. If the
    mixture survives on none of those looked at, the first that all get right is shown.
    """
    ensemble, images = load_ensemble(_info), load(Split.SAMPLE)
    attack = pgd(Norm.LINF, EPS, steps=STEPS)
    fallback = None
    for position in range(LOOKED_AT):
        label = int(images.labels[position])
        outcome = examine(ensemble, images.pixels(position), label, attack, Victim(0))
        if Verdict.WRONG_BEFORE in outcome.verdicts:
            continue
        number = int(images.indices[position])
        fallback = fallback or (number, outcome)
        if outcome.mixture is Verdict.HOLDS and Verdict.FOOLED in outcome.members:
            return number, outcome
    if fallback is None:
        outcome = examine(ensemble, images.pixels(0), int(images.labels[0]), attack, Victim(0))
        return int(images.indices[0]), outcome
    return fallback


def show_example(info: CheckpointInfo) -> None:
    """One image, one attack, drawn on arrival."""
    number, outcome = example(info.digest, info)
    with st.container(border=True):
        show_heading(info)
        show_verdict(outcome)
        show_pictures(outcome, 2 * EPS)
        show_answers(outcome, info)
        st.caption(
            f"Computed now: PGD, L∞ eps 8/255, {STEPS} steps along the gradient of submodel 1, on "
            f"test image {number} ({CLASSES[outcome.label]}): the first bundled image that all "
            "submodels get right and, if there is one, that the mixture survives. Chosen to "
            "explain, so it is no measure of robustness."
        )
        st.page_link(
            "pages/lab.py",
            label="Open this in the attack lab",
            icon=":material/experiment:",
            query_params={"image": str(number), "ensembles": info.name, "victim": "submodel 1"},
        )


def show_machine(available: list[CheckpointInfo]) -> None:
    """What is here, each with its next step."""
    views = run_manager().views()
    active = [view for view in views if view.status.state.active]
    device = describe_device(resolve_device("auto"))
    with st.container(border=True):
        st.subheader("On this machine", anchor=False)
        st.markdown(f":material/image: **Images** {data_in_use()}")
        st.markdown(f":material/memory: **Device** {device}")
        st.markdown(f":material/inventory_2: **Checkpoints** {len(available)}")
        st.markdown(f":material/model_training: **Runs** {len(views)}, {len(active)} active")
    with st.container(border=True):
        st.subheader("Next", anchor=False)
        show_data_status()
        training = any(not view.spec.is_evaluation for view in active)
        show_next_step(bool(available), training)


def show_next_step(has_checkpoint: bool, is_training: bool) -> None:
    """The one link that helps most now."""
    if is_training:
        st.page_link("pages/train.py", label="Watch the training", icon=":material/show_chart:")
    if has_checkpoint:
        st.page_link("pages/tour.py", label="Take the tour", icon=":material/slideshow:")
        st.page_link("pages/lab.py", label="Attack an image", icon=":material/experiment:")
        st.page_link("pages/robustness.py", label="See what is measured", icon=":material/shield:")
    if not is_training:
        st.page_link("pages/train.py", label="Train an ensemble", icon=":material/model_training:")


enter_through_app()
st.title("How robust is an ensemble?", anchor=False)
st.markdown(
    "An adversarial attack changes an image by less than the eye sees until a network gives a "
    "wrong answer. An **ensemble** asks several networks, its **submodels**, and answers with "
    "their **mixture**, the mean of their probabilities. It helps only as far as one attack does "
    "not fool them all; **DVERGE** is a training that makes their weaknesses differ. Here you "
    "train ensembles, attack them, and see how far they hold."
)
available, broken = all_checkpoints()
left, right = st.columns([7, 4], gap="medium")
with left, errors_as_messages():
    if available:
        show_example(first_of_each(available, ("vanilla",))[0])
    else:
        st.info(
            "No checkpoint yet: train one, and this shows it under attack.",
            icon=":material/model_training:",
        )
with right, errors_as_messages():
    show_machine(available)
show_left_out(broken)
