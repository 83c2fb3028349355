"""The attack lab's tabs about many images: several at once, and every class to every other."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import streamlit as st
import torch

from dverge.attacks import AttackConfig, StrongConfig, Victim, strong_attack
from dverge.charts.matrices import matrix_chart, matrix_frame
from dverge.charts.pictures import data_uri
from dverge.charts.style import VERDICT_SIGNS
from dverge.checkpoints import CheckpointInfo
from dverge.data import CLASSES, Split, load
from dverge.errors import ConfigError
from dverge.exploration.examine import Examination, model_names, success
from dverge.exploration.kinds import describe
from dverge.exploration.targets import TargetGrid, target_grid
from dverge.results import wilson_interval
from dverge.runs import Task
from pages.widgets.lab.view import LabView, examine_image
from pages.widgets.shared.attack_form import AttackChoice
from pages.widgets.shared.cards import is_dark, show_heading
from pages.widgets.shared.images import ChosenImage, gallery_images, numbered_image
from pages.widgets.shared.resources import BY_CONTENT, load_fast

MOST_IMAGES = 32
FIRST_IMAGES = "0-15"
PER_CLASS = (10, 20, 50, 100)
POLL = 0.5  # seconds


def show_several(view: LabView) -> None:
    """Up to 32 images under the chosen attack: rates with intervals, and every verdict."""
    numbers = _choose_several(view)
    available = [image for number in numbers if (image := numbered_image(number)) is not None]
    images = [image for image in available if image.label != view.choice.target]
    if len(available) < len(numbers):
        st.caption(
            f"{len(numbers) - len(available)} of these are not in the bundled sample. Get the full "
            "data set on the Home page."
        )
    if not images:
        st.info(
            "No image is left to attack: choose others, or another target class.",
            icon=":material/search_off:",
        )
        return
    with st.spinner("Attacking the images"):
        outcomes = {info.name: _outcomes(info, images, view.choice) for info in view.infos}
    success_title = _success_title(view)
    percent = st.column_config.NumberColumn
    st.markdown(f"**{view.attack}**")
    st.dataframe(
        _rates(view, outcomes),
        hide_index=True,
        height="content",
        key="several-rates",
        alt="How many attacks succeed on each model, with intervals",
        column_config={
            success_title: percent(
                format="%.0f %%",
                help="Share of the images that the model classified correctly before the attack.",
            ),
            "95 % from": percent(format="%.0f %%"),
            "to": percent(format="%.0f %%", help="Wilson interval."),
        },
    )
    picture = st.column_config.ImageColumn
    attacked = {f"Attacked: {info.name}": picture("Attacked", width="small") for info in view.infos}
    st.dataframe(
        _verdicts(view, images, outcomes),
        hide_index=True,
        key="several-verdicts",
        row_height=56,
        height=460,
        alt="Each image before and after the attack, and what the mixtures say",
        column_config={"Clean": picture(width="small")} | attacked,
    )
    st.caption(
        f"{len(images)} test images, each attacked like the one above. They were chosen by hand, "
        "so the rates describe these images only; the Robustness page measures many."
    )


def _choose_several(view: LabView) -> list[int]:
    """The numbers of the test images to attack."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        text = st.text_input(
            f"Test images, up to {MOST_IMAGES}",
            FIRST_IMAGES,
            key="several",
            bind="query-params",
            help="Numbers and ranges in CIFAR-10's test set, such as 5, 9, 20-31.",
        )
        st.button("16 at random", icon=":material/shuffle:", on_click=_choose_at_random, args=(16,))
        st.button("Add the one above", icon=":material/add:", on_click=_add, args=(view.image,))
    return parse_numbers(text)


