"""Bad settings, batches and victims are refused, each with a message that names the mistake."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import pytest
from torch import Tensor

from dverge.attacks import (
    MIXTURE,
    Attack,
    AttackConfig,
    Norm,
    Through,
    Victim,
    attack,
    fgsm,
    parse_victim,
    pgd,
    report_attack,
)
from dverge.errors import ConfigError
from tests.attacks.case import BAD_IMAGES, Case

GOOD: dict[str, Any] = {"norm": Norm.LINF, "eps": 0.03, "step_size": 0.007, "steps": 10}


BAD_NUMBERS = [-1, -0.1, 1.01, math.nan, math.inf, -math.inf, "0.03", None, True, 10**400]
BAD_INTEGERS = [-1, 2.5, 2**31, "1", None, True]
INTEGERS = {"steps": "1 to 1,000", "restarts": "1 to 100", "seed": "0 to 2,147,483,647"}


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [(f, v, "a number from 0 to 1") for f in ("eps", "step_size", "momentum") for v in BAD_NUMBERS]
    + [(f, v, f"a whole number from {r}") for f, r in INTEGERS.items() for v in BAD_INTEGERS]
    + [("steps", 0, "a whole number"), ("steps", 1001, "a whole number")]
    + [("restarts", 0, "a whole number"), ("restarts", 101, "a whole number")]
    + [("norm", value, "one of linf, l2") for value in ("l7", "linf", None)],
    ids=lambda value: str(value)[:10],
)
def test_bad_settings(field: str, value: Any, allowed: str) -> None:
    message = f"{field} is {value!r}; it must be {allowed}"
    with pytest.raises(ConfigError, match=re.escape(message)):
        AttackConfig(**{**GOOD, field: value})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fgsm(1.5), "eps is 1.5"),
        (lambda: fgsm(math.nan), "eps is nan"),
        (lambda: pgd(Norm.LINF, 1.5), "eps is 1.5"),
        (lambda: pgd(Norm.L2, 60.0), "eps is 60.0; it must be a number from 0 to 55.4"),
        (lambda: pgd(Norm.LINF, math.nan), "eps is nan"),
        (lambda: pgd(Norm.LINF, 0.03, steps=0), "steps is 0"),
        (lambda: pgd(Norm.LINF, 0.03, step_size=7.0), "step_size is 7.0"),
        (lambda: pgd(Norm.LINF, 0.03, step_size=math.inf), "step_size is inf"),
        (
            lambda: pgd(Norm.LINF, 0.03, random_start=False, restarts=2),
            "restarts is 2, but without a random start",
        ),
    ],
)
def test_bad_shorthands(make: Callable[[], AttackConfig], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_shorthands() -> None:
    assert fgsm(0.03) == AttackConfig(Norm.LINF, 0.03, 0.03, 1)
    assert pgd(Norm.LINF, 0.04, steps=5).step_size == pytest.approx(0.02)  # 2.5 · eps / steps
    assert pgd(Norm.LINF, 1.0, steps=1).step_size == 1.0  # the largest
    assert AttackConfig(Norm.L2, math.sqrt(3072), 0.1, 1).eps == math.sqrt(3072)


@pytest.mark.parametrize(("damage", "message"), BAD_IMAGES)
def test_bad_images(case: Case, damage: Callable[[Tensor], Tensor], message: str) -> None:
    images = damage(case.images)
    with pytest.raises(ConfigError, match=message):
        attack(case.ensemble, images, case.labels, fgsm(0.03))
    with pytest.raises(ConfigError, match=message):
        report_attack(case.ensemble, images, case.labels, Attack.PGD_L2)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda y: y.new_full((8,), 10), r"labels are \[10\]; classes are 0 to 9"),
        (lambda y: y.where(y != y[0], -1), "labels are .*-1.*; classes are 0 to 9"),
        (lambda y: y[:3], r"labels have shape \(3,\) for 8 images"),
        (lambda y: y[:, None], r"labels have shape \(8, 1\) for 8 images"),
    ],
)
def test_bad_labels(case: Case, damage: Callable[[Tensor], Tensor], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        attack(case.ensemble, case.images, damage(case.labels), fgsm(0.03))


@pytest.mark.parametrize("member", [-1, 3, 10**9])
def test_a_member_that_the_ensemble_does_not_have(case: Case, member: int) -> None:
    message = f"victim is member {member + 1}; this ensemble has members 1 to 3"
    with pytest.raises(ConfigError, match=message):
        case.attack(fgsm(0.03), Victim(member))
    with pytest.raises(ConfigError, match=message):
        report_attack(case.ensemble, case.images, case.labels, Attack.PGD_LINF, Victim(member))


NAMES = {
    "mixture": MIXTURE,
    "mixture-logit": Victim(through=Through.LOGIT),
    "mixture-tempered": Victim(through=Through.TEMPERED),
    "mixture-loss": Victim(through=Through.LOSS),
    "member-1": Victim(0),
    "member-2": Victim(1),
    "member-16": Victim(15),
}


def test_names_of_victims_are_read_back() -> None:
    for name, victim in NAMES.items():
        assert str(victim) == name
        assert parse_victim(name) == victim
    assert {str(Victim(through=through)) for through in Through} <= NAMES.keys()


LONG = "member-" + "9" * 5000  # longer than Python converts to an int
BAD_NAMES = ["", "member", "member-", "member-0", "member-x", "member--1", "member-٣", "member-²",
             "member-1\n", "member-1 ", "Mixture", "mixture-probability", "mixture-",
             "mixture-Loss", "mixture-logits", "logit", "submodel-1", "1"]  # fmt: skip


@pytest.mark.parametrize("name", [*BAD_NAMES, LONG])
def test_names_that_no_victim_has(name: str) -> None:
    with pytest.raises(ConfigError, match=r"victim is .*; it must be mixture, member-1, member-2"):
        parse_victim(name)
