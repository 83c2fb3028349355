"""The dashboard's entry point: streamlit run app.py."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from pages.widgets.messages import errors_as_messages

STYLE = Path(__file__).parent / "pages" / "widgets" / "style.css"

st.set_page_config(page_title="DVERGE", page_icon=":material/shield:", layout="wide")
st.html(STYLE)
page = st.navigation(
    [
        st.Page(
            "pages/home.py",
            title="Home",
            icon=":material/home:",
            default=True,
            help="What this is, what is on this machine, and one attack, live.",
        ),
        st.Page(
            "pages/lab.py",
            title="Attack lab",
            icon=":material/experiment:",
            help="Attack an image and compare submodels with their mixture.",
        ),
        st.Page(
            "pages/train.py",
            title="Train",
            icon=":material/model_training:",
            help="Start trainings and watch their curves.",
        ),
    ],
    position="top",
)
with errors_as_messages():
    page.run()
