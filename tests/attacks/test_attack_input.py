"""Bad settings, batches and victims are refused, each with a message that names the fault."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from dverge.attacks import (
    MIXTURE,
    Attack,
    AttackConfig,
    Norm,
    Victim,
    attack,
    fgsm,
    parse_victim,
    pgd,
    report_attack,
)
from dverge.errors import ConfigError
from dverge.models import Ensemble

GOOD: dict[str, Any] = {"norm": Norm.LINF, "eps": 0.03, "step_size": 0.007, "steps": 10}


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("eps", -1, "eps is -1; it must be a number from 0 to 1"),
        ("eps", math.nan, "eps is nan"),
        ("eps", math.inf, "eps is inf"),
        ("eps", -math.inf, "eps is -inf"),
        ("eps", 1.5, "eps is 1.5; it must be a number from 0 to 1"),
        ("eps", "0.03", "eps is '0.03'"),
        ("eps", None, "eps is None"),
        ("eps", True, "eps is True"),
        ("eps", 10**400, "eps is 1000"),
        ("step_size", -0.1, "step_size is -0.1"),
        ("step_size", math.nan, "step_size is nan"),
        ("steps", 0, "steps is 0; it must be a whole number from 1 to 1,000"),
        ("steps", 1001, "steps is 1001"),
        ("steps", 2.5, "steps is 2.5"),
        ("norm", "l7", "norm is 'l7'; it must be one of linf, l2"),
        ("norm", "linf", "norm is 'linf'"),
        ("norm", None, "norm is None"),
        ("restarts", 0, "restarts is 0"),
        ("restarts", 2, "restarts is 2, but without a random start"),
        ("momentum", -0.1, "momentum is -0.1; it must be a number from 0 to 1"),
        ("momentum", 1.01, "momentum is 1.01"),
        ("momentum", math.nan, "momentum is nan"),
        ("momentum", "1", "momentum is '1'"),
        ("seed", -1, "seed is -1"),
        ("seed", 2**31, "seed is 2147483648"),
    ],
)
def test_bad_settings(field: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
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
        (lambda: pgd(Norm.LINF, 0.03, random_start=False, restarts=2), "restarts is 2"),
    ],
)
def test_bad_shorthands(make: Callable[[], AttackConfig], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_the_largest_budgets_are_allowed() -> None:
    assert pgd(Norm.LINF, 1.0, steps=1).step_size == 1.0
    assert AttackConfig(Norm.L2, math.sqrt(3072), 0.1, 1).eps == math.sqrt(3072)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda x: x[0], r"images have shape \(3, 32, 32\); it must be N×3×32×32"),
        (lambda x: x[:, :1], r"images have shape \(8, 1, 32, 32\)"),
        (lambda x: x[..., :28], r"images have shape \(8, 3, 32, 28\)"),
        (lambda x: x.permute(0, 2, 3, 1), r"images have shape \(8, 32, 32, 3\)"),
        (lambda x: x * 255, r"outside \[0, 1\]; divide 0–255 pixels by 255"),
        (lambda x: (x * 255).byte(), r"outside \[0, 1\]"),
        (lambda x: x - 0.5, r"outside \[0, 1\]"),
        (lambda x: x.where(x != x.max(), torch.nan), r"outside \[0, 1\]"),
    ],
)
def test_bad_images(
    ensemble: Ensemble,
    images: Tensor,
    labels: Tensor,
    damage: Callable[[Tensor], Tensor],
    message: str,
) -> None:
    with pytest.raises(ConfigError, match=message):
        attack(ensemble, damage(images), labels, fgsm(0.03))
    with pytest.raises(ConfigError, match=message):
        report_attack(ensemble, damage(images), labels, Attack.PGD_L2)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda y: y.new_full((8,), 10), r"labels are \[10\]; classes are 0 to 9"),
        (lambda y: y.where(y != y[0], -1), "labels are .*-1.*; classes are 0 to 9"),
        (lambda y: y[:3], r"labels have shape \(3,\) for 8 images"),
        (lambda y: y[:, None], r"labels have shape \(8, 1\) for 8 images"),
    ],
)
def test_bad_labels(
    ensemble: Ensemble,
    images: Tensor,
    labels: Tensor,
    damage: Callable[[Tensor], Tensor],
    message: str,
) -> None:
    with pytest.raises(ConfigError, match=message):
        attack(ensemble, images, damage(labels), fgsm(0.03))


@pytest.mark.parametrize("member", [-1, 3, 10**9])
def test_a_victim_that_is_no_member(
    ensemble: Ensemble, images: Tensor, labels: Tensor, member: int
) -> None:
    message = f"victim is member {member + 1}; this ensemble has members 1 to 3"
    with pytest.raises(ConfigError, match=message):
        attack(ensemble, images, labels, fgsm(0.03), Victim(member))
    with pytest.raises(ConfigError, match=message):
        report_attack(ensemble, images, labels, Attack.PGD_LINF, Victim(member))


@pytest.mark.parametrize("victim", [MIXTURE, Victim(0), Victim(2), Victim(15)])
def test_a_victims_name_is_read_back(victim: Victim) -> None:
    assert parse_victim(str(victim)) == victim


@pytest.mark.parametrize(
    "name",
    [
        "",
        "member",
        "member-",
        "member-0",
        "member-x",
        "member--1",
        "member-٣",
        "member-²",
        "member-1\n",
        "member-1 ",
        "member-" + "9" * 5000,  # longer than Python turns into an int
        "Mixture",
        "submodel-1",
        "1",
    ],
)
def test_a_name_of_no_victim(name: str) -> None:
    with pytest.raises(ConfigError, match=r"victim is .*; it must be mixture, member-1, member-2"):
        parse_victim(name)
