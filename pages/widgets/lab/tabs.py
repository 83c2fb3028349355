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
from pages.widgets.lab.view import LabView, describe, each_ensemble
from pages.widgets.shared.attack_form import AttackChoice
from pages.widgets.shared.cards import CSS_CLASS, is_dark, show_figures
from pages.widgets.shared.downloads import offer_files
from pages.widgets.shared.image_choice import ChosenImage, gallery
from pages.widgets.shared.matrix import Cell, show_matrix
from pages.widgets.shared.messages import errors_as_messages
from pages.widgets.shared.resources import colour_of, load_ensemble
from pages.widgets.shared.tabs import show_tabs

DRAWS = 100


def show_lab_tabs(view: LabView) -> None:
    """All tabs; the one that is open is drawn."""
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
    """The attack on each model in turn, and what every model then says."""
    each_ensemble(view, lambda info: _show_victims(view, info))
    st.caption(
        "Each row is an attack of its own, along the gradient of the row's model; the columns are "
        "what the models then say, and how sure they are. ✓ the true class, ✕ fooled, ○ wrong "
        "before the attack. One image is no rate: *Transfer* on the Robustness page counts many."
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
            f"**Attacks on one submodel turn {fooled} of {possible} right answers of the others.**"
        )
    names = model_names(len(info.card.members))
    cells = [answer_cells(each) for each in outcomes]
    show_matrix("Attacked", "then says", names, names, cells)
    offer_files(
        f"{info.name}-{view.image.file_name}-who-is-fooled",
        {"CSV": (lambda: cell_table(names, cells), "A line a cell of the matrix.")},
        f"victims-{info.name}",
    )


def answer_cells(outcome: Examination) -> list[Cell]:
    """What each model says after an attack, a cell each."""
    return [
        Cell(
            CSS_CLASS[verdict],
            VERDICT_SIGNS[verdict],
            CLASSES[int(said.argmax())],
            100 * float(said.max()),
        )
        for verdict, said in zip(outcome.verdicts, outcome.after, strict=True)
    ]


def cell_table(names: list[str], cells: list[list[Cell]]) -> str:
    """A line a cell, as CSV: who was attacked, who answers, what, how surely, and the sign."""
    rows = [
        (attacked, model, cell.text, round(cell.percent, 2), cell.kind)
        for attacked, line in zip(names, cells, strict=True)
        for model, cell in zip(names, line, strict=True)
    ]
    columns = ["attacked", "model", "says", "per cent", "outcome"]
    return pd.DataFrame(rows, columns=columns).to_csv(index=False)


def show_smallest(view: LabView) -> None:
    """The smallest budget that fools each model, across ensembles."""
    found: dict[str, list[SmallestEps]] = {}
    for info in view.infos:
        with errors_as_messages():
            found[info.name] = _smallest(
                info.digest, view.image.digest, info, view.image, view.choice
            )
    if not found:
        return
    norm = view.choice.config.norm
    colours = {info.name: colour_of(info) for info in view.infos if info.name in found}
    frame = budget_frame(found, norm)
    st.altair_chart(
        budget_chart(frame, colours, norm, is_dark()),
        key="smallest",
        alt="The smallest eps that fools each model, across ensembles",
    )
    st.caption(
        "Each model is attacked itself, with the chosen attack at budgets found by bisection. A "
        "better attack may need less, so each bar is an upper bound of what the model withstands. "
        f"{view.image.title.capitalize()}; one image is no rate."
    )
    show_figures(
        [(models[-1].image, name, _smallest_caption(models[-1])) for name, models in found.items()]
    )
    offer_files(
        f"smallest-eps-{view.image.file_name}",
        {"CSV": (lambda: frame.to_csv(index=False), "A line a bar; eps of 255 for L∞.")},
        "smallest",
    )


def _smallest_caption(mixture: SmallestEps) -> str:
    if mixture.eps is None:
        return "the mixture withstands all that was tried"
    return "smallest change that fools the mixture" if mixture.eps else "wrong before the attack"


@st.cache_data(max_entries=128, show_spinner="Searching for the smallest eps")
def _smallest(
    digest: str, image: str, _info: CheckpointInfo, _image: ChosenImage, choice: AttackChoice
) -> list[SmallestEps]:
    return smallest_eps(
        load_ensemble(_info), _image.pixels, _image.label, choice.config, choice.target
    )


def show_noise(view: LabView) -> None:
    """The attack beside random noise of its size."""
    each_ensemble(view, lambda info: _show_noise(view, info))
    st.caption(
        f"{DRAWS} random perturbations (seed 0) of the same size as the attack's: for L∞ every "
        "value moved by plus or minus it, for L2 Gaussian noise of that length. The picture is "
        f"the first. {view.image.title.capitalize()}."
    )


def _show_noise(view: LabView, info: CheckpointInfo) -> None:
    outcome = view.outcome(info)
    found = _noise(info.digest, view.image.digest, info, view.choice, outcome)
    attacked, noisy = (CLASSES[int(said[-1].argmax())] for said in (outcome.after, found.after))
    if outcome.mixture is Verdict.WRONG_BEFORE:
        st.markdown("**The mixture was wrong before anything was done to the image.**")
    else:
        does = "fools" if outcome.mixture is Verdict.FOOLED else "does not fool"
        st.markdown(
            f"**The attack {does} the mixture; noise of its size does in {found.fooled[-1]} of "
            f"{found.draws} tries.**"
        )
    figures = [
        (outcome.clean, "Clean image", f"true class: {CLASSES[outcome.label]}"),
        (outcome.adversarial, "Attacked", f"the mixture says: {attacked}"),
        (found.image, "Random noise", f"the mixture says: {noisy}"),
    ]
    show_figures(figures)
    names = model_names(len(info.card.members))
    right = outcome.before.argmax(1) == outcome.label
    words = [
        f"{name} {count} of {found.draws}" if ok else f"{name} was wrong before"
        for name, count, ok in zip(names, found.fooled, right.tolist(), strict=True)
    ]
    st.caption(f"Fooled by noise: {', '.join(words)}.")
    sheet = [(f"{title}: {caption.split(': ')[1]}", image) for image, title, caption in figures]
    footer = f"{info.name}, {view.image.title}, {describe(outcome)}"
    offer_files(
        f"{info.name}-{view.image.file_name}-noise",
        {"PNG": (lambda: side_by_side(sheet, footer), "The three pictures, enlarged.")},
        f"noise-{info.name}",
    )


@st.cache_data(max_entries=128, show_spinner=False)
def _noise(
    digest: str, image: str, _info: CheckpointInfo, choice: AttackChoice, _outcome: Examination
) -> NoiseTest:
    return noise_test(load_ensemble(_info), _outcome, DRAWS)
