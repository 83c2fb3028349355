"""The Robustness page's tabs; each computes only while it is open."""

from __future__ import annotations

import json

import pandas as pd
import streamlit as st

from dverge.charts.robustness import eps_chart, eps_frame
from dverge.charts.tables import result_frame, to_latex, to_markdown
from dverge.evaluation.protocols import Protocol
from dverge.evaluation.sanity import Signal, sanity_checks
from dverge.evaluation.store import Images
from dverge.results import Result, headlines
from pages.widgets.robustness.measuring import PROTOCOL_TITLES, offer
from pages.widgets.robustness.pair_tabs import show_diversity, show_transfer
from pages.widgets.robustness.view import View, measured_images, rows_on, title_of, usual_images
from pages.widgets.shared.tabs import show_tabs

SIGNAL_LOOKS = {
    Signal.FINE: ("green", ":material/check_circle:"),
    Signal.DOUBT: ("orange", ":material/warning:"),
    Signal.UNKNOWN: ("gray", ":material/help:"),
}


def show_robustness_tabs(view: View) -> None:
    """All tabs; the one that is open is drawn."""
    contents = {
        "All figures": show_table,
        "Against eps": show_curve,
        "Transfer": show_transfer,
        "Diversity": show_diversity,
        "Sanity": show_sanity,
    }
    show_tabs(contents, "robust-tabs", view)


def show_table(view: View) -> None:
    """Every row there is of these ensembles on these images, to filter, sort and download."""
    rows = [row for info in view.infos for row in rows_on(info, view.images, Protocol)]
    if not rows:
        st.caption("Nothing has been measured on these images yet.")
        return
    rows = _filtered(rows)
    frame = result_frame(rows)
    st.dataframe(
        frame,
        hide_index=True,
        key="all-figures",
        height=420,
        alt="All measured accuracies with their intervals",
        column_config={
            name: st.column_config.NumberColumn(format="%.1f %%", help=about)
            for name, about in (
                ("Accuracy", "Images that the model is right on."),
                ("95 % from", "Lower end of the Wilson interval."),
                ("to", "Upper end of the Wilson interval."),
            )
        }
        | {
            "Follows": st.column_config.TextColumn(
                help="Whose gradient the attack followed. “Worst of all” is the worst over all "
                "of them, image by image."
            ),
            "Seconds": st.column_config.NumberColumn(format="%.1f s"),
        },
    )
    st.caption(f"{len(frame):,} figures on {view.images.title}. A click on a heading sorts.")
    _downloads(frame, rows)
    _warnings(rows)


def _warnings(rows: list[Result]) -> None:
    """What the attacks behind these figures had to say on their own reliability."""
    found: dict[str, list[str]] = {}
    for row in rows:
        for text in row.warnings:
            of = f"{row.checkpoint}, {title_of(row)}"
            found.setdefault(text, [])
            if of not in found[text]:
                found[text].append(of)
    for text, those in found.items():
        st.warning(f"**{'; '.join(those)}**: {text}", icon=":material/warning:")


def _filtered(rows: list[Result]) -> list[Result]:
    """The rows that the filters above the table let through."""
    there = list(dict.fromkeys(row.protocol for row in rows))
    with st.container(horizontal=True, vertical_alignment="center"):
        protocols = st.pills(
            "Protocol",
            there,
            default=[p for p in there if p in (Protocol.STANDARD, Protocol.AUTOATTACK)] or there,
            selection_mode="multi",
            format_func=PROTOCOL_TITLES.__getitem__,
            key="table-protocols",
            label_visibility="collapsed",
        )
        models = st.pills(
            "Models",
            ["mixtures", "submodels"],
            default=["mixtures"],
            selection_mode="multi",
            key="table-models",
            label_visibility="collapsed",
        )
        single = st.toggle(
            "Each attack on the mixture",
            key="table-single",
            help="Also the attacks through the mean probability, the mean logit, the mean loss and "
            "the submodels, each by itself.",
        )
    own = {id(each) for each in headlines_of(rows)}
    return [
        row
        for row in rows
        if row.protocol in protocols
        and ("submodels" if row.model.startswith("member-") else "mixtures") in models
        and (single or id(row) in own)
    ]


def headlines_of(rows: list[Result]) -> list[object]:
    """Each model's own figures, of each ensemble and protocol by itself."""
    groups: dict[tuple[str, str], list[Result]] = {}
    for row in rows:
        groups.setdefault((row.checkpoint, row.protocol), []).append(row)
    return [each for group in groups.values() for each in headlines(row for row in group)]


def _downloads(frame: pd.DataFrame, rows: list[Result]) -> None:
    files = {
        "CSV": (lambda: frame.to_csv(index=False), "csv", "text/csv"),
        "JSON": (
            lambda: json.dumps([row.to_dict() for row in rows], indent=2),
            "json",
            "application/json",
        ),
        "LaTeX": (lambda: to_latex(frame), "tex", "text/plain"),
        "Markdown": (lambda: to_markdown(frame), "md", "text/markdown"),
    }
    with st.container(horizontal=True):
        for title, (make, ending, mime) in files.items():
            st.download_button(
                title,
                make,
                f"robustness.{ending}",
                mime,
                icon=":material/download:",
                key=f"table-{ending}",
                on_click="ignore",
            )


def show_curve(view: View) -> None:
    """Accuracy against the budget."""
    images = _images_for(view, Protocol.CURVE)
    figures = {
        info.name: headlines(row for row in rows)
        for info in view.infos
        if (rows := rows_on(info, images, [Protocol.CURVE]))
    }
    if figures:
        st.altair_chart(
            eps_chart(eps_frame(figures), {name: view.colours[name] for name in figures}),
            key="eps-curve",
            alt="Accuracy of mixtures and submodels against the attack's budget",
        )
        st.caption(
            f"PGD L∞ with 20 steps from one random start (seed 0), on {images.title}. Thick: "
            "mixtures, with 95 % bands, the worst over attacks on the mixture and on each "
            "submodel. Thin: submodels. Drag to move, scroll to zoom."
        )
    offer(view.infos, Protocol.CURVE, images, "Accuracy against eps")


def show_sanity(view: View) -> None:
    """Per ensemble, what speaks for or against its figures being an attack's best."""
    images = _images_for(view, Protocol.SANITY)
    shown = [info for info in view.infos if rows_on(info, images, [Protocol.SANITY])]
    if shown:
        st.markdown(
            "An attack that is too weak, or a gradient that is masked, makes a model look robust. "
            "These checks show the usual signs of it; each is about the model that does worst."
        )
    with st.grid(min(3, max(1, len(shown))), min_column_width=320):
        for info in shown:
            with st.container(border=True):
                st.markdown(f"**{info.name}**")
                for check in sanity_checks(rows_on(info, images, [Protocol.SANITY])):
                    colour, icon = SIGNAL_LOOKS[check.signal]
                    st.markdown(
                        f":{colour}[{icon} **{check.title}**]  \n:gray[:small[{check.reason}]]"
                    )
    if shown:
        st.caption(f"On {images.title}, seed 0; PGD L∞, 8/255 where no budget is named.")
    offer(view.infos, Protocol.SANITY, images, "Sanity checks")


def _images_for(view: View, protocol: Protocol) -> Images:
    """The page's images if the protocol was measured on them, else those it was measured on."""
    measured = measured_images(view.infos, protocol)
    if any(each.data == view.images.data for each in measured):
        return view.images
    return measured[0] if measured else usual_images()
