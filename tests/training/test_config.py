"""Configs refuse what cannot be trained, by name, and survive JSON."""

from __future__ import annotations

import itertools
import json
import math
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

Refusal = tuple[str, Any, str]

OF_ALL: list[Refusal] = [
    ("members", 2.0, r"members is 2\.0"),
    ("members", True, "members is True"),
    ("members", 17, "members is 17"),
    ("epochs", 0, "epochs is 0; it must be a whole number from 1 to 1,000"),
    ("epochs", 1001, "epochs is 1001"),
    ("batch_size", 0, "batch_size is 0; it must be a whole number from 1 to 48,976"),
    ("batch_size", 48_977, "batch_size is 48977"),
    ("batch_size", "32", "batch_size is '32'"),
    ("training_images", 0, "training_images is 0; it must be a whole number from 1 to 48,976"),
    ("training_images", 48_977, "training_images is 48977"),
    ("learning_rate", 0, "learning_rate is 0; it must be a number from 1e-08 to 10"),
    ("learning_rate", -1, "learning_rate is -1"),
    ("learning_rate", math.nan, "learning_rate is nan"),
    ("learning_rate", math.inf, "learning_rate is inf"),
    ("learning_rate", None, "learning_rate is None"),
    ("momentum", 1, r"momentum is 1; it must be a number from 0 to 0\.999"),
    ("momentum", -0.1, r"momentum is -0\.1"),
    ("weight_decay", -1e-4, "weight_decay is -0.0001; it must be a number from 0 to 1"),
    ("weight_decay", math.nan, "weight_decay is nan"),
    ("schedule", "linear", "schedule is 'linear'; it must be one of constant, cosine, steps"),
    ("schedule", None, "schedule is None"),
    ("augmentation", "mixup", "augmentation is 'mixup'; it must be one of none, flip, crop-flip"),
    ("seed", -1, "seed is -1; it must be a whole number from 0 to"),
    ("seed", 2**31, "seed is 2147483648"),
    ("average_last", -1, "average_last is -1; it must be a whole number from 0 to"),
    ("average_last", 201, "average_last is 201"),
    ("snapshot_every", -1, "snapshot_every is -1; it must be a whole number from 0 to 1,000"),
    ("snapshot_every", 1001, "snapshot_every is 1001"),
    ("snapshot_every", 2.5, r"snapshot_every is 2\.5"),
    ("device", "tpu", "device is 'tpu'; it must be auto, cpu, cuda or cuda:N"),
    ("device", "cuda:", "device is 'cuda:'"),
    ("device", "cuda:-1", "device is 'cuda:-1'"),
    ("device", "cuda:²", "device is 'cuda:²'"),
    ("device", "cpu:1", "device is 'cpu:1'"),
    ("device", "", "device is ''"),
    ("device", 0, "device is 0"),
]
OF_STARTED: list[Refusal] = [
    ("start", None, "start is None; it must be a text"),
    ("start", 3, "start is 3"),
    ("start_digest", None, "start_digest is None; it must be a text"),
]
OF_ADVERSARIAL: list[Refusal] = [
    ("adv_eps", -0.1, r"adv_eps is -0\.1; it must be a number from 0 to 1"),
    ("adv_eps", 1.1, r"adv_eps is 1\.1"),
    ("adv_eps", math.nan, "adv_eps is nan"),
    ("adv_eps", "0.03", r"adv_eps is '0\.03'"),
    ("adv_step_size", -1, "adv_step_size is -1; it must be a number from 0 to 1"),
    ("adv_step_size", math.inf, "adv_step_size is inf"),
    ("adv_steps", 0, "adv_steps is 0; it must be a whole number from 1 to 1,000"),
    ("adv_steps", 1001, "adv_steps is 1001"),
    ("adv_steps", 2.5, r"adv_steps is 2\.5"),
    ("adv_random_start", 1, "adv_random_start is 1; it must be true or false"),
    ("adv_random_start", "yes", "adv_random_start is 'yes'"),
    ("adv_random_start", None, "adv_random_start is None"),
]
OF_DVERGE: list[Refusal] = [
    ("members", 1, "members is 1; it must be a whole number from 2 to 8"),
    ("members", 9, "members is 9; it must be a whole number from 2 to 8"),
    ("alpha", -1, "alpha is -1; it must be a number from 0 to 100"),
    ("alpha", 100.5, r"alpha is 100\.5"),
    ("alpha", math.nan, "alpha is nan"),
    ("alpha", None, "alpha is None"),
    ("clean_weight", -1, "clean_weight is -1; it must be a number from 0 to 100"),
    ("clean_weight", math.inf, "clean_weight is inf"),
    ("layer", "6", "layer is '6'; it must be one of epoch, batch, 1, 2, 3, 4, 5"),
    ("layer", "0", "layer is '0'"),
    ("layer", 3, "layer is 3"),
    ("layer", "", "layer is ''"),
    ("layer", None, "layer is None"),
    ("distill_eps", 1.01, r"distill_eps is 1\.01; it must be a number from 0 to 1"),
    ("distill_eps", math.nan, "distill_eps is nan"),
    ("distill_step_size", -0.007, r"distill_step_size is -0\.007; it must be a number from 0 to 1"),
    ("distill_step_size", "a", "distill_step_size is 'a'"),
    ("distill_steps", 0, "distill_steps is 0; it must be a whole number from 1 to 1,000"),
    ("distill_steps", 1001, "distill_steps is 1001"),
    ("distill_steps", 10.0, r"distill_steps is 10\.0"),
    ("distill_momentum", 1.1, r"distill_momentum is 1\.1; it must be a number from 0 to 1"),
    ("distill_momentum", -1, "distill_momentum is -1"),
    ("distill_momentum", math.nan, "distill_momentum is nan"),
    ("distill_random_start", 0, "distill_random_start is 0; it must be true or false"),
    ("diversity", "eq5", "diversity is 'eq5'; it must be one of eq4, eq3"),
    ("diversity", None, "diversity is None"),
    ("cap", -1, "cap is -1; it must be a number from 0 to 1000"),
    ("cap", 1001, "cap is 1001"),
    ("cap", math.inf, "cap is inf"),
]
REFUSED: dict[type[TrainingConfig], list[Refusal]] = {
    VanillaConfig: [
        *OF_ALL,
        ("members", 0, "members is 0; it must be a whole number from 1 to 16"),
    ],
    DvergeConfig: [*OF_ALL, *OF_STARTED, *OF_DVERGE],
    DvergeAdvtConfig: [
        *OF_ALL,
        *OF_STARTED,
        *OF_DVERGE,
        *OF_ADVERSARIAL,
        ("adv_weight", -1, "adv_weight is -1; it must be a number from 0 to 100"),
        ("adv_weight", math.nan, "adv_weight is nan"),
    ],
    AdvtConfig: [
        *OF_ALL,
        *OF_STARTED,
        *OF_ADVERSARIAL,
        ("members", 0, "members is 0; it must be a whole number from 1 to 16"),
        ("attacked", "all", "attacked is 'all'; it must be one of members, mixture"),
        ("joint", 1, "joint is 1; it must be true or false"),
        ("joint", True, "joint is True; it must be false where each member is attacked"),
        ("clean_weight", -1, "clean_weight is -1; it must be a number from 0 to 100"),
        ("clean_weight", math.nan, "clean_weight is nan"),
    ],
}


