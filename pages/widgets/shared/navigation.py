"""The pages of the app, and the ways to and within them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape
from typing import TypeVar
from urllib.parse import urlencode

import streamlit as st

from dverge.checkpoints import CheckpointInfo
from dverge.stored import Broken
from pages.widgets.shared.cards import show_html
from pages.widgets.shared.messages import errors_as_messages, stop_without_checkpoints
from pages.widgets.shared.resources import all_checkpoints

View = TypeVar("View")

ENTERED = "entered-through-app"
PAGES = (  # one line per page: its script in pages/, title, Material icon and help
    ("home", "Home", "home", "What this is, what is on this machine, and one attack, live."),
    ("tour", "Tour", "slideshow", "Seven pictures that explain it, to look at or to present."),
    ("lab", "Attack lab", "experiment", "Attack an image and compare submodels and mixture."),
    ("distilled", "Distilled features", "blur_on", "What a submodel sees and a person does not."),
    ("regions", "Decision regions", "map", "What submodels and mixture answer around an image."),
    ("robustness", "Robustness", "shield", "Accuracy under attack, measured and compared."),
    ("report", "The report", "table_chart", "Its tables and figures beside our own."),
    ("train", "Train", "model_training", "Start trainings and watch their curves."),
)


def navigate() -> st.Page:
    """Declare the pages, the first being the one to start on; returns the one to run."""
    st.session_state[ENTERED] = True
    pages = [
        st.Page(
            f"pages/{script}.py",
            title=title,
            icon=f":material/{icon}:",
            help=about,
            default=script == PAGES[0][0],
        )
        for script, title, icon, about in PAGES
    ]
    return st.navigation(pages, position="top")


def enter_through_app() -> None:
    """Start again with app.py if this page was run without it.

    Until st.navigation has been called once, Streamlit runs a script in a folder called pages by
    itself, so a server's very first visit by a deep link would miss the theme and the menu.
    """
    if ENTERED not in st.session_state:
        navigate()
        st.rerun()


def begin_page(title: str) -> tuple[list[CheckpointInfo], list[Broken]]:
    """Begin a page about checkpoints, and end it if there are none; returns all, and the broken."""
    enter_through_app()
    st.title(title, anchor=False)
    available, broken = all_checkpoints()
    if not available:
        stop_without_checkpoints()
    return available, broken


def show_tabs(contents: Mapping[str, Callable[[View], None]], key: str, view: View) -> None:
    """Tabs of which only the open one computes; the page's address keeps it under the key."""
    tabs = st.tabs(list(contents), key=key, on_change="rerun", bind="query-params")
    for tab, show in zip(tabs, contents.values(), strict=True):
        if tab.open:
            with tab, errors_as_messages():
                show(view)


def show_link(page: str, label: str, query: Mapping[str, str | list[str]]) -> None:
    """A link to another page that keeps all of its parameters.

    st.page_link loses those that the page it is on has bound to widgets: Streamlit takes them for
    left-overs of that page, which happens where two pages have the same form. So this loads the
    app again, as typing the address does.

    Args:
        page: its name in the address, such as "lab".
        label: the text to click on.
        query: see attack_query.
    """
    address = escape(f"{page}?{urlencode(query, doseq=True)}", quote=True)
    show_html(f'<a class="dv-link" href="{address}">{escape(label)} →</a>')
