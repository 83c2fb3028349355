"""The attack lab's tabs about one image; each computes only while it is open."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import streamlit as st

from dverge.charts.lab import budget_chart, budget_frame
from dverge.charts.pictures import side_by_side
from dverge.charts.style import VERDICT_SIGNS
from dverge.checkpoints import CheckpointInfo
from dverge.data import CLASSES
from dverge.exploration.examine import Examination, Verdict, carried_over, model_names
from dverge.exploration.noise import NoiseTest, noise_test
from dverge.exploration.smallest import SmallestEps, smallest_eps
from pages.widgets.lab.many import show_several, show_targets
from pages.widgets.lab.steps import show_steps
from pages.widgets.lab.view import LabView, describe, each_ensemble, outcome_of
from pages.widgets.shared.attack_form import AttackChoice
from pages.widgets.shared.cards import (
    CSS_CLASS,
    Cell,
    is_dark,
    offer_files,
    show_figures,
    show_matrix,
)
from pages.widgets.shared.image_choice import gallery
from pages.widgets.shared.images import ChosenImage
from pages.widgets.shared.messages import errors_as_messages
from pages.widgets.shared.navigation import show_tabs
from pages.widgets.shared.resources import BY_CONTENT, colour_of, load_ensemble

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
    each_ensemble(view, lambda info: _show_victims(view, info))
    st.caption(
        "Each row is a separate attack, along the gradient of the row's model; the columns are "
        "what the models then answer, and with what probability. ✓ the true class, ✕ fooled, "
        "○ wrong before the attack. One image says nothing about accuracy: *Transfer* on the "
        "Robustness page counts many."
    )
    st.page_link(
        "pages/robustness.py",
        label="Transfer over many images",
        icon=":material/shield:",
        query_params={"robust-tabs": "Transfer"},
    )


def _show_victims(view: LabView, info: CheckpointInfo) -> None:
    outcomes = view.by_victim(info)
    fooled, possible = carried_over(outcomes)
    if possible:
        st.markdown(
            f"**Attacks on one submodel also fool another in {fooled} of {possible} cases.**"
        )
    names = model_names(len(info.card.members))
    cells = [answer_cells(each) for each in outcomes]
    show_matrix("Attacked", "then says", names, names, cells)
    offer_files(
        f"{view.file_stem(info)}-who-is-fooled",
        {"CSV": (lambda: _cell_table(names, cells), "One line per cell of the matrix.")},
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


def _cell_table(names: list[str], cells: list[list[Cell]]) -> str:
    """The matrix as CSV: attacked model, answering model, its answer, its probability, verdict."""
    rows = [
        (attacked, model, cell.text, round(cell.percent, 2), cell.kind)
        for attacked, line in zip(names, cells, strict=True)
        for model, cell in zip(names, line, strict=True)
    ]
    columns = ["attacked", "model", "says", "per cent", "outcome"]
    return pd.DataFrame(rows, columns=columns).to_csv(index=False)


def show_smallest(view: LabView) -> None:
    """The smallest budget that fools each model, across ensembles."""
    by_name: dict[str, list[SmallestEps]] = {}
    for info in view.infos:
        with errors_as_messages():
            by_name[info.name] = _smallest(info, view.image, view.choice)
    if not by_name:
        return
    norm = view.choice.config.norm
    frame = budget_frame(by_name, norm)
    colours = {info.name: colour_of(info) for info in view.infos if info.name in by_name}
    st.altair_chart(
        budget_chart(frame, colours, norm, is_dark()),
        key="smallest",
        alt="The smallest eps that fools each model, across ensembles",
    )
    st.caption(
        "Each model is attacked itself, with the chosen attack at budgets found by bisection. A "
        "better attack may need less, so each bar is an upper bound on what the model withstands. "
        f"{view.image.title.capitalize()}; one image says nothing about accuracy."
    )
    show_figures(
        [(models[-1].image, name, _caption(models[-1])) for name, models in by_name.items()]
    )
    offer_files(
        f"smallest-eps-{view.image.file_name}",
        {"CSV": (lambda: frame.to_csv(index=False), "One line per bar; eps of 255 for L∞.")},
        "smallest",
    )


def _caption(mixture: SmallestEps) -> str:
    if mixture.eps is None:
        return "the mixture withstands every budget tried"
    return "smallest change that fools the mixture" if mixture.eps else "wrong before the attack"


@st.cache_data(
    max_entries=128, show_spinner="Searching for the smallest eps", hash_funcs=BY_CONTENT
)
def _smallest(info: CheckpointInfo, image: ChosenImage, choice: AttackChoice) -> list[SmallestEps]:
    ensemble = load_ensemble(info)
    return smallest_eps(ensemble, image.pixels, image.label, choice.config, choice.target)


def show_noise(view: LabView) -> None:
    """The attack beside random noise of the same size."""
    each_ensemble(view, lambda info: _show_noise(view, info))
    st.caption(
        f"{DRAWS} random perturbations (seed 0) of the same size as the attack's: for L∞ every "
        "value moves up or down by that much, for L2 Gaussian noise of that length. The picture "
        f"shows the first. {view.image.title.capitalize()}."
    )


def _show_noise(view: LabView, info: CheckpointInfo) -> None:
    outcome = view.outcome(info)
    noise = _noise(info, view.image, view.choice)
    attacked, noisy = (CLASSES[int(p[-1].argmax())] for p in (outcome.after, noise.after))
    if outcome.mixture is Verdict.WRONG_BEFORE:
        st.markdown("**The mixture was wrong before anything was done to the image.**")
    else:
        does = "fools" if outcome.mixture is Verdict.FOOLED else "does not fool"
        st.markdown(
            f"**The attack {does} the mixture; noise of the same size fools it in "
            f"{noise.fooled[-1]} of {noise.draws} draws.**"
        )
    figures = [
        (outcome.clean, "Clean image", f"true class: {CLASSES[outcome.label]}"),
        (outcome.adversarial, "Attacked", f"the mixture says: {attacked}"),
        (noise.image, "Random noise", f"the mixture says: {noisy}"),
    ]
    show_figures(figures)
    correct = (outcome.before.argmax(1) == outcome.label).tolist()
    counts = [
        f"{name} {count} of {noise.draws}" if is_correct else f"{name} was wrong before"
        for name, count, is_correct in zip(
            model_names(len(info.card.members)), noise.fooled, correct, strict=True
        )
    ]
    st.caption(f"Fooled by noise: {', '.join(counts)}.")
    sheet = [(f"{title}: {caption.split(': ')[1]}", image) for image, title, caption in figures]
    footer = f"{info.name}, {view.image.title}, {describe(outcome)}"
    offer_files(
        f"{view.file_stem(info)}-noise",
        {"PNG": (lambda: side_by_side(sheet, footer), "The three pictures, enlarged.")},
        f"noise-{info.name}",
    )


@st.cache_data(max_entries=128, show_spinner=False, hash_funcs=BY_CONTENT)
def _noise(info: CheckpointInfo, image: ChosenImage, choice: AttackChoice) -> NoiseTest:
    return noise_test(load_ensemble(info), outcome_of(info, image, choice), DRAWS)
