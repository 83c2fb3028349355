"""Errors as messages: no page ever shows a stack trace."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from typing import NoReturn

import streamlit as st

from dverge.checkpoints import BrokenCheckpoint
from dverge.errors import DvergeError

log = logging.getLogger("dverge.pages")


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


def show_left_out(broken: Sequence[BrokenCheckpoint]) -> None:
    """Say which folders are no usable checkpoints, and why."""
    for item in broken:
        st.warning(f"{item.name} is left out. {item.reason}", icon=":material/folder_off:")


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
