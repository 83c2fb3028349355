"""The trainings behind the report's tables and figures, to be done again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from dverge.checkpoints import CheckpointInfo
from dverge.errors import CheckpointError
from dverge.reproduction.trained import trained_as
from dverge.runs.work import new_run_name
from dverge.training import PRESETS, Method, StartedConfig, TrainingConfig, config_from

TUNED = "tuned"  # as the preset and the recipe are called
RETRAINED: dict[str, tuple[Method, int]] = {
    "table-1": (Method.VANILLA, 30),
    "table-2": (Method.DVERGE, 200),
    "table-3": (Method.DVERGE_ADVT, 50),
    "figure-2": (Method.VANILLA, 100),
    "figure-3": (Method.DVERGE, 200),
    "figure-4": (Method.DVERGE_ADVT, 50),
    TUNED: (Method.ADVT, PRESETS[Method.ADVT][TUNED].epochs),
}
"""The method and epochs behind each table and figure, and the best recipe found.

Table 3's 25 epochs are a snapshot.
"""
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
        CheckpointError: there are no submodels to start from.
        ConfigError: the card's settings are not a training's, or the seed will not do.
    """
    method, epochs = RETRAINED[what]
    recipe = TUNED if what == TUNED else ""
    done = trained_as(infos, method, epochs, recipe)
    if done:
        config = config_from(method, done[0].card.config)
    else:
        config = _tuned(infos) if recipe else _recipe(method, epochs, infos)
    return replace(config, epochs=epochs, seed=config.seed if seed is None else seed)


def retraining_name(what: str, config: TrainingConfig, taken: set[str]) -> str:
    """A name that is free: that of the first such training, or one counted on from it.

    Args:
        what: a key of RETRAINED.
        config: its settings.
        taken: names there are already.
    """
    if config.epochs == PRESETS[config.method]["report"].epochs:
        return new_run_name(config, taken)
    apart = TUNED if what == TUNED else config.epochs
    named = f"{new_run_name(config, set())}-{apart}"
    return named if named not in taken else new_run_name(config, taken)


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


def _tuned(infos: Sequence[CheckpointInfo]) -> TrainingConfig:
    """The best recipe found, where there is no checkpoint of it."""
    config = PRESETS[Method.ADVT][TUNED]
    assert isinstance(config, StartedConfig)
    before = trained_as(infos, *RETRAINED["table-3"])
    if not before:
        raise CheckpointError(
            "there are no DVERGE+AdvT submodels of 50 epochs to start from. Train those of Table 3 "
            "first: python -m dverge reproduce --retrain table-3."
        )
    return replace(config, start=before[0].name, start_digest=before[0].digest)
