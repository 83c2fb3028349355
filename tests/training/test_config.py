"""Configs refuse what cannot be trained, naming the field, and survive JSON."""

from __future__ import annotations

import itertools
import json
import math
import re
from dataclasses import fields
from typing import Any

import pytest
import torch

from dverge.attacks import REPORT_DISTILLATION, AttackConfig, Norm
from dverge.data import Augmentation
from dverge.devices import resolve_device
from dverge.errors import ConfigError
from dverge.training import (
    CONFIGS,
    PRESETS,
    TRAINING_IMAGES,
    AdvtConfig,
    Attacked,
    Diversity,
    DvergeAdvtConfig,
    DvergeConfig,
    LayerChoice,
    Method,
    Schedule,
    TrainingConfig,
    VanillaConfig,
    config_from,
)

Refusals = dict[str, tuple[list[Any], str]]
"""For each field, values that are refused and what the message says is allowed."""

UP_TO_1 = ([-0.1, 1.1, -1, math.nan, math.inf, "0.03", None, True], "a number from 0 to 1")
WEIGHT = ([-1, 100.5, math.nan, math.inf, None, "1"], "a number from 0 to 100")
STEPS = ([0, 1001, 2.5, 10.0, True, "10", None], "a whole number from 1 to 1,000")
FLAG = ([0, 1, "yes", None], "true or false")
TEXT = ([None, 3], "a text")
COMMON: Refusals = {
    "epochs": STEPS,
    "batch_size": ([0, 48_977, "32", True, None], "a whole number from 1 to 48,976"),
    "training_images": ([0, 48_977, 10.0], "a whole number from 1 to 48,976"),
    "learning_rate": ([0, -1, 11, math.nan, math.inf, None], "a number from 1e-08 to 10"),
    "momentum": ([1, -0.1], "a number from 0 to 0.999"),
    "weight_decay": UP_TO_1,
    "schedule": (["linear", None], "one of constant, cosine, steps"),
    "augmentation": (["mixup", None], "one of none, flip, crop-flip"),
    "seed": ([-1, 2**31, 0.0], "a whole number from 0 to 2,147,483,647"),
    "snapshot_every": ([-1, 1001, 2.5], "a whole number from 0 to 1,000"),
    "device": (["tpu", "cuda:", "cuda:-1", "cuda:²", "cpu:1", "", 0], "auto, cpu, cuda or cuda:N"),
}
UP_TO_16 = ([0, 17, 2.0, True, None], "a whole number from 1 to 16")
STARTED: Refusals = {"start": TEXT, "start_digest": TEXT}
ADVERSARIAL: Refusals = {
    "adv_eps": UP_TO_1,
    "adv_step_size": UP_TO_1,
    "adv_steps": STEPS,
    "adv_random_start": FLAG,
}
DVERGE: Refusals = {
    "members": ([1, 9, 17, 2.0, True], "a whole number from 2 to 8"),
    "average_last": ([-1, 201], "a whole number from 0 to 200"),
    "alpha": WEIGHT,
    "clean_weight": WEIGHT,
    "layer": (["6", "0", 3, "", None], "one of epoch, batch, 1, 2, 3, 4, 5"),
    "distill_eps": UP_TO_1,
    "distill_step_size": UP_TO_1,
    "distill_steps": STEPS,
    "distill_momentum": UP_TO_1,
    "distill_random_start": FLAG,
    "diversity": (["eq5", None], "one of eq4, eq3"),
    "cap": ([-1, 1001, math.inf], "a number from 0 to 1000"),
}
UP_TO_50_EPOCHS: Refusals = {"average_last": ([-1, 51, 1.0], "a whole number from 0 to 50")}
REFUSED: dict[type[TrainingConfig], Refusals] = {
    VanillaConfig: {
        **COMMON,
        "members": UP_TO_16,
        "average_last": ([-1, 31], "a whole number from 0 to 30"),
    },
    DvergeConfig: COMMON | STARTED | DVERGE,
    DvergeAdvtConfig: COMMON
    | STARTED
    | DVERGE
    | ADVERSARIAL
    | UP_TO_50_EPOCHS
    | {"adv_weight": WEIGHT},
    AdvtConfig: {
        **COMMON,
        **STARTED,
        **ADVERSARIAL,
        **UP_TO_50_EPOCHS,
        "members": UP_TO_16,
        "attacked": (["all"], "one of members, mixture"),
        "joint": FLAG,
        "clean_weight": WEIGHT,
    },
}


