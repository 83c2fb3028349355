"""What the attack lab shows: ensembles, an image and an attack; each outcome is computed once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import streamlit as st

from dverge.attacks import StrongConfig
from dverge.attacks.strong import ways
from dverge.charts.pictures import perturbation_image, side_by_side
from dverge.checkpoints import CheckpointInfo
from dverge.data import CLASSES
from dverge.exploration.examine import Examination, examine, victims_of
from dverge.exploration.kinds import describe, victim_title
from dverge.exploration.verdicts import NOTES, SUCCESSES
from pages.widgets.shared.attack_form import AttackChoice
from pages.widgets.shared.cards import show_heading
from pages.widgets.shared.images import ChosenImage
from pages.widgets.shared.messages import errors_as_messages
from pages.widgets.shared.resources import BY_CONTENT, load_ensemble, load_fast

SCALES = {"8": 8 / 255, "16": 16 / 255, "64": 64 / 255, "fit": None}
DEFAULT_SCALE = "16"


@dataclass(frozen=True)
class LabView:
    """What was chosen on the page: the ensembles (at least one), the image and the attack."""

    infos: tuple[CheckpointInfo, ...]
    image: ChosenImage
    choice: AttackChoice

    def outcome(self, info: CheckpointInfo) -> Examination:
        """The outcome of the attack on one ensemble; see outcome_of."""
        return outcome_of(info, self.image, self.choice)

    @property
    def attack(self) -> str:
        """The attack in a line."""
        return describe(self.choice.config, self.choice.victim, self.choice.target)

    @property
    def attack_on_each(self) -> str:
        """The same where each model is attacked in turn."""
        return describe(self.choice.config, target=self.choice.target)

    def by_victim(self, info: CheckpointInfo) -> list[Examination]:
        """The attack on each member of an ensemble in turn, and last on its mixture."""
        victims = victims_of(len(info.card.members), self.choice.mixture)
        return [outcome_of(info, self.image, replace(self.choice, victim=v)) for v in victims]

    def file_stem(self, info: CheckpointInfo) -> str:
        """The start of the names of an ensemble's downloads."""
        return f"{info.name}-{self.image.file_name}"


@st.cache_data(max_entries=64, show_spinner=False, hash_funcs=BY_CONTENT)  # 1,000 steps: 12 MB
def outcome_of(info: CheckpointInfo, image: ChosenImage, choice: AttackChoice) -> Examination:
    """The outcome with the attack's course; see examine_image."""
    return examine_image(info, image, choice)


def examine_image(
    info: CheckpointInfo, image: ChosenImage, choice: AttackChoice, attempt: int | None = None
) -> Examination:
    """What an attack on an image does to an ensemble; for the attempt see examine.

    The strong attack is computed by the kernels that the tables are computed by, so that both say
    the same of an image; they are slower for a single one.

    Raises:
        ConfigError: the ensemble has no such victim, or the settings do not go together.
    """
    is_strong = isinstance(choice.config, StrongConfig)
    ensemble = load_fast(info) if is_strong else load_ensemble(info)
    attack = (choice.config, choice.victim, choice.target)
    return examine(ensemble, image.pixels, image.label, *attack, image.number, attempt)


def perturbation_scale(outcome: Examination) -> float:
    """What the ends of the perturbation's colours mean, in (0, 1]."""
    chosen = SCALES[st.session_state.get("scale", DEFAULT_SCALE)]
    return chosen or max(outcome.sizes()["linf"], 1 / 255)


def attempt_line(outcome: Examination) -> str:
    """Which attempt of the strong attack is shown; empty for any other attack."""
    member, attempt = outcome.victim.member, outcome.attempt
    verdict = outcome.mixture if member is None else outcome.members[member]
    if attempt is None or verdict in NOTES:
        return ""
    victim, attempts = victim_title(outcome.victim), len(ways(outcome.victim))
    if verdict in SUCCESSES:
        return f"Shown is attempt {attempt + 1} of {attempts}, the first to fool the {victim}."
    return f"None of {attempts} attempts fooled the {victim}; shown is the last."


def picture_sheet(outcome: Examination, info: CheckpointInfo, image: ChosenImage) -> bytes:
    """The clean image, the perturbation and the adversarial image with their settings, as PNG."""
    delta, scale = outcome.adversarial - outcome.clean, perturbation_scale(outcome)
    answer = CLASSES[int(outcome.after[-1].argmax())]
    pictures = [
        (f"clean: {CLASSES[outcome.label]}", outcome.clean),
        (f"perturbation, ends ±{255 * scale:g}/255", perturbation_image(delta, scale)),
        (f"adversarial: {answer}", outcome.adversarial),
    ]
    return side_by_side(pictures, footer(outcome, info, image))


def footer(outcome: Examination, info: CheckpointInfo, image: ChosenImage) -> str:
    """The settings below pictures that are saved."""
    attack = describe(outcome.config, outcome.victim, outcome.target)
    return f"{info.name}, {image.title}, {attack}"


def each_ensemble(view: LabView, attack: str, show: Callable[[CheckpointInfo], None]) -> None:
    """A card per ensemble, side by side, headed by its name and the attack.

    An error in one is shown in its own card.
    """
    columns = len(view.infos) if len(view.infos) < 4 else 2
    with st.grid(columns, min_column_width=300):
        for info in view.infos:
            with st.container(border=True):
                show_heading(info, attack)
                with errors_as_messages():
                    show(info)
