"""Tabs about what was measured image by image: classes, AutoAttack beside strong, black box."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st
from torch import Tensor

from dverge.charts.classes import per_class_chart, per_class_frame
from dverge.charts.matrices import matrix_chart, matrix_frame
from dverge.checkpoints import CheckpointInfo
from dverge.data import CLASSES
from dverge.evaluation.blackbox import SURROGATES
from dverge.evaluation.comparison import difference
from dverge.evaluation.per_class import class_shares, confusion
from dverge.evaluation.protocols import Protocol
from dverge.evaluation.store import find_images
from dverge.results import MIXTURE_NAME, Result, headlines
from pages.widgets.robustness.measuring import offer
from pages.widgets.robustness.view import SUMMARY_PROTOCOLS, View, results_on, title_of
from pages.widgets.shared.cards import is_dark

CELL = 40  # px of a confusion matrix


def show_classes(view: View) -> None:
    """Accuracy by class, and what the mixtures take each class for."""
    images = find_images(view.images)
    if images is None:
        st.info(f"The {view.images.title} are not on this machine; get CIFAR-10 on the Home page.")
        return
    counts = {
        info.name: both for info in view.infos if (both := _counts(info, view, images.labels))
    }
    lacking = [info.name for info in view.infos if info.name not in counts]
    if counts:
        st.altair_chart(
            per_class_chart(per_class_frame(counts), {n: view.colours[n] for n in counts}),
            key="per-class",
            alt=f"Accuracy by class without attack and under {view.attack}",
        )
        st.caption(
            f"Open: without attack. Solid, with 95 % interval: under {view.attack}. Mixtures, on "
            f"{view.images.title}; of a class, a tenth of them."
        )
        _show_confusion(counts, view)
    if lacking:
        st.caption(
            f"No answers under {view.attack} are kept for {', '.join(lacking)}. Choose the strong "
            "attack on the left, or measure them again."
        )


def _counts(info: CheckpointInfo, view: View, labels: Tensor) -> tuple[Tensor, Tensor] | None:
    """The mixture's confusion matrices without attack and under it, if answers are kept."""
    own = _mixture(info, view)
    clean = next((each for each in own if each.attack == "clean" and each.answers), None)
    under = next((each for each in own if title_of(each) == view.attack and each.answers), None)
    if clean is None or under is None:
        return None
    return confusion(clean, labels), confusion(under, labels)


def _mixture(info: CheckpointInfo, view: View) -> list[Result]:
    rows = results_on(info, view.images, SUMMARY_PROTOCOLS)
    return [each for each in headlines(rows) if each.model == MIXTURE_NAME]


def _show_confusion(counts: dict[str, tuple[Tensor, Tensor]], view: View) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.selectbox("Ensemble", list(counts), key="confusion-of", width=320)
        attacked = st.toggle("Under attack", True, key="confusion-attacked")
    matrix = counts[name][attacked]
    share, low, high = class_shares(matrix)
    st.markdown(f"**{name}**, {view.attack if attacked else 'without attack'}")
    st.altair_chart(
        matrix_chart(
            matrix_frame(share, CLASSES, CLASSES, low, high),
            "Shows",
            "Mixture's answer",
            "Of the class (%)",
            (0.0, 100.0),
            dark=is_dark(),
            cell=CELL,
        ),
        key="confusion",
        alt=f"Confusion matrix of {name}",
    )
    st.caption(
        "Per cent of the row's class. Under attack, an image counts for the answer to the first "
        "adversarial image that fooled the mixture, and for its true class if none did."
    )


def show_autoattack(view: View) -> None:
    """AutoAttack beside the strong attack, on the same images."""
    st.markdown(
        "AutoAttack (Croce & Hein 2020) is the field's yardstick, and takes minutes. The strong "
        "attack should come to the same verdict in a fraction of the time."
    )
    rows = [row for info in view.infos for row in _beside_strong(info, view)]
    if rows:
        number = st.column_config.NumberColumn
        st.dataframe(
            pd.DataFrame(rows),
            hide_index=True,
            key="beside-strong",
            alt="Strong attack and AutoAttack, mixtures",
            column_config={
                "Strong (%)": number(format="%.1f"),
                "AutoAttack (%)": number(format="%.1f"),
                "Strong took (s)": number(format="%.0f"),
                "AutoAttack took (s)": number(format="%.0f"),
            },
        )
        st.caption(
            f"Mixtures, on {view.images.title}; per cent of the images that hold. A difference "
            "above zero: AutoAttack fooled more. The interval is that of paired samples. Times "
            "are of the attacks on the mixture alone, on the machine that measured."
        )
    offer(view.infos, Protocol.AUTOATTACK, view.images, "AutoAttack")


def _beside_strong(info: CheckpointInfo, view: View) -> list[dict[str, object]]:
    """A line for each budget that both attacks were measured at."""
    every = results_on(info, view.images, (Protocol.STANDARD, Protocol.AUTOATTACK))
    alone = {
        (each.attack, each.parameters["eps"]): each
        for each in every
        if each.model == MIXTURE_NAME and each.parameters.get("victim") == "mixture"
    }
    lines = []
    for (attack, eps), auto in alone.items():
        strong = alone.get((attack.replace("aa-", "strong-"), eps))
        if not attack.startswith("aa-") or strong is None:
            continue
        lines.append(
            {
                "Ensemble": info.name,
                "Budget": title_of(auto).removeprefix("AutoAttack "),
                "Strong (%)": strong.accuracy,
                "AutoAttack (%)": auto.accuracy,
                "Difference": str(difference(strong, auto)),
                "Strong took (s)": strong.seconds,
                "AutoAttack took (s)": auto.seconds,
            }
        )
    return lines


def show_black_box(view: View) -> None:
    """How the mixtures hold against images that were made on other ensembles."""
    st.markdown(
        "An attacker who cannot look inside the ensemble trains surrogates, attacks those, and "
        "hands over the images. An image counts as held if the model is right on every one."
    )
    rows = [
        row
        for info in view.infos
        for row in headlines(results_on(info, view.images, [Protocol.BLACK_BOX]))
        if row.model == MIXTURE_NAME
    ]
    if rows:
        st.dataframe(
            _black_box_frame(rows), hide_index=True, key="black-box", alt="Black-box accuracies"
        )
        st.caption(
            f"Mixtures, on {view.images.title}; in brackets the 95 % interval. Surrogates: of "
            f"{', '.join(SURROGATES)} those of another seed that share no training with the "
            "target, each attacked by PGD and by momentum FGSM of 10 steps, on its mixture and on "
            "each submodel."
        )
    offer(view.infos, Protocol.BLACK_BOX, view.images, "The black box")


def _black_box_frame(rows: Sequence[Result]) -> pd.DataFrame:
    """A line for each ensemble: its accuracy under each attack, and its surrogates."""
    lines: dict[str, dict[str, str]] = {}
    for row in rows:
        line = lines.setdefault(row.checkpoint, {"Ensemble": row.checkpoint})
        figure = f"{row.accuracy:.1f} % ({row.ci_low:.1f}–{row.ci_high:.1f})"
        line["No attack" if row.attack == "clean" else title_of(row)] = figure
        if "surrogates" in row.parameters:
            line["Surrogates"] = str(row.parameters["surrogates"])
    return pd.DataFrame(lines.values())
