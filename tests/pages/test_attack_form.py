"""The attack form and links to it: opening one gives back the settings that it was made from."""

from __future__ import annotations

from html import unescape
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from streamlit.testing.v1 import AppTest

from dverge.attacks import MIXTURE, Norm, StrongConfig, Victim, fgsm, pgd
from dverge.exploration.kinds import kind_of
from pages.widgets.shared.attack_form import (
    L2_EPS,
    LINF_EPS,
    MEAN_LOGIT,
    AttackChoice,
    attack_query,
)
from tests.pages.screen import DVERGE, VANILLA, bodies, errors, open_page

NAMES = [VANILLA, DVERGE]

CHOICES = [
    AttackChoice(pgd(Norm.LINF, 8 / 255), MIXTURE, None),
    AttackChoice(fgsm(0.03), Victim(1), None),
    AttackChoice(fgsm(LINF_EPS[1], targeted=True), Victim(0), 9),
    AttackChoice(fgsm(0.0), MIXTURE, None),
    AttackChoice(pgd(Norm.L2, L2_EPS[7], steps=3, random_start=False), Victim(2), None),
    AttackChoice(
        pgd(Norm.LINF, LINF_EPS[-1], steps=20, restarts=4, targeted=True, seed=77), MIXTURE, 0
    ),
    AttackChoice(pgd(Norm.LINF, 16 / 255, step_size=0.0071), MIXTURE, None),
    AttackChoice(pgd(Norm.L2, 3.0, steps=1000, step_size=1.25, seed=2**31 - 1), MIXTURE, None),
    AttackChoice(pgd(Norm.LINF, 8 / 255), MEAN_LOGIT, None),
    AttackChoice(StrongConfig(Norm.LINF, LINF_EPS[3]), MIXTURE, None),
    AttackChoice(StrongConfig(Norm.L2, L2_EPS[7], seed=77), Victim(2), None),
]


def form() -> None:
    """A page with nothing but the attack's form."""
    import streamlit as st

    from pages.widgets.shared.attack_form import attack_form

    st.session_state["chosen"] = attack_form(3)


@pytest.mark.parametrize("choice", CHOICES, ids=lambda choice: kind_of(choice.config))
def test_the_form_opens_with_the_settings_of_the_link(choice: AttackChoice) -> None:
    app = AppTest.from_function(form)
    for name, value in attack_query(choice, 5, NAMES).items():
        app.query_params[name] = value
    app.run()
    assert not app.exception
    assert app.session_state["chosen"] == choice


def test_the_strong_attack_has_no_target_and_no_mean_logit() -> None:
    """A link or an earlier choice that names one is not taken over."""
    app = AppTest.from_function(form)
    before = AttackChoice(pgd(Norm.LINF, 0.03, targeted=True), MEAN_LOGIT, 9)
    for name, value in attack_query(before, 5, NAMES).items():
        app.query_params[name] = value
    app.run()
    assert app.session_state["chosen"].victim == MEAN_LOGIT
    app.segmented_control(key="attack").set_value("strong-linf").run()
    assert not app.exception
    assert app.session_state["chosen"] == AttackChoice(StrongConfig(Norm.LINF, 0.03), MIXTURE, None)
    assert "mean logit" not in app.selectbox(key="victim").options
    assert "Untargeted only." in app.caption[0].value
    app = AppTest.from_function(form)
    for name, value in {"attack": "Strong L2", "victim": "mean logit", "target": "ship"}.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception
    assert app.session_state["chosen"] == AttackChoice(StrongConfig(Norm.L2, 0.5), MIXTURE, None)


def test_every_budget_of_the_sliders_has_a_title_of_its_own() -> None:
    for norm, sizes, key in ((Norm.LINF, LINF_EPS, "eps"), (Norm.L2, L2_EPS, "eps-l2")):
        choices = [AttackChoice(pgd(norm, eps), MIXTURE, None) for eps in sizes]
        assert len({attack_query(choice, 5, NAMES)[key] for choice in choices}) == len(sizes)


def test_image_and_ensembles_are_in_the_link() -> None:
    query = attack_query(CHOICES[0], 9, NAMES)
    assert (query["image"], query["ensembles"]) == ("9", NAMES)
    assert "image" not in attack_query(CHOICES[0], None, NAMES)


def test_the_pages_link_opens_the_lab_on_the_same(shipped: Path) -> None:
    """From the page of decision regions to the lab, with every setting."""
    settings: dict[str, str | list[str]] = {
        "image": "9",
        "ensembles": NAMES[::-1],
        "attack": "PGD L2",
        "eps-l2": "0.75",
        "steps": "4",
        "victim": "submodel 2",
        "random": "false",
    }
    (link,) = bodies(open_page("regions", **settings), "dv-link")
    assert ">Open this in the attack lab" in link
    address = urlsplit(unescape(link.split('href="')[1].split('"')[0]))
    assert address.path == "lab"  # relative, so that it holds behind a proxy's path
    query = parse_qs(address.query)
    for name, value in settings.items():
        assert query[name] == (value if isinstance(value, list) else [value])
    app = open_page("lab", **query)
    assert errors(app) == []
    assert app.number_input(key="image").value == 9
    assert app.multiselect(key="ensembles").value == NAMES[::-1]
    assert app.segmented_control(key="attack").value == "pgd-l2"
    assert app.select_slider(key="eps-l2").value == 0.75
    assert app.selectbox(key="victim").value == "member-2"
    assert (app.number_input(key="steps").value, app.toggle(key="random").value) == (4, False)
