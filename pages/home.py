"""Home: what this is, what is on this machine, and one attack, live."""

from __future__ import annotations

import streamlit as st

from dverge.attacks import Norm, Victim, pgd
from dverge.checkpoints import CheckpointInfo
from dverge.data import CLASSES, ObtainState, Split, full_data_available, load
from dverge.devices import describe_device, resolve_device
from dverge.exploration.examine import Examination, examine
from dverge.exploration.verdicts import Verdict
from pages.widgets.shared.cards import show_answers, show_heading, show_pictures, show_verdict
from pages.widgets.shared.ensemble_choice import first_of_each
from pages.widgets.shared.images import data_in_use
from pages.widgets.shared.messages import errors_as_messages, show_left_out
from pages.widgets.shared.navigation import enter_through_app
from pages.widgets.shared.resources import (
    BY_CONTENT,
    all_checkpoints,
    download,
    load_ensemble,
    run_manager,
)

EPS = 8 / 255
STEPS = 10
CANDIDATES = 40  # sample images searched for the example


@st.cache_data(max_entries=16, show_spinner="Attacking an image", hash_funcs=BY_CONTENT)
def example(info: CheckpointInfo) -> tuple[int, Examination]:
    """The first sample image that every submodel classifies correctly and the mixture survives.

    The attack follows submodel 1 only, so the others and the mixture see what transfers. If the
    mixture survives on none of the candidates, it is the first that all classify correctly.
    """
    ensemble, images = load_ensemble(info), load(Split.SAMPLE)
    outcomes = []
    for position in range(CANDIDATES):
        image, label = images.pixels(position), int(images.labels[position])
        outcome = examine(ensemble, image, label, pgd(Norm.LINF, EPS, steps=STEPS), Victim(0))
        outcomes.append((int(images.indices[position]), outcome))
        if (
            Verdict.WRONG_BEFORE not in outcome.verdicts
            and outcome.mixture is Verdict.HOLDS
            and Verdict.FOOLED in outcome.members
        ):
            return outcomes[-1]
    correct = [each for each in outcomes if Verdict.WRONG_BEFORE not in each[1].verdicts]
    return (correct or outcomes)[0]


def show_example(info: CheckpointInfo) -> None:
    """One image and one attack, computed on arrival."""
    number, outcome = example(info)
    with st.container(border=True):
        show_heading(info)
        show_verdict(outcome)
        show_pictures(outcome, 2 * EPS)
        show_answers(outcome, info)
        st.caption(
            f"Computed now: PGD, L∞ eps 8/255, {STEPS} steps along the gradient of submodel 1, on "
            f"test image {number} ({CLASSES[outcome.label]}): the first bundled image that all "
            "submodels classify correctly and, if there is one, that the mixture survives. Chosen "
            "to explain, so it is no measure of robustness."
        )
        st.page_link(
            "pages/lab.py",
            label="Open this in the attack lab",
            icon=":material/experiment:",
            query_params={"image": str(number), "ensembles": info.name, "victim": "submodel 1"},
        )


def show_machine(available: list[CheckpointInfo]) -> None:
    """What is on this machine, and the next steps."""
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
        if not full_data_available():
            running = download().snapshot.state is ObtainState.RUNNING
            st.fragment(show_download, run_every=1.0 if running else None)()
        training = any(not view.spec.is_evaluation for view in active)
        show_next_step(bool(available), training)


def show_download() -> None:
    """A button that downloads all of CIFAR-10, and its progress."""
    with errors_as_messages():
        job = download()
        snapshot = job.snapshot
        if snapshot.state is ObtainState.DONE:
            st.rerun()
        if snapshot.state is ObtainState.RUNNING:
            st.progress(snapshot.fraction, text=f"Getting CIFAR-10: {snapshot.stage}")
            return
        if snapshot.error:
            st.error(snapshot.error, icon=":material/error:")
        st.markdown(
            "Training and the other 9,000 test images need all of CIFAR-10: a download of "
            "140–170 MB, once."
        )
        if st.button("Get CIFAR-10", icon=":material/download:", type="primary"):
            job.start()
            st.rerun()


def show_next_step(has_checkpoint: bool, is_training: bool) -> None:
    """Links to what can be done now."""
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
    "train ensembles, attack them, and see how well they hold."
)
available, broken = all_checkpoints()
left, right = st.columns([7, 4], gap="medium")
with left, errors_as_messages():
    if available:
        show_example(first_of_each(available, ("vanilla",))[0])
    else:
        st.info(
            "No checkpoint yet: train one, and this page shows it under attack.",
            icon=":material/model_training:",
        )
with right, errors_as_messages():
    show_machine(available)
show_left_out(broken)
