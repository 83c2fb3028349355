"""What the attack lab shows: an image, an attack, ensembles; and each outcome, computed once."""

from __future__ import annotations

from dataclasses import dataclass, replace

import streamlit as st

from dverge.attacks import MIXTURE, Victim
from dverge.checkpoints import CheckpointInfo
from dverge.evaluation import Examination, examine
from pages.widgets.attack_form import AttackChoice, linf_label
from pages.widgets.image_choice import ChosenImage
from pages.widgets.resources import load_ensemble

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


@st.cache_data(max_entries=512, show_spinner=False)
def _examined(
    digest: str, image: str, _info: CheckpointInfo, _image: ChosenImage, choice: AttackChoice
) -> Examination:
    ensemble = load_ensemble(_info)
    return examine(
        ensemble, _image.pixels, _image.label, choice.config, choice.victim, choice.target
    )


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
