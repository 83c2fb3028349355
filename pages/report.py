"""The report: its tables and figures again, beside what it printed, and what holds of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import streamlit as st

from dverge.charts.report_document import (
    DEFINITION,
    PROTOCOL_DIFFERENCES,
    all_statements,
    images_words,
    outcome_counts,
    report_latex,
    report_markdown,
    report_values,
)
from dverge.charts.reproduction import ablation_frame, agreement_chart, agreement_frame, cell_frame
from dverge.checkpoints import CheckpointInfo, read_history
from dverge.data import Split, full_data_available, load
from dverge.evaluation.autoattack import autoattack_available
from dverge.evaluation.protocols import Protocol
from dverge.evaluation.store import Images, results_stamp
from dverge.reproduction.ablation import ABOUT, VARIANTS, Variant, read_ablation
from dverge.reproduction.figures import FigureAgain, reproduce_figures
from dverge.reproduction.reproduction import Reproduction, TableAgain, reproduce
from dverge.reproduction.statements import Statement
from dverge.reproduction.trained import SETTINGS
from dverge.results import MIXTURE_NAME
from dverge.runs import TUNED
from pages.widgets.report.claims import show_all
from pages.widgets.report.figures import show_figure
from pages.widgets.report.retrain import show_retraining
from pages.widgets.report.table import show_legend, show_table
from pages.widgets.robustness.measuring import offer, show_evaluations
from pages.widgets.robustness.view import usual_images
from pages.widgets.shared.messages import (
    errors_as_messages,
    show_left_out,
    stop_without_checkpoints,
)
from pages.widgets.shared.navigation import enter_through_app
from pages.widgets.shared.resources import all_checkpoints, results_of
from pages.widgets.shared.run_cards import duration

Again = tuple[Reproduction, list[FigureAgain], list[Statement]]


def again_of(infos: Sequence[CheckpointInfo]) -> Again:
    """Tables, figures and statements, computed anew when a checkpoint or its figures change."""
    key = tuple((str(info.folder), info.digest, results_stamp(info)) for info in infos)
    return _again(key, infos)


@st.cache_resource(max_entries=4, show_spinner=False)
def _again(key: tuple[Any, ...], _infos: Sequence[CheckpointInfo]) -> Again:
    found, figures = reproduce(_infos, results_of), reproduce_figures(_infos, read_history)
    return found, figures, all_statements(found, figures)


def show_answer(again: Again) -> None:
    """How much of the report comes back, in a picture and a sentence."""
    found, figures, statements = again
    frame = agreement_frame(found)
    with st.grid(2, min_column_width=380, gap="large"):
        words, picture = st.container(), st.container()
    if not frame.empty:
        with picture:
            st.altair_chart(
                agreement_chart(frame),
                key="agreement",
                alt="Our figures against those printed in the report",
            )
            st.caption(
                "A dot a printed figure; on the dashed line ours is the same. Open: our interval "
                f"does not hold it. {images_words(found)}"
            )
    with words:
        st.subheader(found.headline, anchor=False)
        st.markdown(outcome_counts(statements) + " They are listed at the end of this page.")
        st.caption(DEFINITION)
        downloads(found, figures, statements)


def downloads(
    found: Reproduction, figures: Sequence[FigureAgain], statements: Sequence[Statement]
) -> None:
    """All of the page, as files."""
    files = {
        "Markdown": (lambda: report_markdown(found, figures, statements), "md", "text/markdown"),
        "LaTeX": (lambda: report_latex(found), "tex", "text/plain"),
        "CSV": (lambda: cell_frame(found).to_csv(index=False), "csv", "text/csv"),
        "JSON": (
            lambda: json.dumps(report_values(found, figures, statements), indent=2),
            "json",
            "application/json",
        ),
    }
    with st.container(horizontal=True):
        for title, (make, ending, mime) in files.items():
            st.download_button(
                title,
                make,
                f"report.{ending}",
                mime,
                icon=":material/download:",
                key=f"report-{ending}",
                on_click="ignore",
            )


def show_tables(found: Reproduction) -> None:
    """Tables 1 to 3; the halves of Table 3 under each other."""
    for number in (1, 2, 3):
        halves = [table for table in found.tables if table.printed.number == number]
        whole = len(halves) == 1
        title = halves[0].printed.title if whole else f"Table {number}: DVERGE+AdvT"
        st.subheader(title, anchor=f"table-{number}")
        if number == 1:
            show_legend()
        for table in halves:
            if not whole:
                st.markdown(f"**After {table.printed.epochs} epochs**")
            show_table(found.lines(table))
            st.caption(words_of(found, table))
        show_retraining(f"table-{number}", f"retrain-table-{number}")


def show_beyond(found: Reproduction, variants: Sequence[Variant]) -> None:
    """All mixtures side by side, the best recipe found, and what matters in it."""
    st.subheader("Beyond the report", anchor="beyond")
    show_table(found.mixtures)
    st.caption(
        "All mixtures, on the same images. The tuned one has the same network and another "
        f"recipe: it goes on from DVERGE+AdvT. {words_of(found, found.tuned)}"
    )
    show_retraining(TUNED, "retrain-tuned")
    if variants:
        st.markdown("**What matters in the tuned recipe**")
        st.table(ablation_frame(variants).set_index("Recipe"))
        done = f"{len(variants)} of {len(VARIANTS)} measured, by `python -m dverge ablation`"
        st.caption(f"{ABOUT} {done}.")


def words_of(found: Reproduction, table: TableAgain) -> str:
    """Which trainings a table is of, how long they took, and how much comes back."""
    if not table.trained:
        return "There is no checkpoint here that was trained this way."
    cards = [trained.info for trained in table.trained]
    words = []
    for info in cards:
        seconds = info.card.training_seconds
        took = f", trained in {duration(seconds)} on {info.card.device}" if seconds else ""
        words.append(f"{info.name} (seed {info.card.seed}{took})")
    several = " Figures are means over these." if len(cards) > 1 else ""
    here = f"Here: {', '.join(words)}.{several}"
    if not table.printed.rows:
        return here
    back, measured, _ = found.returned([table])
    report = f" The report took {table.printed.took}." if table.printed.took else ""
    return f"{here}{report} {back} of {measured} figures come back."


def show_missing(found: Reproduction) -> None:
    """Offers to measure what the tables lack; nothing is timed before they are looked at."""
    groups = [*found.tables, found.advt, found.tuned]
    infos = list({t.info.name: t.info for group in groups for t in group.trained}.values())
    titles = {
        Protocol.REPORT: "The report's protocol",
        Protocol.STANDARD: "The standard protocol",
        Protocol.AUTOATTACK: "AutoAttack",
    }
    due = [p for p in titles if p is not Protocol.AUTOATTACK or autoattack_available()]
    lacking = [p for p in due if any(lacks(group, p) for group in groups)]
    if not lacking:
        return
    section = st.expander(
        "Measure what is missing", icon=":material/speed:", on_change="rerun", key="report-missing"
    )
    if section.open:
        with section:
            for protocol in lacking:
                if (images := images_for(found, protocol)) is not None:
                    offer(infos, protocol, images, titles[protocol])
                    continue
                st.info(
                    "The report's protocol is about its validation images, which come with the "
                    "full data set: *Get CIFAR-10* on the Home page.",
                    icon=":material/download:",
                )


def lacks(group: TableAgain, protocol: Protocol) -> bool:
    """Some training of a table has no figure in one of a protocol's columns."""
    keys = [(protocol, MIXTURE_NAME, column) for column in SETTINGS[protocol]]
    return any(key not in each.figures for each in group.trained for key in keys)


