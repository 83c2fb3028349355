"""Links between pages: opening one gives back the settings that it was made of."""

from __future__ import annotations

from collections.abc import Mapping
from html import unescape
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from streamlit.testing.v1 import AppTest

from dverge.attacks import MIXTURE, Attack, AttackConfig, Norm, Victim, fgsm, pgd
from pages.widgets.shared.attack_form import L2_EPS, LINF_EPS, AttackChoice
from pages.widgets.shared.links import attack_kind, attack_query, victim_words

ROOT = Path(__file__).parents[2]
NAMES = ["vanilla-3xconv-s0", "dverge-3xconv-s0"]

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
]


def form() -> None:
    """A page with nothing but the attack's form."""
    import streamlit as st

    from pages.widgets.shared.attack_form import attack_form

    st.session_state["chosen"] = attack_form(3)


def open_page(page: str, query: Mapping[str, str | list[str]]) -> AppTest:
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120)
    app.run()
    for name, value in query.items():
        app.query_params[name] = value
    return app.switch_page(page).run()


@pytest.mark.parametrize("choice", CHOICES, ids=lambda choice: attack_kind(choice.config))
def test_the_form_opens_with_the_settings_of_the_link(choice: AttackChoice) -> None:
    app = AppTest.from_function(form)
    for name, value in attack_query(choice, 5, NAMES).items():
        app.query_params[name] = value
    app.run()
    assert not app.exception
    assert app.session_state["chosen"] == choice


def test_every_budget_of_the_sliders_has_words_of_its_own() -> None:
    for norm, sizes, key in ((Norm.LINF, LINF_EPS, "eps"), (Norm.L2, L2_EPS, "eps-l2")):
        choices = [AttackChoice(pgd(norm, eps), MIXTURE, None) for eps in sizes]
        words = {attack_query(choice, 5, NAMES)[key] for choice in choices}
        assert len(words) == len(sizes)


def test_image_and_ensembles_are_in_the_link() -> None:
    query = attack_query(CHOICES[0], 9, NAMES)
    assert (query["image"], query["ensembles"]) == ("9", NAMES)
    assert "image" not in attack_query(CHOICES[0], None, NAMES)


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        (fgsm(0.1), Attack.FGSM),
        (fgsm(0.1, targeted=True), Attack.FGSM),
        (pgd(Norm.LINF, 0.1), Attack.PGD_LINF),
        (pgd(Norm.LINF, 0.1, steps=1), Attack.PGD_LINF),
        (pgd(Norm.L2, 0.1), Attack.PGD_L2),
        (pgd(Norm.L2, 0.1, steps=1, step_size=0.1, random_start=False), Attack.PGD_L2),
    ],
)
def test_an_attack_is_known_by_its_settings(config: AttackConfig, kind: Attack) -> None:
    assert attack_kind(config) is kind


def test_victims_are_called_as_on_screen() -> None:
    assert [victim_words(each) for each in (MIXTURE, Victim(2))] == ["mixture", "submodel 3"]


def test_the_pages_link_opens_the_lab_on_the_same(folders: Path) -> None:
    """From the page of decision regions to the lab, with all that can be set."""
    given: dict[str, str | list[str]] = {
        "image": "9",
        "ensembles": NAMES[::-1],
        "attack": "PGD L2",
        "eps-l2": "0.75",
        "steps": "4",
        "victim": "submodel 2",
        "random": "false",
    }
    app = open_page("pages/regions.py", given)
    (link,) = [each.proto.body for each in app.get("html") if "dv-link" in each.proto.body]
    assert ">Open this in the attack lab" in link
    address = urlsplit(unescape(link.split('href="')[1].split('"')[0]))
    assert address.path == "lab"  # relative, so that it holds behind a proxy's path
    query = parse_qs(address.query)
    for name, value in given.items():
        assert query[name] == (value if isinstance(value, list) else [value])
    app = open_page("pages/lab.py", query)
    assert not app.exception
    assert app.number_input(key="image").value == 9
    assert app.multiselect(key="ensembles").value == NAMES[::-1]
    assert app.segmented_control(key="attack").value == "pgd-l2"
    assert app.select_slider(key="eps-l2").value == 0.75
    assert app.selectbox(key="victim").value == "member-2"
    assert (app.number_input(key="steps").value, app.toggle(key="random").value) == (4, False)
