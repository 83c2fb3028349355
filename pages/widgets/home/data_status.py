"""The full data set: whether it is here, and getting it in the background."""

from __future__ import annotations

import streamlit as st

from dverge.data import ObtainState, full_data_available
from pages.widgets.shared.messages import errors_as_messages
from pages.widgets.shared.resources import download


def show_data_status() -> None:
    """A button that gets all of CIFAR-10, its progress, or nothing when it is here."""
    if full_data_available():
        return
    running = download().snapshot.state is ObtainState.RUNNING
    st.fragment(_progress, run_every=1.0 if running else None)()


def _progress() -> None:
    with errors_as_messages():
        job = download()
        snapshot = job.snapshot
        if snapshot.state is ObtainState.DONE:
            st.rerun()
        if snapshot.state is ObtainState.RUNNING:
            st.progress(snapshot.fraction, text=f"Getting CIFAR-10: {snapshot.stage}")
            return
        if snapshot.error:
            st.error(snapshot.error, icon=":material/error:")
        st.markdown(
            "Training and the other 9,000 test images need all of CIFAR-10: a download of "
            "140–170 MB, once."
        )
        if st.button("Get CIFAR-10", icon=":material/download:", type="primary"):
            job.start()
            st.rerun()