@pytest.mark.parametrize("kind", REFUSED)
def test_bad_values_are_refused(kind: type[TrainingConfig]) -> None:
    """Every field refuses something, made here or read from a file, with its own message."""
    assert {field.name for field in fields(kind)} == REFUSED[kind].keys()
    for field, (values, allowed) in REFUSED[kind].items():
        for value in values:
            message = f"^{re.escape(f'{field} is {value!r}; it must be {allowed}.')}$"
            with pytest.raises(ConfigError, match=message):
                kind(**{field: value})
            with pytest.raises(ConfigError, match=message):
                kind.from_dict({**kind().to_dict(), field: value})


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (VanillaConfig, {"training_images": 100, "batch_size": 101}, "batch_size is 101.* to 100"),
        (VanillaConfig, {"training_images": 100, "batch_size": 0}, "batch_size is 0.* to 100"),
        (AdvtConfig, {"epochs": 5, "average_last": 6}, "average_last is 6.* from 0 to 5"),
        (AdvtConfig, {"joint": True}, "joint is True.*false where each member is attacked"),
        (VanillaConfig, {"eps": 0.1, "alpha": 1, "seed": 3}, "unknown fields: alpha, eps"),
        (DvergeConfig, {"alpha": 1, "adv_eps": 0.1}, "unknown fields: adv_eps"),
    ],
)
def test_values_that_do_not_go_together_are_refused(
    kind: type[TrainingConfig], values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        kind.from_dict(values)


@pytest.mark.parametrize("method", ["pgd", "", None, "VANILLA"])
def test_unknown_methods_are_refused(method: Any) -> None:
    known = "it must be one of vanilla, dverge, dverge-advt, advt"
    with pytest.raises(ConfigError, match=f"method is {method!r}; {known}"):
        config_from(method, {})


EXTREMES: list[TrainingConfig] = [
    VanillaConfig(members=16, epochs=1, batch_size=1, training_images=1, learning_rate=1e-8),
    VanillaConfig(epochs=1000, batch_size=9, training_images=9, learning_rate=10, momentum=0.999),
    VanillaConfig(momentum=0, weight_decay=1, schedule=Schedule.STEPS, seed=2**31 - 1),
    # A device of another machine does not make its runs unreadable.
    VanillaConfig(augmentation=Augmentation.CROP_FLIP, device="cuda:1"),
    DvergeConfig(start="a", start_digest="b", layer=LayerChoice.LAYER_3),
    DvergeConfig(diversity=Diversity.EQ3, cap=2.5, distill_random_start=True),
    DvergeConfig(members=8, alpha=100, clean_weight=100, distill_eps=1, distill_steps=1000),
    DvergeConfig(members=2, alpha=0, distill_eps=0, distill_step_size=0, cap=1000),
    DvergeAdvtConfig(adv_random_start=False, layer=LayerChoice.BATCH, snapshot_every=7),
    DvergeAdvtConfig(members=8, adv_weight=0, adv_eps=0, adv_step_size=0, adv_steps=1),
    AdvtConfig(attacked=Attacked.MIXTURE, joint=True, start="c", average_last=50),
    AdvtConfig(members=1, adv_eps=1, adv_step_size=1, adv_steps=1000, snapshot_every=1000),
]


@pytest.mark.parametrize(
    "config",
    [*itertools.chain(*(presets.values() for presets in PRESETS.values())), *EXTREMES],
    ids=lambda config: config.method,
)
def test_round_trip_through_json(config: TrainingConfig) -> None:
    again = config_from(str(config.method), json.loads(json.dumps(config.to_dict())))
    assert again == config
    assert type(again) is type(config) is CONFIGS[config.method]
    for field in fields(config):  # an enum's member, not its bare value
        assert type(getattr(again, field.name)) is type(getattr(config, field.name))


def test_every_method_has_its_presets() -> None:
    assert set(PRESETS) == set(CONFIGS) == set(Method)
    for method, presets in PRESETS.items():
        assert {"report", "quick"} <= presets.keys()
        assert all(config.method is method for config in presets.values())
        assert len(set(presets.values())) == len(presets)


@pytest.mark.parametrize("method", Method)
def test_the_defaults_are_the_reports(method: Method) -> None:
    report = PRESETS[method]["report"]
    assert CONFIGS[method].from_dict({}) == report
    assert (report.members, report.batch_size) == (3, 32)
    assert (report.learning_rate, report.momentum, report.weight_decay) == (1e-3, 0.9, 0)
    assert (report.schedule, report.augmentation) == (Schedule.CONSTANT, Augmentation.NONE)
    assert report.training_images == TRAINING_IMAGES == 50_000 - 1_024
    assert report.epochs == {"vanilla": 30, "dverge": 200, "dverge-advt": 50, "advt": 50}[method]
    if isinstance(report, DvergeConfig):  # Algorithm 1: Eq. 4 without its first term
        assert (report.layer, report.diversity) == (LayerChoice.EPOCH, Diversity.EQ4)
        assert (report.alpha, report.clean_weight, report.cap) == (1, 0, 0)
        assert not report.distill_random_start
        assert report.distillation == REPORT_DISTILLATION
        assert type(report)(distill_momentum=0.4).distillation.momentum == 0.4
    if isinstance(report, DvergeAdvtConfig | AdvtConfig):
        assert report.pgd == AttackConfig(Norm.LINF, 0.03, 0.007, 10)
        assert report.adv_random_start


@pytest.mark.parametrize(
    ("choice", "fixed"), [("epoch", None), ("batch", None), ("1", 1), ("5", 5)]
)
def test_a_fixed_layer(choice: str, fixed: int | None) -> None:
    assert LayerChoice(choice).fixed == fixed


def test_devices() -> None:
    assert resolve_device("cpu") == torch.device("cpu")
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    for name in ("cuda:9", "cuda:99", "tpu", "cuda:x", "CPU"):
        with pytest.raises(ConfigError, match=f"device is '{name}'.*(auto|cpu)"):
            resolve_device(name)
