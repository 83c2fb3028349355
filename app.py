"""The dashboard's entry point: streamlit run app.py."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from pages.widgets.shared.messages import errors_as_messages
from pages.widgets.shared.navigation import navigate

WIDGETS = Path(__file__).parent / "pages" / "widgets"

page = navigate()
# After st.navigation, whose page icons would else be fetched from the web as the tab's icon.
st.set_page_config(
    page_title=f"{page.title} · DVERGE", page_icon=str(WIDGETS / "icon.svg"), layout="wide"
)
st.html(WIDGETS / "style.css")
with errors_as_messages():
    page.run()
