"""Train: start trainings, watch their curves, compare the runs there are."""

from __future__ import annotations

import datetime

import pandas as pd
import streamlit as st

from dverge.charts import (
    QUANTITIES,
    best_values,
    compared_curves,
    curve_frame,
    ensemble_colour,
    smooth,
)
from dverge.errors import DvergeError
from dverge.runs import RunView
from pages.widgets.messages import errors_as_messages, show_error
from pages.widgets.resources import run_manager
from pages.widgets.run_cards import SPANS, show_run
from pages.widgets.run_form import run_form
from pages.widgets.words import duration

REFRESH = 1.0  # seconds between looks at a run that goes on


def is_live(view: RunView) -> bool:
    """Whether a run has a card of its own: it goes on, or it could."""
    return view.status.state.active or view.status.state.resumable


def live_runs(log: bool, span: int, ids: tuple[str, ...]) -> None:
    """The cards; reruns the whole page once when a run starts, ends or disappears."""
    with errors_as_messages():
        views = run_manager().views()
        active = tuple(view.id for view in views if view.status.state.active)
        if active != ids:
            st.rerun()
        for view in views:
            if is_live(view):
                show_run(view, log, span)


def run_table(views: list[RunView]) -> pd.DataFrame:
    """One row a run."""
    rows = []
    for view in views:
        best = best_values(run_manager().metrics(view.id))
        config = view.spec.config
        rows.append(
            {
                "Name": view.spec.name,
                "State": str(view.status.state),
                "Started": datetime.datetime.fromtimestamp(view.spec.created),
                "Submodels": config["members"],
                "Epochs": round(view.status.epoch, 1),
                "Best accuracy": best.get("accuracy"),
                "at epoch": best.get("accuracy_epoch"),
                "Lowest loss": best.get("loss"),
                "Learning rate": config["learning_rate"],
                "Images": config["training_images"],
                "Seed": config["seed"],
                "Time": duration(view.status.elapsed),
                "Checkpoint": view.status.checkpoint or "",
            }
        )
    return pd.DataFrame(rows)


def all_curves(views: list[RunView]) -> pd.DataFrame:
    """The curves of several runs in one frame, averaged over submodels, with a column "run"."""
    frames = []
    for view in views:
        frame = curve_frame(run_manager().metrics(view.id))
        grouped = frame.groupby(["quantity", "epoch"], as_index=False)["value"].mean()
        frames.append(grouped.assign(run=view.spec.name, model="mean over models"))
    return pd.concat(frames, ignore_index=True)


def compare(views: list[RunView], log: bool, span: int) -> None:
    """Past runs in a table; those selected have their curves laid over each other."""
    st.subheader("All runs", anchor=False)
    event = st.dataframe(
        run_table(views),
        hide_index=True,
        on_select="rerun",
        selection_mode="multi-row",
        key="runs-table",
        alt="All runs with their settings and best validation values",
        column_config={
            "Best accuracy": st.column_config.NumberColumn(
                format="%.1f %%", help="Of the mixture, on the 1,024 validation images."
            ),
            "Lowest loss": st.column_config.NumberColumn(
                format="%.3f", help="Of the mixture, on the 1,024 validation images, in nats."
            ),
            "Started": st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm"),
            "Learning rate": st.column_config.NumberColumn(format="%.4g"),
        },
    )
    rows = [row for row in event.selection.rows if row < len(views)]
    selected = [views[row] for row in rows]
    if not selected:
        st.caption("Select runs to lay their curves over each other, rename, delete or download.")
        return
    show_selected(selected, log, span)


def show_selected(selected: list[RunView], log: bool, span: int) -> None:
    frame = smooth(all_curves(selected), span)
    colours = {view.spec.name: ensemble_colour(view.spec.name, view.spec.kind) for view in selected}
    with st.grid(3, min_column_width=260):
        for quantity in QUANTITIES:
            st.altair_chart(
                compared_curves(frame, quantity, colours, log),
                key=f"compared-{quantity}",
                alt=f"{quantity} of the selected runs against epochs",
            )
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.download_button(
            "Curves as CSV",
            lambda: all_curves(selected).to_csv(index=False),
            "runs.csv",
            "text/csv",
            icon=":material/download:",
            on_click="ignore",
        )
        if len(selected) == 1:
            edit(selected[0])
        if st.button("Delete", icon=":material/delete:", key="delete-runs"):
            confirm_delete(selected)


def edit(view: RunView) -> None:
    """Rename one run."""
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
def confirm_delete(views: list[RunView]) -> None:
    """Ask before a run's folder goes for good."""
    names = ", ".join(view.spec.name for view in views)
    st.markdown(f"Delete **{names}** with curves and saved state? Checkpoints stay.")
    if st.button("Delete for good", type="primary", icon=":material/delete:"):
        try:
            for view in views:
                run_manager().delete(view.id)
        except DvergeError as error:
            show_error(error)
            return
        st.rerun()


st.title("Train", anchor=False)
manager = run_manager()
views = manager.views()
active = tuple(view.id for view in views if view.status.state.active)
if views:
    with st.container(horizontal=True, vertical_alignment="center"):
        log = st.toggle("Log axis", key="log-axis", persist_state="session", help="For losses.")
        smoothing = st.segmented_control(
            "Smoothing",
            list(SPANS),
            default="off",
            required=True,
            key="smoothing",
            persist_state="session",
            help="Exponentially weighted mean over the curve's points.",
        )
    st.fragment(live_runs, run_every=REFRESH if active else None)(log, SPANS[smoothing], active)
with st.container(border=True):
    st.subheader("New training", anchor=False)
    st.caption("Vanilla classifiers: submodels trained independently on clean images.")
    st.fragment(run_form)()
if views:
    compare(views, log, SPANS[smoothing])
else:
    st.caption("No runs yet: start one above, and its curves appear here as they grow.")
for message in manager.broken():
    st.warning(message, icon=":material/folder_off:")
