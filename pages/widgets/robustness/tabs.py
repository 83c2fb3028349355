"""The Robustness page's tabs; each computes only while it is open."""

from __future__ import annotations

import json

import streamlit as st

from dverge.charts.robustness import eps_chart, eps_frame
from dverge.charts.tables import result_frame, to_latex, to_markdown
from dverge.evaluation.protocols import Protocol
from dverge.evaluation.sanity import Signal, sanity_checks
from dverge.evaluation.store import Images
from dverge.results import Result, headlines
from pages.widgets.robustness.answer_tabs import show_autoattack, show_black_box, show_classes
from pages.widgets.robustness.measuring import PROTOCOL_TITLES, offer
from pages.widgets.robustness.pair_tabs import show_diversity, show_transfer
from pages.widgets.robustness.view import (
    SUMMARY_PROTOCOLS,
    View,
    measured_images,
    results_on,
    title_of,
    usual_images,
)
from pages.widgets.shared.cards import Files, offer_files
from pages.widgets.shared.navigation import show_tabs

SIGNAL_LOOKS = {
    Signal.FINE: ("green", ":material/check_circle:"),
    Signal.DOUBT: ("orange", ":material/warning:"),
    Signal.UNKNOWN: ("gray", ":material/help:"),
}


def show_robustness_tabs(view: View) -> None:
    """All tabs, one line each; only the open one is drawn."""
    contents = {
        "All figures": show_table,
        "Against eps": show_curve,
        "Classes": show_classes,
        "AutoAttack": show_autoattack,
        "Black box": show_black_box,
        "Transfer": show_transfer,
        "Diversity": show_diversity,
        "Sanity": show_sanity,
    }
    show_tabs(contents, "robust-tabs", view)


def show_table(view: View) -> None:
    """All results of these ensembles on these images, to filter, sort and download."""
    rows = [row for info in view.infos for row in results_on(info, view.images, Protocol)]
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
                ("Accuracy", "Share of images the model classifies correctly."),
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
    files: Files = {
        "CSV": (lambda: frame.to_csv(index=False), ""),
        "JSON": (lambda: json.dumps([row.to_dict() for row in rows], indent=2), ""),
        "LaTeX": (lambda: to_latex(frame), ""),
        "Markdown": (lambda: to_markdown(frame), ""),
    }
    with st.container(horizontal=True):
        offer_files("robustness", files, "table", quiet=False)
    _show_warnings(rows)


def _show_warnings(rows: list[Result]) -> None:
    """Each warning of the attacks once, with the results that it is about."""
    titles: dict[str, list[str]] = {}
    for row in rows:
        for text in row.warnings:
            titles.setdefault(text, []).append(f"{row.checkpoint}, {title_of(row)}")
    for text, about in titles.items():
        about = list(dict.fromkeys(about))
        st.warning(f"**{'; '.join(about)}**: {text}", icon=":material/warning:")


def _filtered(rows: list[Result]) -> list[Result]:
    """The results chosen with the filters above the table."""
    measured = list(dict.fromkeys(row.protocol for row in rows))
    usual = [p for p in measured if p in SUMMARY_PROTOCOLS]
    with st.container(horizontal=True, vertical_alignment="center"):
        protocols = st.pills(
            "Protocol",
            measured,
            default=usual or measured,
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
            help="Also each attack by itself: through the mean probability, the mean logit, the "
            "mean loss and the submodels.",
        )
    own = {id(each) for each in _headlines(rows)}
    return [
        row
        for row in rows
        if row.protocol in protocols
        and ("submodels" if row.model.startswith("member-") else "mixtures") in models
        and (single or id(row) in own)
    ]


def _headlines(rows: list[Result]) -> list[Result]:
    """Each model's headline results, for each ensemble and protocol separately."""
    groups: dict[tuple[str, str], list[Result]] = {}
    for row in rows:
        groups.setdefault((row.checkpoint, row.protocol), []).append(row)
    return [each for group in groups.values() for each in headlines(group)]


def show_curve(view: View) -> None:
    """Accuracy against the budget."""
    images = _images_for(view, Protocol.CURVE)
    by_name = {
        info.name: headlines(rows)
        for info in view.infos
        if (rows := results_on(info, images, [Protocol.CURVE]))
    }
    if by_name:
        st.altair_chart(
            eps_chart(eps_frame(by_name), {name: view.colours[name] for name in by_name}),
            key="eps-curve",
            alt="Accuracy of mixtures and submodels against the attack's budget",
        )
        st.caption(
            f"The strong attack, L∞ (seed 0), on {images.title}; an image that fell at a smaller "
            "budget counts as fallen at every larger one. Thick: mixtures with 95 % bands, the "
            "worst case over attacks on the mixture and on each submodel. Thin: submodels. Drag "
            "to move, scroll to zoom."
        )
    offer(view.infos, Protocol.CURVE, images, "Accuracy against eps")


def show_sanity(view: View) -> None:
    """For each ensemble, signs that an attack on it was too weak or a gradient masked."""
    images = _images_for(view, Protocol.SANITY)
    shown = [info for info in view.infos if results_on(info, images, [Protocol.SANITY])]
    if shown:
        st.markdown(
            "An attack that is too weak, or a gradient that is masked, makes a model look robust. "
            "These checks look for the usual signs; each is about the model that does worst."
        )
    with st.grid(min(3, max(1, len(shown))), min_column_width=320):
        for info in shown:
            with st.container(border=True):
                st.markdown(f"**{info.name}**")
                for check in sanity_checks(results_on(info, images, [Protocol.SANITY])):
                    colour, icon = SIGNAL_LOOKS[check.signal]
                    st.markdown(
                        f":{colour}[{icon} **{check.title}**]  \n:gray[:small[{check.reason}]]",
                        help=check.threshold,
                    )
    if shown:
        st.caption(f"On {images.title}, seed 0; L∞, 8/255 where no budget is named.")
    offer(view.infos, Protocol.SANITY, images, "Sanity checks")


def _images_for(view: View, protocol: Protocol) -> Images:
    """The page's images if the protocol was measured on them, otherwise those it was."""
    measured = measured_images(view.infos, protocol)
    if any(each.data == view.images.data for each in measured):
        return view.images
    return measured[0] if measured else usual_images()
