"""The attack lab's tabs about many images: several at once, and every class to every other."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import streamlit as st
import torch

from dverge.attacks import AttackConfig, Victim
from dverge.charts.matrices import matrix_chart, matrix_frame
from dverge.charts.pictures import data_uri
from dverge.charts.style import VERDICT_SIGNS
from dverge.checkpoints import CheckpointInfo
from dverge.data import CLASSES, Split, load
from dverge.errors import ConfigError
from dverge.exploration.examine import Examination, model_names, success
from dverge.exploration.targets import TargetGrid, target_grid
from dverge.results import wilson_interval
from dverge.runs import Task
from pages.widgets.lab.view import LabView, end_of
from pages.widgets.shared.cards import is_dark, show_heading
from pages.widgets.shared.image_choice import ChosenImage, numbered_image
from pages.widgets.shared.resources import gallery_images, load_fast

MOST_IMAGES = 32
FIRST_IMAGES = "0-15"
PER_CLASS = (10, 20, 50, 100)
POLL = 0.5  # seconds


def show_several(view: LabView) -> None:
    """Up to 32 images under the chosen attack: rates with intervals, and every verdict."""
    numbers = _choose_several(view)
    found = [image for number in numbers if (image := numbered_image(number)) is not None]
    images = [image for image in found if image.label != view.choice.target]
    if len(found) < len(numbers):
        st.caption(
            f"{len(numbers) - len(found)} of these are not in the bundled sample. Get the full "
            "data set on the Home page."
        )
    if not images:
        st.info(
            "No image is left to attack: choose others, or another target class.",
            icon=":material/search_off:",
        )
        return
    outcomes = _outcomes(view, images)
    st.dataframe(
        _rates(view, outcomes),
        hide_index=True,
        height="content",
        key="several-rates",
        alt="How many images fool each model, with intervals",
        column_config={
            "Fooled": st.column_config.NumberColumn(
                format="%.0f %%", help="Of the images that the model was right on before."
            ),
            "95 % from": st.column_config.NumberColumn(format="%.0f %%"),
            "to": st.column_config.NumberColumn(format="%.0f %%", help="Wilson interval."),
        },
    )
    st.dataframe(
        _verdicts(view, images, outcomes),
        hide_index=True,
        key="several-verdicts",
        row_height=56,
        height=460,
        alt="Each image before and after the attack, and what the mixtures say",
        column_config={"Clean": st.column_config.ImageColumn(width="small")}
        | {
            f"Attacked: {info.name}": st.column_config.ImageColumn("Attacked", width="small")
            for info in view.infos
        },
    )
    st.caption(
        f"{len(images)} test images, each attacked as the one above: chosen by hand, so the rates "
        "are about these images. The Robustness page measures on many."
    )


def _choose_several(view: LabView) -> list[int]:
    """The numbers of the images that there are."""
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
    """The image numbers of a text such as "5, 9, 20-31", each once, in order.

    Raises:
        ConfigError: it holds something else, none, more than 32, or a number beyond 9999.
    """
    numbers: dict[int, None] = {}
    for part in filter(None, re.split(r"[,;\s]+", text.strip())):
        found = re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", part)
        if found is None:
            raise ConfigError(
                f"test images is {part!r}; it must be numbers from 0 to 9999 and ranges of them, "
                "such as 5, 9, 20-31."
            )
        numbers.update(dict.fromkeys(range(int(found[1]), int(found[2] or found[1]) + 1)))
    if not 0 < len(numbers) <= MOST_IMAGES:
        raise ConfigError(f"there are {len(numbers)} test images; choose 1 to {MOST_IMAGES}.")
    return list(numbers)


def _choose_at_random(count: int) -> None:
    numbers = random.sample(gallery_images().indices.tolist(), count)
    st.session_state["several"] = ", ".join(map(str, sorted(numbers)))


def _add(image: ChosenImage) -> None:
    if image.number is not None:
        st.session_state["several"] += f", {image.number}"


def _outcomes(view: LabView, images: Sequence[ChosenImage]) -> dict[str, list[Examination]]:
    with st.spinner("Attacking the images"):
        return {
            info.name: [end_of(info, image, view.choice) for image in images] for info in view.infos
        }


def _rates(view: LabView, outcomes: dict[str, list[Examination]]) -> pd.DataFrame:
    rows = []
    for info in view.infos:
        for i, name in enumerate(model_names(len(info.card.members))):
            fooled, right = success(outcomes[info.name], i)
            low, high = wilson_interval(fooled, right)
            rows.append(
                {
                    "Ensemble": info.name,
                    "Model": name,
                    "Fooled": 100 * fooled / right if right else None,
                    "95 % from": 100 * low,
                    "to": 100 * high,
                    "Images": f"{fooled} of {right}",
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
            found = outcomes[info.name][i]
            says = CLASSES[int(found.after[-1].argmax())]
            row[f"Attacked: {info.name}"] = data_uri(found.adversarial)
            row[f"Mixture of {info.name}"] = f"{VERDICT_SIGNS[found.mixture]} {says}"
        rows.append(row)
    return pd.DataFrame(rows)


def show_targets(view: LabView) -> None:
    """How often attacks from each class reach each other class, measured on request."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        each = st.selectbox(
            "Images of each class",
            PER_CLASS,
            index=1,
            key="grid-images",
            width=180,
            help="Of the bundled test images; those count that the victim gets right.",
        )
        st.button("Attack every class to every other", icon=":material/grid_on:", on_click=_ask)
    config = view.choice.config
    wanted = (config, view.choice.victim, each, tuple(info.digest for info in view.infos))
    if st.session_state.pop("grid-asking", False):
        st.session_state["grid-asked"] = wanted
    if st.session_state.get("grid-asked") != wanted:
        st.caption(
            f"Each image is attacked towards each of the nine other classes: {9 * 10 * each:,} "
            "attacks an ensemble, a few seconds of computing."
        )
        return
    tasks = [
        GridTask(info, (info.digest, config, view.choice.victim, each, info)) for info in view.infos
    ]
    running = any(each.task.snapshot.running for each in tasks)
    st.fragment(_show_grids, run_every=POLL if running else None)(tasks, running)
    st.caption(
        "Per cent of the images of the row's class, right before the attack, that the victim then "
        f"takes for the column's class. {each} bundled test images of each class, the attack on "
        f"the left with seed {config.seed}."
    )


