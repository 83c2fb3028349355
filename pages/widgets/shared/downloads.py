"""Quiet buttons that keep what is shown as files."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import streamlit as st

KINDS = {
    "PNG": ("image/png", ":material/image:"),
    "SVG": ("image/svg+xml", ":material/image:"),
    "CSV": ("text/csv", ":material/table:"),
    "JSON": ("application/json", ":material/data_object:"),
}
Content = Callable[[], str | bytes]


def offer_files(stem: str, files: Mapping[str, tuple[Content, str]], key: str) -> None:
    """A button a file, in a row; a file is made when it is asked for.

    Args:
        stem: of the files' names.
        files: by kind (of KINDS), what makes the content, and what it holds, in words.
        key: of the buttons, with the kind before it.
    """
    for kind, (content, about) in files.items():
        mime, icon = KINDS[kind]
        st.download_button(
            kind,
            content,
            f"{stem}.{kind.lower()}",
            mime,
            icon=icon,
            key=f"{kind.lower()}-{key}",
            on_click="ignore",
            type="tertiary",
            help=about,
        )
