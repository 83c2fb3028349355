"""The pages there are, and the way to them."""

from __future__ import annotations

import streamlit as st

ENTERED = "entered-through-app"


def navigate() -> st.Page:
    """Declare the pages; returns the one to run."""
    st.session_state[ENTERED] = True
    return st.navigation(
        [
            st.Page(
                "pages/home.py",
                title="Home",
                icon=":material/home:",
                default=True,
                help="What this is, what is on this machine, and one attack, live.",
            ),
            st.Page(
                "pages/tour.py",
                title="Tour",
                icon=":material/slideshow:",
                help="Seven pictures that explain it, to look at or to present.",
            ),
            st.Page(
                "pages/lab.py",
                title="Attack lab",
                icon=":material/experiment:",
                help="Attack an image and compare submodels with their mixture.",
            ),
            st.Page(
                "pages/distilled.py",
                title="Distilled features",
                icon=":material/blur_on:",
                help="What a submodel takes for a class that a person does not see.",
            ),
            st.Page(
                "pages/regions.py",
                title="Decision regions",
                icon=":material/map:",
                help="What submodels and mixture say around an image.",
            ),
            st.Page(
                "pages/robustness.py",
                title="Robustness",
                icon=":material/shield:",
                help="Accuracy under attack, measured and compared.",
            ),
            st.Page(
                "pages/report.py",
                title="The report",
                icon=":material/table_chart:",
                help="Its tables and figures, regenerated beside what it printed.",
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


def enter_through_app() -> None:
    """Begin anew with app.py if this page was run without it.

    Until st.navigation was called once, Streamlit runs a script in a folder called pages by
    itself, so a server's very first visit by a deep link would miss the theme and the menu.
    """
    if ENTERED not in st.session_state:
        navigate()
        st.rerun()
