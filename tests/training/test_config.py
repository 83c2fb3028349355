"""Configs refuse what cannot be trained, by name, and survive JSON."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch

from dverge.data import Augmentation
from dverge.errors import ConfigError
from dverge.training import PRESETS, TRAINING_IMAGES, Schedule, VanillaConfig, resolve_device

REFUSED: list[tuple[str, Any, str]] = [
    ("members", 0, r"members is 0; it must be a whole number from 1 to 16"),
    ("members", 17, "members is 17"),
    ("members", 2.0, r"members is 2\.0"),
    ("members", True, "members is True"),
    ("epochs", 0, "epochs is 0; it must be a whole number from 1 to 1,000"),
    ("epochs", 1001, "epochs is 1001"),
    ("batch_size", 0, "batch_size is 0; it must be a whole number from 1 to 48,976"),
    ("batch_size", 48_977, "batch_size is 48977"),
    ("batch_size", "32", "batch_size is '32'"),
    ("training_images", 0, "training_images is 0"),
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
    ("augmentation", "mixup", "augmentation is 'mixup'; it must be one of none, crop-flip"),
    ("seed", -1, "seed is -1; it must be a whole number from 0 to"),
    ("seed", 2**31, "seed is 2147483648"),
    ("device", "tpu", "device is 'tpu'; it must be auto, cpu, cuda or cuda:N"),
    ("device", "cuda:", "device is 'cuda:'"),
    ("device", "cuda:-1", "device is 'cuda:-1'"),
    ("device", "cuda:²", "device is 'cuda:²'"),
    ("device", "cpu:1", "device is 'cpu:1'"),
    ("device", "", "device is ''"),
    ("device", 0, "device is 0"),
]


@pytest.mark.parametrize(("field", "value", "message"), REFUSED)
def test_bad_values_are_refused(field: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        VanillaConfig(**{field: value})
    with pytest.raises(ConfigError, match=message):
        VanillaConfig.from_dict({**VanillaConfig().to_dict(), field: value})


def test_a_batch_holds_no_more_than_the_images_used() -> None:
    assert VanillaConfig(training_images=100, batch_size=100).batch_size == 100
    with pytest.raises(
        ConfigError, match=r"batch_size is 101; it must be a whole number from 1 to 100"
    ):
        VanillaConfig(training_images=100, batch_size=101)


def test_unknown_fields_are_refused() -> None:
    with pytest.raises(ConfigError, match="unknown fields: alpha, eps"):
        VanillaConfig.from_dict({"eps": 0.1, "alpha": 1, "seed": 3})


@pytest.mark.parametrize(
    "config",
    [
        *PRESETS.values(),
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
    ],
)
def test_round_trip_through_json(config: VanillaConfig) -> None:
    again = VanillaConfig.from_dict(json.loads(json.dumps(config.to_dict())))
    assert again == config
    assert isinstance(again.schedule, Schedule)
    assert isinstance(again.augmentation, Augmentation)


def test_fields_left_out_are_the_reports_recipe() -> None:
    assert VanillaConfig.from_dict({}) == PRESETS["report"]
    report = PRESETS["report"]
    assert (report.members, report.epochs, report.batch_size) == (3, 30, 32)
    assert (report.learning_rate, report.momentum, report.weight_decay) == (1e-3, 0.9, 0)
    assert (report.schedule, report.augmentation) == (Schedule.CONSTANT, Augmentation.NONE)
    assert report.training_images == TRAINING_IMAGES == 50_000 - 1_024


def test_devices() -> None:
    assert resolve_device("cpu") == torch.device("cpu")
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("name", ["cuda:9", "cuda:99", "tpu", "cuda:x", "CPU"])
def test_devices_that_are_not_here_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"device is '{name}'.*(auto|cpu)"):
        resolve_device(name)
