"""Settings of a vanilla pretraining, its presets, and devices."""

from __future__ import annotations

import enum
import re
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch

from dverge.data import Augmentation
from dverge.errors import ConfigError, require, require_choice, require_integer, require_number

TRAINING_IMAGES = 48_976  # all but the 1,024 validation images
DEVICE_NAME = re.compile(r"auto|cpu|cuda(:[0-9]{1,3})?")


def check_device_name(name: str) -> None:
    """Raise ConfigError unless this can be a device's name, be that device here or not."""
    known = isinstance(name, str) and DEVICE_NAME.fullmatch(name) is not None
    require(known, "device", name, "auto, cpu, cuda or cuda:N")


class Schedule(enum.StrEnum):
    """How the learning rate goes over the epochs."""

    CONSTANT = "constant"
    COSINE = "cosine"  # falls to zero along half a cosine, batch by batch
    STEPS = "steps"  # a tenth after half of the epochs, a hundredth after three quarters


@dataclass(frozen=True)
class VanillaConfig:
    """A vanilla pretraining; the defaults are the report's recipe (section 3.1).

    Attributes:
        members: classifiers trained side by side, 1 to 16.
        epochs: 1 to 1,000.
        batch_size: 1 to the number of training images.
        learning_rate: of SGD, above 0, at most 10.
        momentum: of SGD, 0 to 0.999.
        weight_decay: L2 penalty, 0 to 1.
        schedule: course of the learning rate.
        augmentation: random crops and flips of the training images, or none.
        seed: of the initial weights and of each member's order of images.
        device: auto (CUDA if there is one), cpu, cuda or cuda:N.
        training_images: how many of the 48,976 are used, the first ones.

    Raises:
        ConfigError: a value is outside its range.
    """

    members: int = 3
    epochs: int = 30
    batch_size: int = 32
    learning_rate: float = 1e-3
    momentum: float = 0.9
    weight_decay: float = 0.0
    schedule: Schedule = Schedule.CONSTANT
    augmentation: Augmentation = Augmentation.NONE
    seed: int = 0
    device: str = "auto"
    training_images: int = TRAINING_IMAGES

    def __post_init__(self) -> None:
        require_integer("members", self.members, 1, 16)
        require_integer("epochs", self.epochs, 1, 1000)
        require_integer("training_images", self.training_images, 1, TRAINING_IMAGES)
        require_integer("batch_size", self.batch_size, 1, self.training_images)
        require_number("learning_rate", self.learning_rate, 1e-8, 10)
        require_number("momentum", self.momentum, 0, 0.999)
        require_number("weight_decay", self.weight_decay, 0, 1)
        require_integer("seed", self.seed, 0, 2**31 - 1)
        check_device_name(self.device)
        # A config read from JSON holds the enums' bare values.
        object.__setattr__(self, "schedule", require_choice(Schedule, "schedule", self.schedule))
        augmentation = require_choice(Augmentation, "augmentation", self.augmentation)
        object.__setattr__(self, "augmentation", augmentation)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> VanillaConfig:
        """The inverse of to_dict.

        Raises:
            ConfigError: a field is unknown or a value outside its range.
        """
        unknown = values.keys() - {field.name for field in fields(cls)}
        if unknown:
            raise ConfigError(f"training config has unknown fields: {', '.join(sorted(unknown))}.")
        return cls(**values)


PRESETS: dict[str, VanillaConfig] = {
    "report": VanillaConfig(),
    "quick": VanillaConfig(
        epochs=5, training_images=10_000, learning_rate=3e-2, schedule=Schedule.COSINE
    ),
}


def resolve_device(name: str) -> torch.device:
    """The device of that name; "auto" is CUDA where there is one, else the CPU.

    Raises:
        ConfigError: the name is no device's, or that device is not on this machine.
    """
    check_device_name(name)
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"device is {name!r}, but this machine has {torch.cuda.device_count()} CUDA devices; "
            "choose auto or cpu."
        )
    return device


def describe_device(device: torch.device) -> str:
    """The device in words: the GPU's name, or the CPU with its number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads"
