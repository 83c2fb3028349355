"""Tabs of which only the open one computes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import streamlit as st

from pages.widgets.shared.messages import errors_as_messages

View = TypeVar("View")


def show_tabs(contents: Mapping[str, Callable[[View], None]], key: str, view: View) -> None:
    """Draw the open tab; which one is open lives in the page's address under the key."""
    tabs = st.tabs(list(contents), key=key, on_change="rerun", bind="query-params")
    for tab, show in zip(tabs, contents.values(), strict=True):
        if tab.open:
            with tab, errors_as_messages():
                show(view)
