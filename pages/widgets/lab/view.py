"""What the attack lab shows: an image, an attack, ensembles; and each outcome, computed once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import streamlit as st

from dverge.attacks import MIXTURE, Victim
from dverge.charts.pictures import perturbation_image, side_by_side
from dverge.checkpoints import CheckpointInfo
from dverge.data import CLASSES
from dverge.exploration.examine import Examination, examine
from pages.widgets.shared.attack_form import AttackChoice, linf_label
from pages.widgets.shared.cards import show_heading
from pages.widgets.shared.image_choice import ChosenImage
from pages.widgets.shared.messages import errors_as_messages
from pages.widgets.shared.resources import load_ensemble

SCALES = {"8": 8 / 255, "16": 16 / 255, "64": 64 / 255, "fit": None}
DEFAULT_SCALE = "16"


@dataclass(frozen=True)
class LabView:
    """The choices on the page.

    Attributes:
        infos: the ensembles, at least one.
        image: what is attacked.
        choice: the attack.
    """

    infos: tuple[CheckpointInfo, ...]
    image: ChosenImage
    choice: AttackChoice

    def outcome(self, info: CheckpointInfo) -> Examination:
        """What the attack does to one ensemble.

        Raises:
            ConfigError: the ensemble has no such victim, or the settings do not go together.
        """
        return outcome_of(info, self.image, self.choice)

    def by_victim(self, info: CheckpointInfo) -> list[Examination]:
        """The attack on each member of an ensemble in turn, and last on its mixture."""
        victims = [*map(Victim, range(len(info.card.members))), MIXTURE]
        return [outcome_of(info, self.image, replace(self.choice, victim=v)) for v in victims]


def outcome_of(info: CheckpointInfo, image: ChosenImage, choice: AttackChoice) -> Examination:
    """The examination of an image by a checkpoint, kept by what it depends on."""
    return _examined(info.digest, image.digest, info, image, choice)


def end_of(info: CheckpointInfo, image: ChosenImage, choice: AttackChoice) -> Examination:
    """The same without the attack's course, so that many can be kept."""
    return _ended(info.digest, image.digest, info, image, choice)


@st.cache_data(max_entries=512, show_spinner=False)
def _ended(
    digest: str, image: str, _info: CheckpointInfo, _image: ChosenImage, choice: AttackChoice
) -> Examination:
    return _examine(_info, _image, choice).without_course()


@st.cache_data(max_entries=64, show_spinner=False)  # a course of 1,000 steps is 12 MB
def _examined(
    digest: str, image: str, _info: CheckpointInfo, _image: ChosenImage, choice: AttackChoice
) -> Examination:
    return _examine(_info, _image, choice)


def _examine(info: CheckpointInfo, image: ChosenImage, choice: AttackChoice) -> Examination:
    ensemble = load_ensemble(info)
    return examine(ensemble, image.pixels, image.label, choice.config, choice.victim, choice.target)


def perturbation_scale(outcome: Examination) -> float:
    """What the ends of the perturbation's colours stand for, in (0, 1]."""
    chosen = SCALES[st.session_state.get("scale", DEFAULT_SCALE)]
    return chosen or max(outcome.sizes()["linf"], 1 / 255)


def describe(outcome: Examination) -> str:
    """The attack in a few words."""
    config = outcome.config
    eps = linf_label(config.eps) if config.norm == "linf" else f"{config.eps:g}"
    victim = str(outcome.victim).replace("member-", "submodel ")
    norm = "L∞" if config.norm == "linf" else "L2"
    tries = f", {config.restarts} restarts" if config.restarts > 1 else ""
    return f"{norm} eps {eps}, {config.steps} steps{tries}, gradient of the {victim}"


def picture_sheet(outcome: Examination, info: CheckpointInfo, image: ChosenImage) -> bytes:
    """The clean image, the perturbation and the adversarial image with their settings, as PNG."""
    delta, scale = outcome.adversarial - outcome.clean, perturbation_scale(outcome)
    says = CLASSES[int(outcome.after[-1].argmax())]
    pictures = [
        (f"clean: {CLASSES[outcome.label]}", outcome.clean),
        (f"perturbation, ends ±{255 * scale:g}/255", perturbation_image(delta, scale)),
        (f"adversarial: {says}", outcome.adversarial),
    ]
    return side_by_side(pictures, f"{info.name}, {image.title}, {describe(outcome)}")


def each_ensemble(view: LabView, show: Callable[[CheckpointInfo], None]) -> None:
    """A card an ensemble, side by side; what goes wrong in one is said in it."""
    columns = len(view.infos) if len(view.infos) < 4 else 2
    with st.grid(columns, min_column_width=300):
        for info in view.infos:
            with st.container(border=True):
                show_heading(info)
                with errors_as_messages():
                    show(info)
