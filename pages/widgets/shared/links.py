"""The query parameters that open another page on what one page shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from urllib.parse import urlencode

import streamlit as st

from dverge.attacks import Attack, AttackConfig, Norm, Victim, fgsm, pgd
from dverge.data import CLASSES
from pages.widgets.shared.attack_form import ATTACK_TITLES, UNTARGETED, AttackChoice, linf_label
from pages.widgets.shared.cards import is_dark


def attack_query(
    choice: AttackChoice, image_number: int | None, ensembles: Sequence[str]
) -> dict[str, str | list[str]]:
    """The settings of an attack, for every page with the attack's form and the image's box.

    Args:
        choice: what the form holds.
        image_number: in CIFAR-10's test set; None leaves the other page's image as it is.
        ensembles: names of checkpoints; a page takes the first ones, as many as it shows.
    """
    config, kind = choice.config, attack_kind(choice.config)
    query: dict[str, str | list[str]] = {
        "ensembles": list(ensembles),
        "attack": ATTACK_TITLES[kind],
        "victim": victim_words(choice.victim),
        "target": UNTARGETED if choice.target is None else CLASSES[choice.target],
    }
    if image_number is not None:
        query["image"] = str(image_number)
    if config.norm is Norm.LINF:
        query["eps"] = linf_label(config.eps)
    else:
        query["eps-l2"] = f"{config.eps:.2f}"
    if kind is not Attack.FGSM:
        query |= _pgd_query(config)
    return query


def show_link(page: str, label: str, query: Mapping[str, str | list[str]]) -> None:
    """A link to another page of the app that really carries its parameters.

    st.page_link loses those that the page it is on has bound to widgets: Streamlit takes them for
    left-overs of that page, which is where two pages have the same form. So this loads the app
    anew, as an address typed in does.

    Args:
        page: its name in the address, such as "lab".
        label: the words to click on.
        query: see attack_query.
    """
    address = escape(f"{page}?{urlencode(query, doseq=True)}", quote=True)
    theme = "dark" if is_dark() else "light"
    link = f'<a class="dv-link" href="{address}">{escape(label)} →</a>'
    st.html(f'<div class="dv {theme}">{link}</div>')


def attack_kind(config: AttackConfig) -> Attack:
    """Which of the named attacks a config is a setting of."""
    if config.norm is Norm.L2:
        return Attack.PGD_L2
    one_step = config == fgsm(config.eps, targeted=config.targeted)
    return Attack.FGSM if one_step else Attack.PGD_LINF


def victim_words(victim: Victim) -> str:
    """A victim as the form calls it, such as "submodel 2"."""
    return str(victim).replace("member-", "submodel ")


def _pgd_query(config: AttackConfig) -> dict[str, str]:
    query = {
        "steps": str(config.steps),
        "restarts": str(config.restarts),
        "random": str(config.random_start).lower(),
        "seed": str(config.seed),
    }
    if config.step_size != pgd(config.norm, config.eps, steps=config.steps).step_size:
        query["step"] = repr(config.step_size)  # else the form's own choice of it
    return query
