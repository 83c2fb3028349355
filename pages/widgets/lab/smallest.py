"""The attack lab's tab about the smallest budgets that fool each model."""

from __future__ import annotations

import streamlit as st

from dverge.attacks import MIXTURE, AttackConfig, StrongConfig, Victim
from dverge.charts.lab import budget_chart, budget_frame
from dverge.checkpoints import CheckpointInfo
from dverge.exploration.arrays import smallest_npz
from dverge.exploration.kinds import describe, victim_title
from dverge.exploration.smallest import SmallestEps, smallest_eps
from dverge.exploration.verdicts import Verdict
from pages.widgets.lab.view import LabView
from pages.widgets.shared.cards import Files, is_dark, offer_files, show_figures
from pages.widgets.shared.images import ChosenImage
from pages.widgets.shared.messages import errors_as_messages
from pages.widgets.shared.resources import BY_CONTENT, colour_of, load_ensemble


def show_smallest(view: LabView) -> None:
    """The smallest budget that fools each model, across ensembles."""
    choice, config = view.choice, view.choice.config
    if isinstance(config, StrongConfig):
        st.info(
            "Not offered for the strong attack, whose search would take minutes: choose FGSM or "
            "PGD.",
            icon=":material/hourglass_disabled:",
        )
        return
    by_name: dict[str, list[SmallestEps]] = {}
    for info in view.infos:
        with errors_as_messages():
            by_name[info.name] = _smallest(info, view.image, config, choice.target, choice.mixture)
    if not by_name:
        return
    norm = config.norm
    frame = budget_frame(by_name, norm)
    colours = {info.name: colour_of(info) for info in view.infos if info.name in by_name}
    attack = describe(config, target=choice.target, eps=False)
    is_usual = choice.mixture == MIXTURE
    through = "" if is_usual else f", the mixture through its {victim_title(choice.mixture)}"
    st.markdown(f"**Smallest eps at which {attack} succeeds**")
    st.altair_chart(
        budget_chart(frame, colours, norm, is_dark()),
        key="smallest",
        alt="The smallest eps at which the attack on each model succeeds, across ensembles",
    )
    st.caption(
        f"Each model is attacked itself{through}, with the chosen attack at budgets found by "
        "bisection. A better attack may need less, so each bar is an upper bound on what the model "
        "withstands. "
        f"{view.image.title.capitalize()}; one image says nothing about accuracy."
    )
    show_figures(
        [(models[-1].image, name, _caption(models[-1])) for name, models in by_name.items()]
    )
    st.caption(_rounding([each for models in by_name.values() for each in models]))
    files: Files = {
        "CSV": (lambda: frame.to_csv(index=False), "One line per bar; eps of 255 for L∞."),
        "NPZ": (
            lambda: smallest_npz(by_name, config, view.image.label, choice.target),
            "The exact adversarial arrays, one per bar, with label, target, norm and eps.",
        ),
    }
    with st.container(horizontal=True, gap="small"):
        offer_files(f"smallest-eps-{view.image.file_name}", files, "smallest")


def _caption(mixture: SmallestEps) -> str:
    if mixture.eps is None:
        return "the mixture withstands every budget tried"
    targeted = mixture.target is not None
    if not mixture.eps:
        return str(Verdict.TARGET_BEFORE if targeted else Verdict.WRONG_BEFORE)
    goal = "reaches the target on" if targeted else "fools"
    rounded = "still does" if mixture.survives else "no longer does"
    return f"smallest change that {goal} the mixture; rounded to 8 bits it {rounded}"


def _rounding(results: list[SmallestEps]) -> str:
    """How many of the images found still succeed once rounded as in a picture file."""
    found = [each.survives for each in results if each.survives is not None]
    if not found:
        return "No adversarial image was found or needed."
    return (
        f"{sum(found)} of {len(found)} adversarial images found still succeed once their pixels "
        "are rounded to 8 bits, as a PNG does; the NPZ file holds them exactly."
    )


@st.cache_data(
    max_entries=128, show_spinner="Searching for the smallest eps", hash_funcs=BY_CONTENT
)
def _smallest(
    info: CheckpointInfo,
    image: ChosenImage,
    config: AttackConfig,
    target: int | None,
    mixture: Victim,
) -> list[SmallestEps]:
    return smallest_eps(load_ensemble(info), image.pixels, image.label, config, target, mixture)
