"""The members that a training starts from: new ones, or those of a checkpoint."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TypeVar

import torch

from dverge import checkpoints
from dverge.errors import CheckpointError, ConfigError
from dverge.models import Conv, Ensemble, seeded_conv
from dverge.seeds import derive_seed
from dverge.training.config import StartedConfig, TrainingConfig

Config = TypeVar("Config", bound=TrainingConfig)


def load_start(config: TrainingConfig, root: Path | None = None) -> Ensemble | None:
    """The ensemble that a training starts from; None for new members.

    Args:
        config: of any method.
        root: the folder of checkpoints; None for the default one.

    Raises:
        CheckpointError: there is no such checkpoint, it is broken or of another architecture, or
            its weights have changed since the training was set up.
        ConfigError: it has fewer members than the training.
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
    """The config with the digest of its start, and with the start's name or absolute folder.

    So a run can be resumed from any working directory, and with the same weights alone.

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


def initial_members(
    config: TrainingConfig, device: torch.device, start: Ensemble | None
) -> list[Conv]:
    """New members, or copies of the first members of the ensemble to start from.

    Raises:
        ConfigError: that ensemble has too few members.
    """
    members = [seeded_conv(derive_seed(config.seed, "weights", i)) for i in range(config.members)]
    if start is not None:
        if len(start) < config.members:
            raise ConfigError(
                f"members is {config.members}; the checkpoint to start from has {len(start)}."
            )
        for member, trained in zip(members, start.members, strict=False):
            member.load_state_dict(trained.state_dict())
    return [member.to(device).requires_grad_(False) for member in members]
