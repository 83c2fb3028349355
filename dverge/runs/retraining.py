"""The trainings behind the report's tables and figures, to be done again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from dverge.checkpoints import CheckpointInfo
from dverge.errors import CheckpointError
from dverge.reproduction import trained_as
from dverge.runs.work import new_run_name
from dverge.training import PRESETS, Method, StartedConfig, TrainingConfig, config_from

RETRAINED: dict[str, tuple[Method, int]] = {
    "table-1": (Method.VANILLA, 30),
    "table-2": (Method.DVERGE, 200),
    "table-3": (Method.DVERGE_ADVT, 50),
    "figure-2": (Method.VANILLA, 100),
    "figure-3": (Method.DVERGE, 200),
    "figure-4": (Method.DVERGE_ADVT, 50),
}
"""The method and epochs behind each table and figure; Table 3's 25 epochs are a snapshot."""
SNAPSHOT_EVERY = 25  # epochs, of Table 3


def retraining(
    what: str, infos: Sequence[CheckpointInfo], seed: int | None = None
) -> TrainingConfig:
    """The settings of a table's or figure's training: its card's, or the report's recipe.

    Args:
        what: a key of RETRAINED.
        infos: the checkpoints there are.
        seed: another one than the card's, for a further sample of the same.

    Raises:
        CheckpointError: there are no vanilla submodels to start from.
        ConfigError: the card's settings are not a training's, or the seed will not do.
    """
    method, epochs = RETRAINED[what]
    done = trained_as(infos, method, epochs)
    config = config_from(method, done[0].card.config) if done else _recipe(method, epochs, infos)
    return replace(config, epochs=epochs, seed=config.seed if seed is None else seed)


def retraining_name(config: TrainingConfig, taken: set[str]) -> str:
    """A name that is free: that of the first such training, or one counted on from it."""
    if config.epochs == PRESETS[config.method]["report"].epochs:
        return new_run_name(config, taken)
    longer = f"{new_run_name(config, set())}-{config.epochs}"
    return longer if longer not in taken else new_run_name(config, taken)


def _recipe(method: Method, epochs: int, infos: Sequence[CheckpointInfo]) -> TrainingConfig:
    """The report's settings, for a table that there is no checkpoint of."""
    config = replace(PRESETS[method]["report"], epochs=epochs)
    if not isinstance(config, StartedConfig):
        return config
    vanilla = trained_as(infos, Method.VANILLA, PRESETS[Method.VANILLA]["report"].epochs)
    if not vanilla:
        raise CheckpointError(
            "there are no vanilla submodels of 30 epochs to start from. Train those of Table 1 "
            "first: python -m dverge reproduce --retrain table-1."
        )
    every = SNAPSHOT_EVERY if method is Method.DVERGE_ADVT else 0
    first = vanilla[0]
    return replace(config, start=first.name, start_digest=first.digest, snapshot_every=every)