@pytest.mark.parametrize("kind", REFUSED)
def test_bad_values_are_refused(kind: type[TrainingConfig]) -> None:
    """Made here or read from a file, each with a message of its own."""
    for field, value, message in REFUSED[kind]:
        with pytest.raises(ConfigError, match=f"^{message}"):
            kind(**{field: value})
        with pytest.raises(ConfigError, match=f"^{message}"):
            kind.from_dict({**kind().to_dict(), field: value})


@pytest.mark.parametrize("kind", REFUSED)
def test_every_field_refuses_something(kind: type[TrainingConfig]) -> None:
    assert {field.name for field in fields(kind)} == {field for field, *_ in REFUSED[kind]}


def test_the_ends_of_the_ranges_are_allowed() -> None:
    for config in (
        VanillaConfig(members=16, epochs=1000, learning_rate=10, momentum=0.999, weight_decay=1),
        DvergeConfig(members=8, alpha=100, clean_weight=100, distill_eps=1, distill_steps=1000),
        DvergeConfig(members=2, alpha=0, distill_eps=0, distill_step_size=0, cap=1000),
        DvergeAdvtConfig(adv_weight=0, adv_eps=0, adv_step_size=0, adv_steps=1),
        AdvtConfig(members=1, adv_eps=1, adv_step_size=1, adv_steps=1000, snapshot_every=1000),
    ):
        assert CONFIGS[config.method] is type(config)


def test_a_batch_holds_no_more_than_the_images_used() -> None:
    assert VanillaConfig(training_images=100, batch_size=100).batch_size == 100
    with pytest.raises(
        ConfigError, match=r"batch_size is 101; it must be a whole number from 1 to 100"
    ):
        VanillaConfig(training_images=100, batch_size=101)


