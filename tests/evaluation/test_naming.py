"""What attacks, budgets and models are called on screen."""

from __future__ import annotations

from typing import Any

import pytest

from dverge.attacks import REPORT_DISTILLATION, AttackConfig, Norm
from dverge.evaluation.naming import (
    attack_title,
    distillation_title,
    eps_title,
    model_title,
    victim_title,
)
from dverge.evaluation.protocols import PLANS


@pytest.mark.parametrize(
    ("attack", "parameters", "title"),
    [
        ("clean", {}, "no attack"),
        ("fgsm", {"eps": 0.03, "step_size": 0.03, "steps": 1}, "FGSM 0.03"),
        ("fgsm", {"eps": 0.03, "steps": 1, "victim": "mixture"}, "FGSM 0.03"),
        ("fgsm", {"eps": 0.03, "steps": 1, "victim": "worst"}, "FGSM 0.03, worst victim"),
        ("pgd-linf", {"eps": 8 / 255, "steps": 50, "victim": "worst"}, "PGD L∞ 8/255, 50 steps"),
        ("pgd-linf", {"eps": 0.03, "steps": 5, "projected": False}, "PGD L∞ 0.03, 5 steps"),
        ("pgd-l2", {"eps": 0.5, "steps": 50}, "PGD L2 0.5, 50 steps"),
        ("strong-linf", {"eps": 8 / 255, "steps": 60, "targets": 3}, "Strong L∞ 8/255"),
        ("strong-l2", {"eps": 0.5, "steps": 60, "targets": 3}, "Strong L2 0.5"),
        ("aa-linf", {"eps": 8 / 255, "version": "standard"}, "AutoAttack L∞ 8/255"),
        ("aa-l2", {"eps": 1.0}, "AutoAttack L2 1"),
        ("noise", {"eps": 8 / 255}, "random noise 8/255"),
        ("square", {"eps": 8 / 255, "queries": 1000}, "Square 8/255"),
        ("black-box", {"eps": 0.03, "steps": 10, "surrogates": "a 12, b 34"}, "Black box L∞ 0.03"),
        ("zero-gradient", {}, "no gradient"),
        ("unknown", {}, "unknown"),
    ],
)
def test_attacks(attack: str, parameters: dict[str, Any], title: str) -> None:
    assert attack_title(attack, parameters) == title


def test_the_measurements_of_a_protocol_have_different_titles() -> None:
    for plan in PLANS.values():
        measurements = plan.measurements(0)
        titles = [attack_title(each.attack, each.parameters()) for each in measurements]
        assert len(set(titles)) == len(titles)
        for title, measurement in zip(titles, measurements, strict=True):
            named = not measurement.attack.islower()  # a name in small letters is no title
            assert named or not title.startswith(measurement.attack)


@pytest.mark.parametrize(
    ("eps", "l2", "title"),
    [
        (8 / 255, False, "8/255"),
        (16 / 255, False, "16/255"),
        (0.03, False, "0.03"),
        (0.005, False, "0.005"),
        (0.25, False, "0.25"),
        (8 / 255, True, "0.0313725"),  # an L2 budget is never in 255ths
        (1.0, True, "1"),
    ],
)
def test_budgets(eps: float, l2: bool, title: str) -> None:
    assert eps_title(eps, l2) == title


def test_distillations() -> None:
    report = "L∞ eps 0.07, 10 steps of 0.007"
    assert distillation_title(REPORT_DISTILLATION) == report
    assert distillation_title(REPORT_DISTILLATION, 10) == report
    early = distillation_title(REPORT_DISTILLATION, 0)
    assert early == "L∞ eps 0.07, 0 of 10 steps of 0.007"
    assert distillation_title(AttackConfig(Norm.L2, 0.5, 0.25, 1)) == "L2 eps 0.5, 1 step of 0.25"


def test_models_and_victims() -> None:
    models = {"member-1": "submodel 1", "member-12": "submodel 12", "mixture": "mixture"}
    for model, title in (models | {"random-member": "random submodel"}).items():
        assert model_title(model) == title
    victims = {
        "worst": "worst of all",
        "mixture": "mean probability",
        "mixture-logit": "mean logit",
        "mixture-tempered": "tempered probability",
        "mixture-loss": "mean loss",
        "members": "each submodel",
        "member-2": "submodel 2",
        "": "",
    }
    for victim, title in victims.items():
        assert victim_title(victim) == title
    assert victim_title("mixture", "strong-linf") == "mixture"  # it follows several scores
