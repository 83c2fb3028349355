"""Errors as messages: no page ever shows a stack trace."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import streamlit as st

from dverge import stored
from dverge.data import full_data_available
from dverge.errors import DvergeError
from dverge.stored import Broken

log = logging.getLogger("dverge.pages")
Change = Callable[[Path], object]


@contextlib.contextmanager
def errors_as_messages() -> Iterator[None]:
    """Show what goes wrong inside as a message; the rest of the page is drawn."""
    try:
        yield
    except DvergeError as error:
        show_error(error)
    except OSError as error:
        log.exception("a file could not be used")
        st.error(f"A file could not be read or written: {error}", icon=":material/error:")
    except Exception as error:  # a bug: the terminal shows all of it
        log.exception("unexpected error")
        st.error(
            f"Something unexpected went wrong ({type(error).__name__}). The terminal that runs "
            "the app shows more; nothing on disk was changed by it.",
            icon=":material/error:",
        )


def show_error(error: DvergeError) -> None:
    """An expected error, whose text says what is wrong and what to do."""
    text = str(error)
    st.error(text[:1].upper() + text[1:], icon=":material/error:")


def show_left_out(
    broken: Sequence[Broken], set_aside: Change = stored.set_aside, delete: Change = stored.delete
) -> None:
    """The files and folders that cannot be used, each with the reason, to set aside or delete.

    Args:
        broken: the files and folders.
        set_aside, delete: what the buttons call with the path.
    """
    for item in broken:
        st.warning(f"{item.name} is left out. {item.reason}", icon=":material/folder_off:")
        with st.container(horizontal=True, key=f"left-out-{item.path}"), errors_as_messages():
            _button("Set aside", set_aside, item, f"Renames it to .{item.name}.set-aside-1")
            with st.popover("Delete", icon=":material/delete:"):
                content = " and everything in it" if item.path.is_dir() else ""
                st.markdown(f"Delete **{item.name}**{content}? It cannot be restored.")
                _button("Delete permanently", delete, item)


def _button(title: str, change: Change, item: Broken, help: str | None = None) -> None:
    if st.button(title, key=f"{title}-{item.path}", help=help):
        change(item.path)
        st.rerun()


def ask_for_an_ensemble() -> None:
    """Say where to choose, when no ensemble is chosen."""
    st.info("Choose at least one ensemble on the left.", icon=":material/arrow_back:")


def stop_without_checkpoints() -> NoReturn:
    """Say how to get a checkpoint, and end the page here."""
    st.info(
        "There is no checkpoint yet. Train an ensemble, or import weights with "
        "`python -m dverge import FILE.pth --name NAME`.",
        icon=":material/model_training:",
    )
    st.page_link("pages/train.py", label="Train an ensemble", icon=":material/arrow_forward:")
    st.stop()


def training_lacks_data() -> bool:
    """Whether CIFAR-10 is not here yet; if so, say that training needs it and where to get it."""
    if full_data_available():
        return False
    st.info(
        "Training needs all of CIFAR-10. Get it on the Home page, or with `python -m dverge data`.",
        icon=":material/download:",
    )
    st.page_link("pages/home.py", label="Get CIFAR-10", icon=":material/arrow_forward:")
    return True
