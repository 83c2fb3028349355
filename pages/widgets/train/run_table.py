"""All trainings in a table, and the curves of the selected ones in one chart."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any

import pandas as pd
import streamlit as st

from dverge.charts.curves import (
    QUANTITIES,
    best_values,
    compared_curves,
    compared_frame,
    curve_frame,
    smooth,
)
from dverge.charts.style import ensemble_colour, method_title
from dverge.checkpoints import CheckpointInfo, read_history
from dverge.errors import DvergeError
from dverge.runs import RunState, RunView
from dverge.stored import Broken
from pages.widgets.shared.messages import show_error, show_left_out
from pages.widgets.shared.resources import damaged_metrics, run_manager, run_metrics
from pages.widgets.shared.run_cards import duration, show_curves
from pages.widgets.train.training_settings import field_title, value_text

MOST_COMPARED = 8


@dataclass(frozen=True)
class Training:
    """A run on this machine, or a checkpoint that was shipped with its history."""

    name: str
    method: str
    state: str
    config: dict[str, Any]
    rows: list[dict[str, Any]]
    seconds: float | None
    started: float | None = None
    checkpoint: str = ""
    run: RunView | None = None

    @property
    def epochs(self) -> int:
        """The epochs of a run's config; those of a checkpoint's history."""
        if self.run is not None:
            return int(self.config["epochs"])
        return max((int(row["epoch"]) for row in self.rows), default=1)

    @property
    def has_card(self) -> bool:
        """It is shown at the top of the page as well, because it is not finished."""
        return self.run is not None and self.run.status.state is not RunState.FINISHED


def all_trainings(views: list[RunView], checkpoints: list[CheckpointInfo]) -> list[Training]:
    """The runs, then the checkpoints that come from none of them."""
    made_here = {view.status.checkpoint for view in views}
    shipped = [info for info in checkpoints if info.name not in made_here]
    return [_run_training(view) for view in views] + [_shipped_training(info) for info in shipped]


def show_trainings(trainings: list[Training], log: bool, span: int) -> None:
    """The table; selected rows have their curves drawn and can be renamed or deleted."""
    first_done = next((i for i, each in enumerate(trainings) if not each.has_card), 0)
    event = st.dataframe(
        _table(trainings),
        hide_index=True,
        on_select="rerun",
        selection_mode="multi-row",
        selection_default={"selection": {"rows": [first_done]}},
        key="trainings",
        placeholder="",
        alt="All trainings with their settings and best validation values",
        column_config={
            "Best accuracy": st.column_config.NumberColumn(
                format="%.1f %%", help="Of the mixture, on the 1,024 validation images."
            ),
            "Lowest loss": st.column_config.NumberColumn(
                format="%.3f", help="Of the mixture, on the 1,024 validation images, in nats."
            ),
            "Started": st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm", width=135),
            "Learning rate": st.column_config.NumberColumn(format="%.4g"),
            "Images": st.column_config.NumberColumn(format="localized", help="Trained on."),
        },
    )
    selected = [trainings[row] for row in event.selection.rows if row < len(trainings)]
    if selected:
        _show_curves(selected[:MOST_COMPARED], log, span)
        _show_actions(selected)
    else:
        st.caption("Select rows to compare their curves, or to download, rename or delete them.")


def show_broken(views: list[RunView], left_out: list[Broken]) -> None:
    """The runs and files that cannot be used.

    Args:
        views: the runs that train.
        left_out: of the checkpoints.
    """
    manager = run_manager()
    show_left_out(
        manager.broken(),
        lambda path: manager.set_aside(path.name),
        lambda path: manager.delete(path.name),
    )
    show_left_out([*damaged_metrics(views), *left_out])


def _run_training(view: RunView) -> Training:
    return Training(
        name=view.spec.name,
        method=view.spec.kind,
        state=str(view.status.state),
        config=view.spec.config,
        rows=run_metrics(view),
        seconds=view.status.elapsed,
        started=view.spec.created,
        checkpoint=view.status.checkpoint or "",
        run=view,
    )


def _shipped_training(info: CheckpointInfo) -> Training:
    card = info.card
    return Training(
        info.name,
        card.method,
        "shipped",
        card.config,
        read_history(info),
        card.training_seconds,
        checkpoint=info.name,
    )


def _table(trainings: list[Training]) -> pd.DataFrame:
    rows = []
    for training in trainings:
        best = best_values(training.rows)
        started = training.started
        rows.append(
            {
                "Name": training.name,
                "Method": method_title(training.method),
                "State": training.state,
                "Best accuracy": best.get("accuracy"),
                "at epoch": best.get("accuracy_epoch"),
                "Lowest loss": best.get("loss"),
                "Submodels": training.config.get("members"),
                "Epochs": training.config.get("epochs"),
                "Learning rate": training.config.get("learning_rate"),
                "Images": training.config.get("training_images"),
                "Seed": training.config.get("seed"),
                "Time": duration(training.seconds) if training.seconds else "",
                "Started": datetime.datetime.fromtimestamp(started) if started else None,
                "Checkpoint": training.checkpoint,
            }
        )
    return pd.DataFrame(rows)


def _curves(trainings: list[Training]) -> pd.DataFrame:
    """All curves as one long frame with a column "run"."""
    frames = [curve_frame(each.rows).assign(run=each.name) for each in trainings]
    return pd.concat(frames, ignore_index=True)


def _show_curves(trainings: list[Training], log: bool, span: int) -> None:
    """One training in full, or several in one chart with the settings they differ in."""
    if len(trainings) == 1:
        (alone,) = trainings
        colour = ensemble_colour(alone.name, alone.method)
        show_curves(alone.rows, alone.config, colour, alone.epochs, log, span, "compared")
        return
    labelled = dict(zip(distinct([each.name for each in trainings]), trainings, strict=True))
    colours = {label: ensemble_colour(label, each.method) for label, each in labelled.items()}
    frames = {label: curve_frame(each.rows) for label, each in labelled.items()}
    frame = smooth(compared_frame(frames), span)
    with st.grid(3, min_column_width=260):
        for quantity in QUANTITIES:
            st.altair_chart(
                compared_curves(frame, quantity, colours, log),
                key=f"compared-{quantity}",
                alt=f"{quantity} of the selected trainings against epochs",
            )
    st.caption("Training loss: mean over submodels. Validation: the mixture's, 1,024 images.")
    _show_differences({label: settings_of(each) for label, each in labelled.items()})


def distinct(names: list[str]) -> list[str]:
    """The names, each repeated one with a number after it."""
    return [
        name if (before := names[:i].count(name)) == 0 else f"{name} ({before + 1})"
        for i, name in enumerate(names)
    ]


def _show_differences(settings: dict[str, dict[str, str]]) -> None:
    """The settings that trainings do not have in common, one column per training."""
    differences = setting_differences(settings)
    if differences.empty:
        st.caption("Their settings are the same.")
        return
    st.markdown("**What they differ in**")
    st.dataframe(differences, alt="Settings that the selected trainings do not have in common")


def settings_of(training: Training) -> dict[str, str]:
    """A training's settings as text, by title."""
    shown = {
        field_title(name): value_text(name, value)
        for name, value in training.config.items()
        if name != "start_digest"
    }
    return {"Method": method_title(training.method), **shown}


