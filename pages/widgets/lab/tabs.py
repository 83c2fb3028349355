"""The attack lab's tabs about one image; each computes only while it is open."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import streamlit as st

from dverge.attacks import StrongConfig
from dverge.charts.pictures import side_by_side
from dverge.charts.style import VERDICT_SIGNS
from dverge.checkpoints import CheckpointInfo
from dverge.data import CLASSES
from dverge.exploration.examine import Examination, carried_over, model_names
from dverge.exploration.kinds import victim_title
from dverge.exploration.noise import NoiseTest, noise_test
from dverge.exploration.verdicts import NOTES, SUCCESSES
from pages.widgets.lab.many import show_several, show_targets
from pages.widgets.lab.smallest import show_smallest
from pages.widgets.lab.steps import show_steps
from pages.widgets.lab.view import LabView, each_ensemble, footer, outcome_of
from pages.widgets.shared.attack_form import AttackChoice
from pages.widgets.shared.cards import (
    CSS_CLASS,
    Cell,
    offer_files,
    show_figures,
    show_matrix,
)
from pages.widgets.shared.image_choice import gallery
from pages.widgets.shared.images import ChosenImage
from pages.widgets.shared.navigation import show_tabs
from pages.widgets.shared.resources import BY_CONTENT, load_ensemble

DRAWS = 100


def show_lab_tabs(view: LabView) -> None:
    """All tabs, one line each; only the open one is drawn."""
    contents: dict[str, Callable[[LabView], None]] = {
        "Choose an image": lambda view: st.fragment(gallery)(list(view.infos)),
        "Step by step": show_steps,
        "Who is fooled": show_victims,
        "Smallest eps": show_smallest,
        "Beside noise": show_noise,
        "Several images": show_several,
        "Targets": show_targets,
    }
    show_tabs(contents, "lab-tab", view)


def show_victims(view: LabView) -> None:
    """The attack on each model in turn, and what every model then answers."""
    each_ensemble(view, view.attack_on_each, lambda info: _show_victims(view, info))
    targeted = view.choice.target is not None
    signs = (
        "✓ the true class, ✕ the target, ≠ another class, ○ wrong or the target before the attack"
        if targeted
        else "✓ the true class, ✕ fooled, ○ wrong before the attack"
    )
    st.caption(
        "Each row is a separate attack, along the gradient of the row's model; the columns are "
        f"what the models then answer, and with what probability. {signs}. One image says nothing "
        "about accuracy: *Transfer* on the Robustness page counts many."
    )
    if isinstance(view.choice.config, StrongConfig):
        st.caption(
            "The strong attack stops as soon as its victim is fooled, so it hardly carries over; "
            "PGD shows transfer better."
        )
    st.page_link(
        "pages/robustness.py",
        label="Transfer over many images",
        icon=":material/shield:",
        query_params={"robust-tabs": "Transfer"},
    )


def _show_victims(view: LabView, info: CheckpointInfo) -> None:
    outcomes = view.by_victim(info)
    count, possible = carried_over(outcomes)
    if possible:
        also = "fool another" if view.choice.target is None else "reach the target on another"
        st.markdown(f"**Attacks on one submodel also {also} in {count} of {possible} cases.**")
    names = model_names(len(info.card.members))
    attacked = [*names[:-1], victim_title(view.choice.mixture)]
    show_matrix("Attacked", "then says", attacked, names, [answer_cells(each) for each in outcomes])
    offer_files(
        f"{view.file_stem(info)}-who-is-fooled",
        {"CSV": (lambda: _answer_table(attacked, outcomes), "One line per cell of the matrix.")},
        f"victims-{info.name}",
    )


def answer_cells(outcome: Examination) -> list[Cell]:
    """Each model's answer after an attack, as a cell of a matrix."""
    return [
        Cell(
            CSS_CLASS[verdict],
            VERDICT_SIGNS[verdict],
            CLASSES[int(answer.argmax())],
            100 * float(answer.max()),
        )
        for verdict, answer in zip(outcome.verdicts, outcome.after, strict=True)
    ]


def _answer_table(attacked: list[str], outcomes: list[Examination]) -> str:
    """The matrix as CSV: attacked model, answering model, its answer, its probability, verdict."""
    rows = [
        (name, model, CLASSES[int(said.argmax())], round(100 * float(said.max()), 2), verdict)
        for name, outcome in zip(attacked, outcomes, strict=True)
        for model, said, verdict in zip(
            model_names(len(outcome.members)), outcome.after, outcome.verdicts, strict=True
        )
    ]
    columns = ["attacked", "model", "says", "per cent", "verdict"]
    return pd.DataFrame(rows, columns=columns).to_csv(index=False)


def show_noise(view: LabView) -> None:
    """The attack beside random noise of the same size."""
    each_ensemble(view, view.attack, lambda info: _show_noise(view, info))
    st.caption(
        f"{DRAWS} random perturbations (seed 0) of the same size as the attack's: for L∞ every "
        "value moves up or down by that much, for L2 Gaussian noise of that length. The picture "
        f"shows the first. {view.image.title.capitalize()}."
    )


def _show_noise(view: LabView, info: CheckpointInfo) -> None:
    outcome = view.outcome(info)
    noise = _noise(info, view.image, view.choice)
    attacked, noisy = (CLASSES[int(p[-1].argmax())] for p in (outcome.after, noise.after))
    targeted = outcome.target is not None
    if outcome.mixture in NOTES:
        st.markdown(f"**{outcome.mixture_words().capitalize()}.**")
    else:
        does, it = (
            ("fools", "fools it") if not targeted else ("reaches its target on", "reaches it")
        )
        if outcome.mixture not in SUCCESSES:
            does = "does not reach its target on" if targeted else "does not fool"
        st.markdown(
            f"**The attack {does} the mixture; noise of the same size {it} in "
            f"{noise.fooled[-1]} of {noise.draws} draws.**"
        )
    figures = [
        (outcome.clean, "Clean image", f"true class: {CLASSES[outcome.label]}"),
        (outcome.adversarial, "Attacked", f"the mixture says: {attacked}"),
        (noise.image, "Random noise", f"the mixture says: {noisy}"),
    ]
    show_figures(figures)
    counts = [
        f"{name} {NOTES[verdict]}" if verdict in NOTES else f"{name} {count} of {noise.draws}"
        for name, count, verdict in zip(
            model_names(len(info.card.members)), noise.fooled, outcome.verdicts, strict=True
        )
    ]
    st.caption(f"{'Target reached' if targeted else 'Fooled'} by noise: {', '.join(counts)}.")
    sheet = [(f"{title}: {caption.split(': ')[1]}", image) for image, title, caption in figures]
    settings = footer(outcome, info, view.image)
    offer_files(
        f"{view.file_stem(info)}-noise",
        {"PNG": (lambda: side_by_side(sheet, settings), "The three pictures, enlarged.")},
        f"noise-{info.name}",
    )


@st.cache_data(max_entries=128, show_spinner=False, hash_funcs=BY_CONTENT)
def _noise(info: CheckpointInfo, image: ChosenImage, choice: AttackChoice) -> NoiseTest:
    return noise_test(load_ensemble(info), outcome_of(info, image, choice), DRAWS)