def parse_numbers(text: str) -> list[int]:
    """The image numbers in a text such as "5, 9, 20-31", each once, in order.

    Raises:
        ConfigError: it holds anything else, no number, more than 32, or one above 9999.
    """
    numbers: dict[int, None] = {}
    for part in filter(None, re.split(r"[,;\s]+", text.strip())):
        match = re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", part)
        if match is None:
            raise ConfigError(
                f"test images is {part!r}; it must be numbers from 0 to 9999 and ranges of them, "
                "such as 5, 9, 20-31."
            )
        numbers.update(dict.fromkeys(range(int(match[1]), int(match[2] or match[1]) + 1)))
    if not 0 < len(numbers) <= MOST_IMAGES:
        raise ConfigError(f"there are {len(numbers)} test images; choose 1 to {MOST_IMAGES}.")
    return list(numbers)


def _choose_at_random(count: int) -> None:
    numbers = random.sample(gallery_images().indices.tolist(), count)
    st.session_state["several"] = ", ".join(map(str, sorted(numbers)))


def _add(image: ChosenImage) -> None:
    if image.number is not None:
        st.session_state["several"] += f", {image.number}"


def _outcomes(
    info: CheckpointInfo, images: Sequence[ChosenImage], choice: AttackChoice
) -> list[Examination]:
    attempts = _attempts(info, images, choice)
    return [_end_of(info, *each, choice) for each in zip(images, attempts, strict=True)]


@st.cache_data(max_entries=64, show_spinner=False, hash_funcs=BY_CONTENT)
def _attempts(
    info: CheckpointInfo, images: Sequence[ChosenImage], choice: AttackChoice
) -> Sequence[int | None]:
    """The attempts of the strong attack to show, which it finds for all images at once.

    That is many times as fast as image by image. Any other attack has no attempts.
    """
    if not isinstance(choice.config, StrongConfig):
        return [None] * len(images)
    pixels = torch.cat([image.pixels for image in images])
    labels = torch.tensor([image.label for image in images])
    numbers = [int(image.number or 0) for image in images]
    about = (pixels, labels, numbers, choice.config, choice.victim)
    return strong_attack(load_fast(info), *about).attempt.tolist()


@st.cache_data(max_entries=512, show_spinner=False, hash_funcs=BY_CONTENT)
def _end_of(
    info: CheckpointInfo, image: ChosenImage, attempt: int | None, choice: AttackChoice
) -> Examination:
    """An outcome without the attack's course, so that many can be kept."""
    return examine_image(info, image, choice, attempt).without_course()


def _success_title(view: LabView) -> str:
    return "Fooled" if view.choice.target is None else "Target reached"


def _rates(view: LabView, outcomes: dict[str, list[Examination]]) -> pd.DataFrame:
    rows = []
    for info in view.infos:
        for i, name in enumerate(model_names(len(info.card.members))):
            count, correct = success(outcomes[info.name], i)
            low, high = wilson_interval(count, correct)
            rows.append(
                {
                    "Ensemble": info.name,
                    "Model": name,
                    _success_title(view): 100 * count / correct if correct else None,
                    "95 % from": 100 * low,
                    "to": 100 * high,
                    "Images": f"{count} of {correct}",
                }
            )
    return pd.DataFrame(rows)


def _verdicts(
    view: LabView, images: Sequence[ChosenImage], outcomes: dict[str, list[Examination]]
) -> pd.DataFrame:
    rows = []
    for i, image in enumerate(images):
        row = {"Image": image.title, "Clean": data_uri(image.pixels)}
        for info in view.infos:
            outcome = outcomes[info.name][i]
            answer = CLASSES[int(outcome.after[-1].argmax())]
            row[f"Attacked: {info.name}"] = data_uri(outcome.adversarial)
            row[f"Mixture of {info.name}"] = f"{VERDICT_SIGNS[outcome.mixture]} {answer}"
        rows.append(row)
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class GridSettings:
    """What one ensemble's grid of targeted attacks is measured with."""

    info: CheckpointInfo
    config: AttackConfig
    victim: Victim
    per_class: int

    @property
    def task(self) -> Task[TargetGrid]:
        """The measurement, started when first asked for."""
        return _grid_task(self.info, self.config, self.victim, self.per_class)

    def forget(self) -> None:
        """Measure again when next asked for."""
        _grid_task.clear(self.info, self.config, self.victim, self.per_class)