def setting_differences(settings: dict[str, dict[str, str]]) -> pd.DataFrame:
    """Rows of settings that are not the same in all columns; "–" where a method lacks one."""
    frame = pd.DataFrame(settings).fillna("–")
    frame.index.name = "Setting"
    return frame[frame.nunique(axis=1) > 1]


def _show_actions(trainings: list[Training]) -> None:
    runs = [each.run for each in trainings if each.run is not None]
    with st.container(horizontal=True):
        st.download_button(
            "Curves as CSV",
            lambda: _curves(trainings).to_csv(index=False),
            "curves.csv",
            "text/csv",
            icon=":material/download:",
            on_click="ignore",
        )
        if len(runs) == 1 == len(trainings):
            _rename(runs[0])
        if runs and st.button("Delete", icon=":material/delete:", key="delete-runs"):
            _confirm_delete(runs)


def _rename(view: RunView) -> None:
    with st.popover("Rename", icon=":material/edit:"), st.form("rename", border=False):
        name = st.text_input("New name", view.spec.name, max_chars=64)
        if st.form_submit_button("Rename"):
            try:
                run_manager().rename(view.id, name.strip())
            except DvergeError as error:
                show_error(error)
                return
            st.rerun()


@st.dialog("Delete runs")
def _confirm_delete(views: list[RunView]) -> None:
    """Ask before run folders are deleted."""
    names = ", ".join(view.spec.name for view in views)
    st.markdown(f"Delete **{names}** with curves and saved state? Checkpoints stay.")
    if st.button("Delete permanently", type="primary", icon=":material/delete:"):
        try:
            for view in views:
                run_manager().delete(view.id)
        except DvergeError as error:
            show_error(error)
            return
        st.rerun()
