"""The image card: pictures, and what every submodel and the mixture say of them."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import streamlit as st
from torch import Tensor

from dverge.charts.pictures import data_uri, perturbation_image
from dverge.charts.style import VERDICT_SIGNS, method_title
from dverge.checkpoints import CheckpointInfo
from dverge.data import CLASSES
from dverge.exploration.examine import Examination, Verdict, model_names, summarise
from pages.widgets.shared.resources import colour_of

CSS_CLASS = {Verdict.HOLDS: "holds", Verdict.FOOLED: "fooled", Verdict.WRONG_BEFORE: "wrong"}

VERDICT_WORDS = {
    Verdict.HOLDS: "holds",
    Verdict.FOOLED: "fooled",
    Verdict.WRONG_BEFORE: "wrong before",
}


def show_heading(info: CheckpointInfo) -> None:
    """An ensemble's colour, name and kind."""
    count = len(info.card.members)
    kind = f"{method_title(info.card.method)}, {count} submodel{'s' if count > 1 else ''}"
    _html(
        f'<div class="dv-head"><i></i><b>{escape(info.name)}</b><span>{escape(kind)}</span></div>',
        info,
    )


def show_verdict(examination: Examination) -> None:
    """The outcome in a sentence, with the mixture's sign."""
    verdict = examination.mixture
    text = summarise(examination.verdicts)
    _html(
        f'<div class="dv-verdict {CSS_CLASS[verdict]}" role="status">'
        f'<i aria-hidden="true">{VERDICT_SIGNS[verdict]}</i><span>{escape(text)}</span></div>'
    )


def show_pictures(examination: Examination, scale: float, size: int = 192) -> None:
    """The clean image, the perturbation and the adversarial image, enlarged crisply."""
    label = CLASSES[examination.label]
    says = CLASSES[int(examination.after[-1].argmax())]
    delta = examination.adversarial - examination.clean
    sizes = examination.sizes()
    show_figures(
        [
            (examination.clean, "Clean image", f"true class: {label}"),
            (
                perturbation_image(delta, scale),
                "Perturbation",
                f"L∞ {255 * sizes['linf']:.1f}/255, L2 {sizes['l2']:.2f}; "
                f"colours end at ±{255 * scale:g}/255",
            ),
            (examination.adversarial, "Adversarial image", f"the mixture says: {says}"),
        ],
        size,
    )


def show_figures(figures: Sequence[tuple[Tensor, str, str]], size: int = 192) -> None:
    """Enlarged images in a row, each with a title and a caption, at most so many px wide."""
    body = "".join(_figure(*figure) for figure in figures)
    _html(f'<div class="dv-pictures" style="--n:{len(figures)};--size:{size}px">{body}</div>')


def show_answers(examination: Examination, info: CheckpointInfo, before_only: bool = False) -> None:
    """A row a model: its first answer before and after, and its verdict in words and sign."""
    rows = []
    names = model_names(len(examination.members))
    moments = [examination.before] if before_only else [examination.before, examination.after]
    for i, (name, verdict) in enumerate(zip(names, examination.verdicts, strict=True)):
        cells = "".join(_answer(moment[i]) for moment in moments)
        if not before_only:
            words = f"{VERDICT_SIGNS[verdict]} {VERDICT_WORDS[verdict]}"
            cells += f'<td class="{CSS_CLASS[verdict]}">{words}</td>'
        kind = ' class="mixture"' if i == len(names) - 1 else ""
        rows.append(f"<tr{kind}><td>{name}</td>{cells}</tr>")
    heads = [("model", "Model"), ("", "Says")]
    if not before_only:
        heads = [("model", "Model"), ("", "Before"), ("", "After"), ("verdict", "Verdict")]
    head = "".join(f'<th class="{name}">{title}</th>' for name, title in heads)
    _html(
        f'<table class="dv-answers"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>",
        info,
    )


def _answer(probabilities: Tensor) -> str:
    top = int(probabilities.argmax())
    percent = 100 * float(probabilities[top])
    return (
        f'<td>{CLASSES[top]} {percent:.0f} %<div class="dv-bar">'
        f'<i style="width:{percent:.1f}%"></i></div></td>'
    )


def _figure(image: Tensor, title: str, caption: str) -> str:
    uri = data_uri(image)
    alt = escape(f"{title}: {caption}", quote=True)
    return (
        f'<figure><img src="{uri}" alt="{alt}"><figcaption><b>{escape(title)}</b>'
        f"<span>{escape(caption)}</span></figcaption></figure>"
    )


def is_dark() -> bool:
    """Whether the viewer's theme is the dark one."""
    return st.context.theme.type == "dark"


def _html(body: str, info: CheckpointInfo | None = None) -> None:
    """HTML in the theme's colours; --c is the ensemble's colour."""
    theme = "dark" if is_dark() else "light"
    style = f' style="--c:{colour_of(info)}"' if info else ""
    st.html(f'<div class="dv {theme}"{style}>{body}</div>')