@st.cache_resource(max_entries=16, show_spinner=False, hash_funcs=BY_CONTENT)
def _grid_task(
    info: CheckpointInfo, config: AttackConfig, victim: Victim, per_class: int
) -> Task[TargetGrid]:
    ensemble, images = load_fast(info), load(Split.SAMPLE).balanced(per_class * len(CLASSES))
    return Task(lambda report: target_grid(ensemble, images, config, victim, report))


def show_targets(view: LabView) -> None:
    """How often attacks from each class reach each other class, measured on request."""
    config, victim = view.choice.config, view.choice.victim
    if isinstance(config, StrongConfig):
        st.info(
            "Not offered for the strong attack, which is untargeted: choose FGSM or PGD.",
            icon=":material/block:",
        )
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        per_class = st.selectbox(
            "Images of each class",
            PER_CLASS,
            index=1,
            key="grid-images",
            width=180,
            help="Of the bundled test images; only those that the victim classifies correctly "
            "count.",
        )
        st.button("Attack every class to every other", icon=":material/grid_on:", on_click=_ask)
    wanted = (config, victim, per_class, tuple(info.digest for info in view.infos))
    if st.session_state.pop("grid-asking", False):
        st.session_state["grid-asked"] = wanted
    if st.session_state.get("grid-asked") != wanted:
        st.caption(
            f"Each image is attacked towards each of the nine other classes: "
            f"{9 * 10 * per_class:,} attacks per ensemble, a few seconds of computing."
        )
        return
    grids = [GridSettings(info, config, victim, per_class) for info in view.infos]
    running = any(grid.task.snapshot.running for grid in grids)
    st.fragment(_show_grids, run_every=POLL if running else None)(grids, running)
    st.caption(
        "Per cent of the images of the row's class, classified correctly before the attack, that "
        f"the victim then takes for the column's class. {per_class} bundled test images of each "
        f"class; seed {config.seed}."
    )


def _ask() -> None:
    st.session_state["grid-asking"] = True  # until a rerun has read the settings


def _show_grids(grids: list[GridSettings], was_running: bool) -> None:
    if was_running and not any(grid.task.snapshot.running for grid in grids):
        st.rerun()  # the whole page: nothing is left to poll
    with st.grid(min(len(grids), 2), min_column_width=460):
        for grid in grids:
            with st.container(border=True):
                show_heading(grid.info, describe(grid.config, grid.victim))
                _show_grid(grid)


def _show_grid(grid: GridSettings) -> None:
    name, task = grid.info.name, grid.task
    now = task.snapshot
    if now.running:
        st.progress(now.fraction, f"{100 * now.fraction:.0f} % of the attacks done")
        st.button("Cancel", key=f"cancel-grid-{name}", on_click=task.cancel)
    elif now.result is not None:
        _draw_grid(name, now.result)
    else:
        st.warning(now.error or "Cancelled.", icon=":material/cancel:")
        if st.button("Start again", key=f"again-grid-{name}", on_click=grid.forget):
            st.rerun()  # the whole page, so that it polls again


def _draw_grid(name: str, grid: TargetGrid) -> None:
    st.markdown(f"**{grid.summary()}**")
    classes = range(len(CLASSES))
    ends = torch.tensor([[grid.interval(i, j) for j in classes] for i in classes])
    frame = matrix_frame(grid.rate(), CLASSES, CLASSES, ends[..., 0], ends[..., 1])
    st.altair_chart(
        matrix_chart(frame, "Class", "Taken for", "Reached (%)", (0, 100), dark=is_dark(), cell=34),
        key=f"grid-{name}",
        alt=f"Success of targeted attacks on {name}, by class and target",
    )
    with st.container(horizontal=True):
        st.download_button(
            "Grid as CSV",
            frame.dropna().to_csv(index=False),
            f"{name}-targets.csv",
            "text/csv",
            icon=":material/table:",
            key=f"grid-csv-{name}",
            on_click="ignore",
        )