def _ask() -> None:
    st.session_state["grid-asking"] = True  # stays until a run gets there with its settings


@st.cache_resource(max_entries=16, show_spinner=False)
def _grid_task(
    digest: str, config: AttackConfig, victim: Victim, each: int, _info: CheckpointInfo
) -> Task[TargetGrid]:
    ensemble, images = load_fast(_info), load(Split.SAMPLE).balanced(each * len(CLASSES))
    return Task(lambda report: target_grid(ensemble, images, config, victim, report))


@dataclass(frozen=True)
class GridTask:
    """The measurement of one ensemble's grid, started when first asked for."""

    info: CheckpointInfo
    arguments: tuple[str, AttackConfig, Victim, int, CheckpointInfo]

    @property
    def task(self) -> Task[TargetGrid]:
        return _grid_task(*self.arguments)

    def forget(self) -> None:
        """Let it be measured anew."""
        _grid_task.clear(*self.arguments)


def _show_grids(tasks: list[GridTask], was_running: bool) -> None:
    if was_running and not any(each.task.snapshot.running for each in tasks):
        st.rerun()  # the whole page: nothing is left to poll
    with st.grid(min(len(tasks), 2), min_column_width=460):
        for each in tasks:
            with st.container(border=True):
                show_heading(each.info)
                _show_grid(each)


def _show_grid(measured: GridTask) -> None:
    name, task = measured.info.name, measured.task
    now = task.snapshot
    if now.running:
        st.progress(now.fraction, f"{100 * now.fraction:.0f} % of the attacks done")
        st.button("Cancel", key=f"cancel-grid-{name}", on_click=task.cancel)
    elif now.result is not None:
        _draw_grid(measured.info, now.result)
    else:
        st.warning(now.error or "Cancelled.", icon=":material/cancel:")
        if st.button("Start again", key=f"again-grid-{name}", on_click=measured.forget):
            st.rerun()  # the whole page: it is to be polled again


def _draw_grid(info: CheckpointInfo, grid: TargetGrid) -> None:
    st.markdown(f"**{grid.summary()}**")
    ends = torch.tensor(
        [[grid.interval(i, j) for j in range(len(CLASSES))] for i in range(len(CLASSES))]
    )
    frame = matrix_frame(grid.rate(), CLASSES, CLASSES, ends[..., 0], ends[..., 1])
    st.altair_chart(
        matrix_chart(frame, "Class", "Taken for", "Reached (%)", (0, 100), dark=is_dark(), cell=34),
        key=f"grid-{info.name}",
        alt=f"Success of targeted attacks on {info.name}, by class and target",
    )
    with st.container(horizontal=True):
        st.download_button(
            "Grid as CSV",
            frame.dropna().to_csv(index=False),
            f"{info.name}-targets.csv",
            "text/csv",
            icon=":material/table:",
            key=f"grid-csv-{info.name}",
            on_click="ignore",
        )
