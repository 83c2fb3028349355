"""What attacks, budgets and models are called on screen."""

from __future__ import annotations

from typing import Any

import pytest

from dverge.evaluation.naming import attack_title, eps_title, model_title, victim_title
from dverge.evaluation.protocols import PLANS


@pytest.mark.parametrize(
    ("attack", "parameters", "title"),
    [
        ("clean", {}, "no attack"),
        ("clean", {"draws": 10, "draw_size": 256, "seed": 0}, "no attack"),
        ("fgsm", {"eps": 0.03, "step_size": 0.03, "steps": 1}, "FGSM 0.03"),
        ("pgd-linf", {"eps": 8 / 255, "steps": 50, "victim": "worst"}, "PGD L∞ 8/255, 50 steps"),
        ("pgd-linf", {"eps": 0.03, "steps": 5, "projected": False}, "PGD L∞ 0.03, 5 steps"),
        ("pgd-l2", {"eps": 0.5, "steps": 50}, "PGD L2 0.5, 50 steps"),
        ("aa-linf", {"eps": 8 / 255, "version": "standard"}, "AutoAttack L∞ 8/255"),
        ("aa-l2", {"eps": 1.0}, "AutoAttack L2 1"),
        ("noise", {"eps": 8 / 255}, "random noise 8/255"),
        ("square", {"eps": 8 / 255, "queries": 1000}, "Square 8/255"),
        ("zero-gradient", {}, "no gradient"),
        ("of-tomorrow", {}, "of-tomorrow"),
    ],
)
def test_attacks(attack: str, parameters: dict[str, Any], title: str) -> None:
    assert attack_title(attack, parameters) == title


def test_every_measurement_of_every_protocol_has_a_title_of_its_own() -> None:
    for plan in PLANS.values():
        titles: set[str] = set()
        for each in plan.measurements(0):
            title = attack_title(each.attack, each.parameters())
            assert not title.startswith(each.attack) and title not in titles
            titles.add(title)


@pytest.mark.parametrize(
    ("eps", "title"),
    [(8 / 255, "8/255"), (16 / 255, "16/255"), (0.03, "0.03"), (0.005, "0.005"), (0.25, "0.25")],
)
def test_budgets(eps: float, title: str) -> None:
    assert eps_title(eps) == title


def test_an_l2_budget_is_never_in_255ths() -> None:
    assert eps_title(8 / 255, l2=True) == "0.0313725"
    assert eps_title(1.0, l2=True) == "1"


def test_models_and_what_an_attack_followed() -> None:
    names = ["member-1", "member-12", "mixture", "random-member"]
    titles = ["submodel 1", "submodel 12", "mixture", "random submodel"]
    assert [model_title(name) for name in names] == titles
    victims = ["worst", "mixture", "mixture-logit", "mixture-loss", "members", "member-2", ""]
    assert [victim_title(victim) for victim in victims] == [
        "worst of all",
        "mean probability",
        "mean logit",
        "mean loss",
        "each submodel",
        "submodel 2",
        "",
    ]
