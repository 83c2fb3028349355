"""The parts of a card: heading, verdict, pictures, answers as bars or as a matrix, downloads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

import streamlit as st
from torch import Tensor

from dverge.charts.pictures import data_uri, perturbation_image
from dverge.charts.style import VERDICT_SIGNS, method_title
from dverge.checkpoints import CheckpointInfo
from dverge.data import CLASSES
from dverge.exploration.examine import Examination, model_names
from dverge.exploration.verdicts import Verdict
from pages.widgets.shared.resources import colour_of

CSS_CLASS = {
    Verdict.HOLDS: "holds",
    Verdict.FOOLED: "fooled",
    Verdict.WRONG_BEFORE: "wrong",
    Verdict.REACHED: "fooled",
    Verdict.MISSED: "partly",
    Verdict.TARGET_BEFORE: "wrong",
}
VERDICT_TEXT = {
    Verdict.HOLDS: "holds",
    Verdict.FOOLED: "fooled",
    Verdict.WRONG_BEFORE: "wrong before",
    Verdict.REACHED: "reached",
    Verdict.MISSED: "other class",
    Verdict.TARGET_BEFORE: "target before",
}
Files = Mapping[str, tuple[Callable[[], str | bytes], str]]
"""Downloads by kind (of FILE_KINDS): what makes the content, and the button's help."""
FILE_KINDS = {  # by the button's label: MIME type, icon, file ending
    "PNG": ("image/png", ":material/image:", "png"),
    "SVG": ("image/svg+xml", ":material/image:", "svg"),
    "CSV": ("text/csv", ":material/table:", "csv"),
    "JSON": ("application/json", ":material/data_object:", "json"),
    "NPZ": ("application/octet-stream", ":material/deployed_code:", "npz"),
    "LaTeX": ("text/plain", ":material/function:", "tex"),
    "Markdown": ("text/markdown", ":material/notes:", "md"),
}


def is_dark() -> bool:
    """Whether the viewer's theme is the dark one."""
    return st.context.theme.type == "dark"


def show_html(body: str, kind: str = "", info: CheckpointInfo | None = None) -> None:
    """HTML in the theme's colours.

    Args:
        body: the elements, with everything from outside escaped.
        kind: a further CSS class of the element around them.
        info: the ensemble whose colour is the CSS variable --c.
    """
    classes = " ".join(filter(None, ("dv", kind, "dark" if is_dark() else "light")))
    style = f' style="--c:{colour_of(info)}"' if info else ""
    st.html(f'<div class="{classes}"{style}>{body}</div>')


def show_heading(info: CheckpointInfo, attack: str = "") -> None:
    """An ensemble's colour, name and kind, and below them the attack on it."""
    count = len(info.card.members)
    kind = f"{method_title(info.card.method)}, {count} submodel{'s' if count > 1 else ''}"
    names = f"<b>{escape(info.name)}</b><span>{escape(kind)}</span>"
    if attack:
        names += f"<small>{escape(attack)}</small>"
    show_html(f'<div class="dv-head"><i></i>{names}</div>', info=info)


def show_verdict(examination: Examination) -> None:
    """The outcome in a sentence, with the mixture's sign."""
    verdict, text = examination.mixture, escape(examination.summary())
    show_html(
        f'<div class="dv-verdict {CSS_CLASS[verdict]}" role="status">'
        f'<i aria-hidden="true">{VERDICT_SIGNS[verdict]}</i><span>{text}</span></div>'
    )


def show_pictures(examination: Examination, scale: float, size: int = 192) -> None:
    """The clean image, the perturbation and the adversarial image, enlarged crisply."""
    answer = CLASSES[int(examination.after[-1].argmax())]
    delta, sizes = examination.adversarial - examination.clean, examination.sizes()
    perturbation = (
        f"L∞ {255 * sizes['linf']:.1f}/255, L2 {sizes['l2']:.2f}; "
        f"colours end at ±{255 * scale:g}/255"
    )
    show_figures(
        [
            (examination.clean, "Clean image", f"true class: {CLASSES[examination.label]}"),
            (perturbation_image(delta, scale), "Perturbation", perturbation),
            (examination.adversarial, "Adversarial image", f"the mixture says: {answer}"),
        ],
        size,
    )


