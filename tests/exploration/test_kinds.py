"""Names of attacks and their settings in a line."""

from __future__ import annotations

import pytest

from dverge.attacks import MIXTURE, AnyConfig, Norm, StrongConfig, Through, Victim, fgsm, pgd
from dverge.evaluation.naming import ATTACK_TITLES
from dverge.exploration.kinds import Kind, describe, kind_of, victim_title

EPS = 8 / 255


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        (fgsm(0.1), Kind.FGSM),
        (fgsm(0.1, targeted=True), Kind.FGSM),
        (pgd(Norm.LINF, 0.1), Kind.PGD_LINF),
        (pgd(Norm.LINF, 0.1, steps=1), Kind.PGD_LINF),
        (pgd(Norm.L2, 0.1), Kind.PGD_L2),
        (pgd(Norm.L2, 0.1, steps=1, step_size=0.1, random_start=False), Kind.PGD_L2),
        (StrongConfig(Norm.LINF, 0.1), Kind.STRONG_LINF),
        (StrongConfig(Norm.L2, 0.1), Kind.STRONG_L2),
    ],
)
def test_an_attack_is_recognised_by_its_settings(config: AnyConfig, kind: Kind) -> None:
    assert kind_of(config) is kind
    assert kind.norm is config.norm and kind.is_strong is isinstance(config, StrongConfig)
    assert kind in ATTACK_TITLES


def test_victims_have_the_titles_on_screen() -> None:
    victims = (MIXTURE, Victim(through=Through.LOGIT), Victim(2))
    assert list(map(victim_title, victims)) == ["mixture", "mean logit", "submodel 3"]


@pytest.mark.parametrize(
    ("config", "victim", "target", "line"),
    [
        (fgsm(EPS), None, None, "FGSM L∞, eps 8/255 = 0.0314"),
        (
            pgd(Norm.LINF, EPS, targeted=True, restarts=2),
            MIXTURE,
            8,
            "PGD L∞, eps 8/255 = 0.0314, 10 steps, 2 restarts, victim mixture, target ship",
        ),
        (
            pgd(Norm.L2, 0.5, steps=1, step_size=0.25),
            Victim(0),
            None,
            "PGD L2, eps 0.50, 1 step, step size 0.25, victim submodel 1",
        ),
        (StrongConfig(Norm.L2, 0.5), MIXTURE, None, "Strong L2, eps 0.50, victim mixture"),
        (StrongConfig(Norm.L2, 0.5, seed=3), None, None, "Strong L2, eps 0.50, seed 3"),
    ],
)
def test_an_attack_in_a_line(
    config: AnyConfig, victim: Victim | None, target: int | None, line: str
) -> None:
    assert describe(config, victim, target) == line
    eps = "eps 0.50, " if config.norm is Norm.L2 else "eps 8/255 = 0.0314, "
    assert describe(config, victim, target, eps=False) == f"{line}, ".replace(eps, "")[:-2]
