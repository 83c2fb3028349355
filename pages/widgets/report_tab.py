"""The report's Tables 1 to 3, cell by cell beside our figures."""

from __future__ import annotations

import math
from html import escape

import streamlit as st

from dverge.charts import report_frame
from dverge.checkpoints import CheckpointInfo
from dverge.data import Split, full_data_available, load
from dverge.evaluation import REPORT_TABLES, Accuracy, Protocol, ReportTable, headlines
from pages.widgets.measuring import offer
from pages.widgets.resources import all_checkpoints
from pages.widgets.robustness_view import (
    SNAPSHOT,
    ImageChoice,
    View,
    measured_images,
    rows_on,
)

STANDARD_SETTINGS = {
    "clean": {},
    "fgsm": {"eps": 0.03},
    "pgd-linf": {"eps": 0.03, "steps": 50},
    "pgd-l2": {"eps": 0.5, "steps": 50},
}


def show_report(view: View) -> None:
    """Each table with the checkpoint that was trained as it says, and why figures differ."""
    images = _report_images(view)
    for table in REPORT_TABLES:
        info = next((i for i in all_checkpoints()[0] if _is_of(i, table)), None)
        st.markdown(f"**{table.title}**")
        if info is None:
            st.caption("There is no checkpoint here that was trained this way.")
            continue
        report = _figures(info, images, Protocol.REPORT) if images else {}
        standard = _figures(info, view.images, Protocol.STANDARD)
        st.html(_table(table, report, standard))
        st.caption(f"Here: {info.name}, seed {info.card.seed}.")
        if images:
            offer([info], Protocol.REPORT, images, "The report's protocol")
    if images is None:
        st.info(
            "The report's protocol is about its validation images, which come with the full data "
            "set: *Get CIFAR-10* on the Home page.",
            icon=":material/download:",
        )
    _explain(view)


def _report_images(view: View) -> ImageChoice | None:
    measured = measured_images(all_checkpoints()[0], Protocol.REPORT)
    if measured:
        return max(measured, key=lambda each: each.n)
    if full_data_available():
        images = load(Split.VALIDATION)
        return ImageChoice(Split.VALIDATION, len(images), images.digest)
    return None


def _is_of(info: CheckpointInfo, table: ReportTable) -> bool:
    """Whether a checkpoint was trained by the table's method for as many epochs."""
    snapshot = SNAPSHOT.fullmatch(info.name)
    epochs = int(snapshot[1]) if snapshot else info.card.config.get("epochs")
    return info.card.method == table.method and epochs == table.epochs


def _figures(
    info: CheckpointInfo, images: ImageChoice, protocol: Protocol
) -> dict[tuple[str, str], Accuracy]:
    """An ensemble's figures that belong in the report's columns, by model and attack."""
    found = {}
    for figure in headlines(row.figure for row in rows_on(info, images, [protocol])):
        due = STANDARD_SETTINGS.get(figure.attack)
        fits = due is not None and all(figure.parameters.get(k) == v for k, v in due.items())
        if fits or protocol is Protocol.REPORT:
            found[figure.model, figure.attack] = figure
    return found


def _table(
    table: ReportTable,
    report: dict[tuple[str, str], Accuracy],
    standard: dict[tuple[str, str], Accuracy],
) -> str:
    """The table as HTML: a group of three columns for each attack."""
    frame = report_frame(table, report, standard)
    attacks, sources = (list(map(str, frame.columns.get_level_values(i))) for i in (0, 1))
    groups = "".join(
        f'<th colspan="3" scope="colgroup">{escape(attack)}</th>'
        for attack in dict.fromkeys(attacks)
    )
    heads = "".join(f'<th class="{source}" scope="col">{source}</th>' for source in sources)
    lines = []
    for model, values in zip(frame.index, frame.to_numpy(), strict=True):
        cells = "".join(
            f'<td class="{source}">{_number(value)}</td>'
            for source, value in zip(sources, values, strict=True)
        )
        kind = ' class="mixture"' if model == "mixture" else ""
        lines.append(f'<tr{kind}><th scope="row">{escape(str(model))}</th>{cells}</tr>')
    return (
        '<div class="dv dv-scroll"><table class="dv-report"><thead>'
        f"<tr><td></td>{groups}</tr><tr><td></td>{heads}</tr></thead>"
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.1f}"


def _explain(view: View) -> None:
    st.markdown(
        "All figures are accuracies in per cent. **report**: as printed. **here**: this "
        "machine's checkpoint under the same protocol, on the same 1,024 validation images. "
        "**standard**: the same checkpoint under the standard protocol, on "
        f"{view.images.title}.\n\n"
        "- *report* and *here* differ by chance in training: other random numbers, other networks. "
        "On 1,024 images, an accuracy near 35 % is known to about ±3 points.\n"
        "- **No attack**: the report averages ten draws of 256 validation images; *standard* "
        "counts each test image once.\n"
        "- **FGSM**: the same attack with eps 0.03. *standard* also counts an image as lost that "
        "was wrong before, and attacks the mixture in four ways, keeping the worst.\n"
        "- **PGD L∞**: the report takes 5 steps of 0.007 that nothing holds back, up to 0.035; "
        "*standard* takes 50 steps within 0.03, from three random starts. More steps find more.\n"
        "- **PGD L2**: the report's five steps of length 0.03 reach 0.15 at most, a small budget; "
        "*standard* has 0.5. These two columns are different questions."
    )