def test_unknown_fields_are_refused() -> None:
    with pytest.raises(ConfigError, match="unknown fields: alpha, eps"):
        VanillaConfig.from_dict({"eps": 0.1, "alpha": 1, "seed": 3})
    assert DvergeConfig.from_dict({"alpha": 1, "seed": 3}).alpha == 1
    with pytest.raises(ConfigError, match="unknown fields: adv_eps"):
        DvergeConfig.from_dict({"alpha": 1, "adv_eps": 0.1})


@pytest.mark.parametrize("method", ["pgd", "", None, "VANILLA"])
def test_unknown_methods_are_refused(method: Any) -> None:
    known = "it must be one of vanilla, dverge, dverge-advt, advt"
    with pytest.raises(ConfigError, match=f"method is {method!r}; {known}"):
        config_from(method, {})


FAR: list[TrainingConfig] = [
    VanillaConfig(
        members=16,
        epochs=1,
        batch_size=1,
        learning_rate=1e-8,
        momentum=0,
        weight_decay=1,
        schedule=Schedule.STEPS,
        augmentation=Augmentation.CROP_FLIP,
        seed=2**31 - 1,
        device="cuda:1",  # a device of another machine does not make its runs unreadable
        training_images=1,
    ),
    DvergeConfig(
        start="a",
        start_digest="b",
        layer=LayerChoice.LAYER_3,
        diversity=Diversity.EQ3,
        distill_random_start=True,
        cap=2.5,
    ),
    DvergeAdvtConfig(adv_random_start=False, layer=LayerChoice.BATCH, snapshot_every=7),
    AdvtConfig(attacked=Attacked.MIXTURE, joint=True, start="c"),
]


@pytest.mark.parametrize(
    "config",
    [*itertools.chain(*(presets.values() for presets in PRESETS.values())), *FAR],
    ids=lambda config: config.method,
)
def test_round_trip_through_json(config: TrainingConfig) -> None:
    again = config_from(str(config.method), json.loads(json.dumps(config.to_dict())))
    assert again == config
    assert type(again) is type(config)
    for field in fields(config):  # an enum's member, not its bare value
        assert type(getattr(again, field.name)) is type(getattr(config, field.name))


def test_every_method_has_its_presets() -> None:
    assert set(PRESETS) == set(CONFIGS) == set(Method)
    for method, presets in PRESETS.items():
        assert {"report", "quick"} <= presets.keys()
        assert all(config.method is method for config in presets.values())
        assert len(set(presets.values())) == len(presets)


@pytest.mark.parametrize("method", Method)
def test_fields_left_out_are_the_reports(method: Method) -> None:
    report = PRESETS[method]["report"]
    assert config_from(str(method), {}) == report
    assert (report.members, report.batch_size) == (3, 32)
    assert (report.learning_rate, report.momentum, report.weight_decay) == (1e-3, 0.9, 0)
    assert (report.schedule, report.augmentation) == (Schedule.CONSTANT, Augmentation.NONE)
    assert report.training_images == TRAINING_IMAGES == 50_000 - 1_024
    assert report.epochs == {"vanilla": 30, "dverge": 200, "dverge-advt": 50, "advt": 50}[method]


@pytest.mark.parametrize("kind", [DvergeConfig, DvergeAdvtConfig])
def test_the_reports_algorithm_1(kind: type[DvergeConfig]) -> None:
    """A layer an epoch, Eq. 4 without its first term, and Eq. 1 in ten steps."""
    report = kind()
    assert (report.layer, report.diversity) == (LayerChoice.EPOCH, Diversity.EQ4)
    assert (report.alpha, report.clean_weight, report.cap) == (1, 0, 0)
    assert not report.distill_random_start
    assert report.distillation == REPORT_DISTILLATION
    assert kind(distill_momentum=0.4).distillation.momentum == 0.4


@pytest.mark.parametrize("config", [DvergeAdvtConfig(), AdvtConfig()])
def test_the_reports_adversarial_training(config: DvergeAdvtConfig | AdvtConfig) -> None:
    assert config.pgd == AttackConfig(Norm.LINF, 0.03, 0.007, 10)
    assert config.adv_random_start


@pytest.mark.parametrize(
    ("choice", "fixed"), [("epoch", None), ("batch", None), ("1", 1), ("5", 5)]
)
def test_a_fixed_layer(choice: str, fixed: int | None) -> None:
    assert LayerChoice(choice).fixed == fixed


def test_devices() -> None:
    assert resolve_device("cpu") == torch.device("cpu")
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("name", ["cuda:9", "cuda:99", "tpu", "cuda:x", "CPU"])
def test_devices_that_are_not_here_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"device is '{name}'.*(auto|cpu)"):
        resolve_device(name)
