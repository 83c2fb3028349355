"""The checkpoint that a training goes on from."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TypeVar

from dverge import checkpoints
from dverge.errors import CheckpointError, ConfigError
from dverge.models import Ensemble
from dverge.training.config import StartedConfig, TrainingConfig

Config = TypeVar("Config", bound=TrainingConfig)


def load_start(config: TrainingConfig, root: Path | None = None) -> Ensemble | None:
    """The ensemble that a training starts from; None if its members are fresh.

    Args:
        config: of any method.
        root: the folder of checkpoints; the default one if None.

    Raises:
        CheckpointError: there is no such checkpoint, it is broken or of another architecture, or
            it has been replaced since the training was set up.
        ConfigError: it has fewer members than the training is to have.
    """
    if not isinstance(config, StartedConfig) or not config.start:
        return None
    info = checkpoints.read(checkpoints.find(config.start, root))
    if config.start_digest and info.digest != config.start_digest:
        raise CheckpointError(
            f"checkpoint {config.start!r} has other weights than when this training was set up. "
            "Restore it, or set the training up anew."
        )
    if len(info.card.members) < config.members:
        raise ConfigError(
            f"members is {config.members}; checkpoint {info.name!r} to start from has "
            f"{len(info.card.members)}. Ask for fewer, or start from another."
        )
    return checkpoints.load(info)


def with_fixed_start(config: Config, root: Path | None = None) -> Config:
    """The config with its start, found good, named for good: by name or full path, and digest.

    Raises:
        CheckpointError, ConfigError: see load_start.
    """
    if load_start(config, root) is None:
        return config
    assert isinstance(config, StartedConfig)
    info = checkpoints.read(checkpoints.find(config.start, root))
    home = (root or checkpoints.checkpoints_folder()).absolute()
    start = info.name if info.folder.parent == home else str(info.folder)
    return dataclasses.replace(config, start=start, start_digest=info.digest)
