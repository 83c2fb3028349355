"""The settings with which the report's trainings are done again."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from dverge import checkpoints
from dverge.errors import CheckpointError, ConfigError
from dverge.runs.retraining import RETRAINED, TUNED, retraining, retraining_name
from dverge.training import PRESETS, DvergeAdvtConfig, DvergeConfig, Method, VanillaConfig
from tests.reproduction.report_shelf import trained

SHIPPED = Path(__file__).parents[2] / "checkpoints"


@pytest.mark.parametrize(
    ("what", "name"),
    [
        ("table-1", "vanilla-3xconv-s0"),
        ("table-2", "dverge-3xconv-s0"),
        ("table-3", "dverge-advt-3xconv-s0"),
        ("figure-3", "dverge-3xconv-s0"),
        ("figure-4", "dverge-advt-3xconv-s0"),
    ],
)
def test_the_settings_are_exactly_those_of_the_card(what: str, name: str) -> None:
    infos = checkpoints.list_all(SHIPPED)[0]
    config = retraining(what, infos)
    card = checkpoints.read(SHIPPED / name).card
    assert str(config.method) == card.method
    later = {"average_last": 0}  # a setting that cards written before it lack
    assert config.to_dict() == later | card.config
    assert retraining(what, infos, 7).to_dict() == config.to_dict() | {"seed": 7}


def test_a_bad_seed_is_refused() -> None:
    with pytest.raises(ConfigError, match="seed is -1"):
        retraining("table-1", [], -1)


def test_without_a_checkpoint_it_is_the_reports_recipe(tmp_path: Path) -> None:
    assert retraining("table-1", []) == VanillaConfig()
    assert retraining("figure-2", []) == VanillaConfig(epochs=100)
    tuned = trained(tmp_path, "tuned", "vanilla", 30, learning_rate=0.05)
    assert retraining("table-1", [tuned]) == VanillaConfig()
    vanilla = trained(tmp_path, "mine", "vanilla", 30)
    start: Any = {"start": "mine", "start_digest": vanilla.digest}
    assert retraining("table-2", [vanilla]) == DvergeConfig(**start)
    assert retraining("table-3", [vanilla]) == DvergeAdvtConfig(**start, snapshot_every=25)


def test_figure_2_is_of_a_hundred_epochs_not_of_thirty(tmp_path: Path) -> None:
    short = trained(tmp_path, "short", "vanilla", 30, seed=3)
    assert retraining("figure-2", [short]) == VanillaConfig(epochs=100)
    long = trained(tmp_path, "long", "vanilla", 100, seed=4)
    assert retraining("figure-2", [short, long]) == VanillaConfig(epochs=100, seed=4)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        *(
            (what, r"no vanilla submodels of 30 epochs.*table-1")
            for what in ("table-2", "table-3", "figure-3", "figure-4")
        ),
        (TUNED, r"no DVERGE\+AdvT submodels of 50 epochs.*table-3"),
    ],
)
def test_without_a_start_it_says_what_to_train_first(
    what: str, message: str, tmp_path: Path
) -> None:
    other = trained(tmp_path, "other", "vanilla", 5)
    with pytest.raises(CheckpointError, match=message):
        retraining(what, [other])


@pytest.mark.parametrize(
    ("what", "config", "taken", "name"),
    [
        ("table-1", VanillaConfig(), set(), "vanilla-3xconv-s0"),
        ("table-1", VanillaConfig(), {"vanilla-3xconv-s0"}, "vanilla-3xconv-s0-2"),
        ("table-1", VanillaConfig(seed=5), {"vanilla-3xconv-s0"}, "vanilla-3xconv-s5"),
        ("figure-2", VanillaConfig(epochs=100), {"vanilla-3xconv-s0"}, "vanilla-3xconv-s0-100"),
        (
            "figure-2",
            VanillaConfig(epochs=100),
            {"vanilla-3xconv-s0", "vanilla-3xconv-s0-100"},
            "vanilla-3xconv-s0-2",
        ),
        (TUNED, PRESETS[Method.ADVT][TUNED], set(), "advt-3xconv-s0-tuned"),
    ],
)
def test_names_are_free_and_say_what_it_is(
    what: str, config: VanillaConfig, taken: set[str], name: str
) -> None:
    assert retraining_name(what, config, taken) == name


def test_every_table_and_figure_can_be_retrained() -> None:
    keys = [*(f"table-{i}" for i in (1, 2, 3)), *(f"figure-{i}" for i in (2, 3, 4)), TUNED]
    assert list(RETRAINED) == keys
    for what, (method, epochs) in RETRAINED.items():
        preset = PRESETS[method][TUNED if what == TUNED else "report"]
        assert epochs == (100 if what == "figure-2" else preset.epochs)


def test_the_tuned_recipe_starts_from_dverge_advt(tmp_path: Path) -> None:
    before = trained(tmp_path, "m", "dverge-advt", 50)
    preset = PRESETS[Method.ADVT][TUNED].to_dict()
    start = {"start": "m", "start_digest": before.digest}
    assert retraining(TUNED, [before]).to_dict() == preset | start
    changed = {k: v for k, v in preset.items() if k not in ("epochs", "seed", "start")}
    again = trained(tmp_path, "t", "advt", preset["epochs"], seed=3, start="m", **changed)
    assert retraining(TUNED, [before, again]).seed == 3


def test_a_copy_under_another_name_is_the_same_training(tmp_path: Path) -> None:
    first = trained(tmp_path, "b-first", "vanilla", 30, seed=2)
    shutil.copytree(first.folder, tmp_path / "a-copy")
    assert retraining("table-1", checkpoints.list_all(tmp_path)[0]).seed == 2
