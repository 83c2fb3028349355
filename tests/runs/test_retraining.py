"""The settings with which the report's trainings are done again."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dverge import checkpoints
from dverge.errors import CheckpointError, ConfigError
from dverge.runs import RETRAINED, TUNED, retraining, retraining_name
from dverge.training import PRESETS, DvergeAdvtConfig, DvergeConfig, Method, VanillaConfig
from tests.reproduction.report_shelf import trained

ROOT = Path(__file__).parents[2]


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
    infos = checkpoints.list_all(ROOT / "checkpoints")[0]
    config = retraining(what, infos)
    card = checkpoints.read(ROOT / "checkpoints" / name).card
    assert str(config.method) == card.method
    later = {"average_last": 0}  # settings that cards written before them lack
    assert config.to_dict() == later | card.config


def test_another_seed_changes_nothing_else() -> None:
    infos = checkpoints.list_all(ROOT / "checkpoints")[0]
    before, after = (retraining("table-2", infos, seed).to_dict() for seed in (None, 7))
    assert after == before | {"seed": 7}
    with pytest.raises(ConfigError, match="seed is -1"):
        retraining("table-2", infos, -1)


def test_without_a_checkpoint_it_is_the_reports_recipe(tmp_path: Path) -> None:
    assert retraining("table-1", []) == VanillaConfig()
    assert retraining("figure-2", []) == VanillaConfig(epochs=100)
    vanilla = trained(tmp_path, "mine", "vanilla", 30)
    digest = vanilla.digest
    dverge = DvergeConfig(start="mine", start_digest=digest)
    assert retraining("table-2", [vanilla]) == dverge
    advt = DvergeAdvtConfig(start="mine", start_digest=digest, snapshot_every=25)
    assert retraining("table-3", [vanilla]) == advt


def test_figure_2_goes_by_a_hundred_epochs_not_by_thirty(tmp_path: Path) -> None:
    short = trained(tmp_path, "short", "vanilla", 30, seed=3)
    assert retraining("figure-2", [short]) == VanillaConfig(epochs=100)
    long = trained(tmp_path, "long", "vanilla", 100, seed=4)
    assert retraining("figure-2", [short, long]) == VanillaConfig(epochs=100, seed=4)


@pytest.mark.parametrize("what", ["table-2", "table-3", "figure-3", "figure-4"])
def test_without_vanilla_submodels_it_says_what_to_train_first(what: str, tmp_path: Path) -> None:
    other = trained(tmp_path, "other", "vanilla", 5)
    with pytest.raises(CheckpointError, match=r"no vanilla submodels of 30 epochs.*table-1"):
        retraining(what, [other])


def test_a_tuned_recipe_is_not_taken_for_the_reports(tmp_path: Path) -> None:
    tuned = trained(tmp_path, "tuned", "vanilla", 30, learning_rate=0.05)
    assert retraining("table-1", [tuned]) == VanillaConfig()


def test_names_are_free_and_say_what_it_is() -> None:
    config = VanillaConfig()
    assert retraining_name("table-1", config, set()) == "vanilla-3xconv-s0"
    assert retraining_name("table-1", config, {"vanilla-3xconv-s0"}) == "vanilla-3xconv-s0-2"
    assert (
        retraining_name("table-1", VanillaConfig(seed=5), {"vanilla-3xconv-s0"})
        == "vanilla-3xconv-s5"
    )
    long = VanillaConfig(epochs=100)
    taken = {"vanilla-3xconv-s0"}
    assert retraining_name("figure-2", long, taken) == "vanilla-3xconv-s0-100"
    assert (
        retraining_name("figure-2", long, taken | {"vanilla-3xconv-s0-100"})
        == "vanilla-3xconv-s0-2"
    )


def test_every_table_and_figure_can_be_retrained() -> None:
    keys = [*(f"table-{i}" for i in (1, 2, 3)), *(f"figure-{i}" for i in (2, 3, 4)), TUNED]
    assert list(RETRAINED) == keys
    for what, (method, epochs) in RETRAINED.items():
        due = PRESETS[method][TUNED if what == TUNED else "report"].epochs
        assert epochs == (100 if what == "figure-2" else due)


def test_the_tuned_recipe_goes_on_from_dverge_advt(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no DVERGE\+AdvT submodels.*table-3"):
        retraining(TUNED, [])
    before = trained(tmp_path, "m", "dverge-advt", 50)
    config = retraining(TUNED, [before])
    due = PRESETS[Method.ADVT][TUNED].to_dict()
    assert config.to_dict() == due | {"start": "m", "start_digest": before.digest}
    assert retraining_name(TUNED, config, set()) == "advt-3xconv-s0-tuned"
    changed = {k: v for k, v in due.items() if k not in ("epochs", "seed", "start")}
    again = trained(tmp_path, "t", "advt", due["epochs"], seed=3, start="m", **changed)
    assert retraining(TUNED, [before, again]).seed == 3


def test_a_copy_under_another_name_is_the_same_training(tmp_path: Path) -> None:
    first = trained(tmp_path, "b-first", "vanilla", 30, seed=2)
    shutil.copytree(first.folder, tmp_path / "a-copy")
    infos = checkpoints.list_all(tmp_path)[0]
    assert retraining("table-1", infos).seed == 2