def show_figures(figures: Sequence[tuple[Tensor, str, str]], size: int = 192) -> None:
    """Enlarged images in a row, each with a title and a caption, at most `size` px wide."""
    body = "".join(_figure(*figure) for figure in figures)
    style = f"--n:{len(figures)};--size:{size}px"
    show_html(f'<div class="dv-pictures" style="{style}">{body}</div>')


def _figure(image: Tensor, title: str, caption: str) -> str:
    alt = escape(f"{title}: {caption}", quote=True)
    return (
        f'<figure><img src="{data_uri(image)}" alt="{alt}"><figcaption><b>{escape(title)}</b>'
        f"<span>{escape(caption)}</span></figcaption></figure>"
    )


def show_answers(examination: Examination, info: CheckpointInfo, before_only: bool = False) -> None:
    """A row per model: its most likely class before and after, and its verdict as text and sign."""
    rows = []
    names = model_names(len(examination.members))
    moments = [examination.before] if before_only else [examination.before, examination.after]
    for i, (name, verdict) in enumerate(zip(names, examination.verdicts, strict=True)):
        cells = "".join(_answer(moment[i]) for moment in moments)
        if not before_only:
            text = f"{VERDICT_SIGNS[verdict]} {VERDICT_TEXT[verdict]}"
            cells += f'<td class="{CSS_CLASS[verdict]}">{text}</td>'
        kind = ' class="mixture"' if i == len(names) - 1 else ""
        rows.append(f"<tr{kind}><td>{name}</td>{cells}</tr>")
    heads = [("model", "Model"), ("", "Says")]
    if not before_only:
        heads = [("model", "Model"), ("", "Before"), ("", "After"), ("verdict", "Verdict")]
    head = "".join(f'<th class="{name}">{title}</th>' for name, title in heads)
    show_html(
        f'<table class="dv-answers"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>",
        info=info,
    )


def _answer(probabilities: Tensor) -> str:
    top = int(probabilities.argmax())
    percent = 100 * float(probabilities[top])
    return (
        f'<td>{CLASSES[top]} {percent:.0f} %<div class="dv-bar">'
        f'<i style="width:{percent:.1f}%"></i></div></td>'
    )


@dataclass(frozen=True)
class Cell:
    """One answer of a matrix.

    Attributes:
        kind: holds, fooled, partly or wrong (before), which sets the colour.
        sign: says the same without colour.
        text: the class answered.
        percent: the probability given to it, 0–100.
    """

    kind: str
    sign: str
    text: str
    percent: float

    @property
    def html(self) -> str:
        return (
            f'<td class="{self.kind}"><b>{self.sign} {escape(self.text)}</b>'
            f"<span>{self.percent:.0f} %</span></td>"
        )


def show_matrix(
    corner: str, across: str, rows: Sequence[str], columns: Sequence[str], cells: list[list[Cell]]
) -> None:
    """A small table of answers: who was attacked or imitated, and what each model then says.

    Args:
        corner: what the rows are.
        across: what the columns are.
        rows, columns: their names.
        cells: one list per row.
    """
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in columns)
    lines = "".join(
        f'<tr><th scope="row">{escape(name)}</th>{"".join(cell.html for cell in line)}</tr>'
        for name, line in zip(rows, cells, strict=True)
    )
    show_html(
        '<table class="dv-matrix"><thead>'
        f'<tr><td></td><th colspan="{len(columns)}" scope="colgroup">{escape(across)}</th></tr>'
        f'<tr><th scope="col">{escape(corner)}</th>{heads}</tr></thead>'
        f"<tbody>{lines}</tbody></table>",
        "dv-scroll",
    )


def offer_files(stem: str, files: Files, key: str, quiet: bool = True, icons: bool = True) -> None:
    """A download button per file, which is made when it is asked for.

    Args:
        stem: of the files' names.
        files: what to offer.
        key: of the buttons, after their kind.
        quiet: without a border, beside the picture that they hold.
        icons: False for many files in little space.
    """
    for kind, (content, about) in files.items():
        mime, icon, ending = FILE_KINDS[kind]
        st.download_button(
            kind,
            content,
            f"{stem}.{ending}",
            mime,
            icon=(icon if quiet else ":material/download:") if icons else None,
            key=f"{ending}-{key}",
            on_click="ignore",
            type="tertiary" if quiet else "secondary",
            help=about or None,
        )
