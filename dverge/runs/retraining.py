"""Training the ensembles behind the report's tables and figures again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from dverge.checkpoints import CheckpointInfo
from dverge.errors import CheckpointError
from dverge.reproduction.matching import find_trainings
from dverge.reproduction.printed import TUNED
from dverge.runs.work import new_run_name
from dverge.training import PRESETS, Method, StartedConfig, TrainingConfig, config_from

RETRAINED: dict[str, tuple[Method, int]] = {
    "table-1": (Method.VANILLA, 30),
    "table-2": (Method.DVERGE, 200),
    "table-3": (Method.DVERGE_ADVT, 50),
    "figure-2": (Method.VANILLA, 100),
    "figure-3": (Method.DVERGE, 200),
    "figure-4": (Method.DVERGE_ADVT, 50),
    TUNED: (Method.ADVT, PRESETS[Method.ADVT][TUNED].epochs),
}
"""The method and epochs behind each table and figure, and behind the best recipe found.

Table 3's 25 epochs are a snapshot of the 50.
"""
SNAPSHOT_EVERY = 25  # epochs, of Table 3


def retraining(
    what: str, infos: Sequence[CheckpointInfo], seed: int | None = None
) -> TrainingConfig:
    """The settings of a table's or figure's training: its card's, or the report's recipe.

    Args:
        what: a key of RETRAINED.
        infos: the checkpoints there are.
        seed: instead of the card's, for a further sample of the same recipe.

    Raises:
        CheckpointError: the submodels to start from are missing.
        ConfigError: the card's settings or the seed are outside their range.
    """
    method, epochs = RETRAINED[what]
    done = find_trainings(infos, method, epochs, TUNED if what == TUNED else "")
    config = config_from(method, done[0].card.config) if done else _recipe(what, infos)
    return replace(config, epochs=epochs, seed=config.seed if seed is None else seed)


def retraining_name(what: str, config: TrainingConfig, taken: set[str]) -> str:
    """A free name, such as vanilla-3xconv-s0-100, or one counted on from the first such name.

    Args:
        what: a key of RETRAINED.
        config: its settings.
        taken: the names there are.
    """
    if config.epochs == PRESETS[config.method]["report"].epochs:
        return new_run_name(config, taken)
    name = f"{new_run_name(config, set())}-{TUNED if what == TUNED else config.epochs}"
    return name if name not in taken else new_run_name(config, taken)


def _recipe(what: str, infos: Sequence[CheckpointInfo]) -> TrainingConfig:
    """The report's settings, or the tuned ones, where there is no checkpoint to take them from."""
    method, _ = RETRAINED[what]
    config = PRESETS[method][TUNED if what == TUNED else "report"]
    if not isinstance(config, StartedConfig):
        return config
    before, title = ("table-3", "DVERGE+AdvT") if what == TUNED else ("table-1", "vanilla")
    start = next(iter(find_trainings(infos, *RETRAINED[before])), None)
    if start is None:
        raise CheckpointError(
            f"there are no {title} submodels of {RETRAINED[before][1]} epochs to start from. Train "
            f"those of {before.replace('table-', 'Table ')} first: python -m dverge reproduce "
            f"--retrain {before}."
        )
    every = SNAPSHOT_EVERY if method is Method.DVERGE_ADVT else config.snapshot_every
    return replace(config, start=start.name, start_digest=start.digest, snapshot_every=every)