def images_for(found: Reproduction, protocol: Protocol) -> Images | None:
    """The images that the others were measured on, or the usual ones; None if they are not here."""
    if protocol is Protocol.REPORT and not full_data_available():
        return None
    chosen = found.images.get(protocol)
    if chosen is not None:
        return chosen
    if protocol is not Protocol.REPORT:
        return usual_images()
    return Images.of(load(Split.VALIDATION))


enter_through_app()
st.title("The report", anchor=False)
available, broken = all_checkpoints()
if not available:
    stop_without_checkpoints()
show_evaluations()
with errors_as_messages():
    again = again_of(available)
    show_answer(again)
    show_missing(again[0])
    show_tables(again[0])
    show_beyond(again[0], read_ablation())
    st.subheader("Why figures differ", anchor="why")
    st.markdown("\n".join(f"- {line}" for line in PROTOCOL_DIFFERENCES))
    for figure in again[1]:
        st.subheader(f"Figure {figure.printed.number}", anchor=f"figure-{figure.printed.number}")
        show_figure(figure)
        if not figure.whole:
            show_retraining(f"figure-{figure.printed.number}", f"retrain-{figure.printed.number}")
    st.subheader("What holds, and what does not", anchor="what-holds")
    show_all(again[2])
show_left_out(broken)
