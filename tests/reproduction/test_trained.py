"""Which checkpoints are the report's trainings, and which of their figures belong in its tables."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from dverge import checkpoints
from dverge.checkpoints import CheckpointInfo
from dverge.data import Split
from dverge.evaluation.protocols import Protocol
from dverge.evaluation.store import Images, all_results
from dverge.models import Ensemble, seeded_conv
from dverge.reproduction.reproduction import TUNED
from dverge.reproduction.tables import RECIPES, REPORT_TABLES
from dverge.reproduction.trained import Trained, most_measured, snapshot_epoch, trained_as
from dverge.training import PRESETS, Method
from tests.reproduction.report_shelf import measure, trained

ROOT = Path(__file__).parents[2]
FREE = {"epochs", "seed", "device", "snapshot_every", "start", "start_digest"}


def names(infos: tuple[CheckpointInfo, ...]) -> list[str]:
    return [info.name for info in infos]


@pytest.mark.parametrize("method", Method)
def test_the_recipes_are_the_report_presets(method: Method) -> None:
    preset = PRESETS[method]["report"].to_dict()
    assert RECIPES[method] == {k: v for k, v in preset.items() if k not in FREE}


def test_the_shipped_tuned_ensemble_is_of_the_tuned_preset() -> None:
    infos = checkpoints.list_all(ROOT / "checkpoints")[0]
    found = trained_as(infos, TUNED.method, TUNED.epochs, TUNED.recipe)
    assert names(found) == ["advt-3xconv-s0-tuned"]


def test_the_shipped_checkpoints_are_the_reports_trainings() -> None:
    infos = checkpoints.list_all(ROOT / "checkpoints")[0]
    found = [names(trained_as(infos, table.method, table.epochs))[:1] for table in REPORT_TABLES]
    assert found == [
        ["vanilla-3xconv-s0"],
        ["dverge-3xconv-s0"],
        ["dverge-advt-3xconv-s0-e25"],
        ["dverge-advt-3xconv-s0"],
    ]


def test_trainings_that_differ_by_seed_alone_are_found_in_order_and_each_once(
    tmp_path: Path,
) -> None:
    for seed in (2, 0, 1):
        trained(tmp_path, f"d-s{seed}", "dverge", 200, seed)
    shutil.copytree(tmp_path / "d-s1", tmp_path / "a-copy")
    trained(tmp_path, "d-s0-2", "dverge", 200, 0)
    infos = checkpoints.list_all(tmp_path)[0]
    assert names(trained_as(infos, "dverge", 200)) == ["d-s0", "d-s0-2", "a-copy", "d-s2"]
    assert trained_as(infos, "dverge", 100) == trained_as(infos, "vanilla", 200) == ()


@pytest.mark.parametrize(
    "changed",
    [
        {"learning_rate": 0.01},
        {"clean_weight": 1.0},
        {"schedule": "cosine"},
        {"augmentation": "crop-flip"},
        {"training_images": 10_000},
        {"distill_momentum": 1.0},
        {"start": ""},
    ],
)
def test_another_recipe_is_not_one_of_the_reports(tmp_path: Path, changed: dict[str, Any]) -> None:
    if "start" in changed:
        trained(tmp_path, "d-tuned", "dverge", 200, start="")
    else:
        trained(tmp_path, "d-tuned", "dverge", 200, **changed)
    assert trained_as(checkpoints.list_all(tmp_path)[0], "dverge", 200) == ()


def test_two_members_and_other_classes_are_not_the_reports(tmp_path: Path) -> None:
    config = PRESETS[Method.VANILLA]["report"].to_dict()
    two = Ensemble([seeded_conv(1), seeded_conv(2)])
    checkpoints.save("two", two, method="vanilla", root=tmp_path, config=config)
    three = Ensemble([seeded_conv(i) for i in range(3)])
    animals = [f"animal {i}" for i in range(10)]
    checkpoints.save(
        "animals", three, method="vanilla", root=tmp_path, config=config, classes=animals
    )
    assert trained_as(checkpoints.list_all(tmp_path)[0], "vanilla", 30) == ()


@pytest.mark.parametrize(
    ("name", "epoch"),
    [("d-s0-e25", 25), ("d-s0", None), ("d-e5-s0", None), ("vanilla-3xconv-s0-100", None)],
)
def test_snapshots_are_told_by_name(name: str, epoch: int | None) -> None:
    assert snapshot_epoch(name) == epoch


def test_a_snapshot_counts_for_its_epoch_alone(tmp_path: Path) -> None:
    trained(tmp_path, "v-s0", "vanilla", 50)
    trained(tmp_path, "v-s0-e30", "vanilla", 50)
    infos = checkpoints.list_all(tmp_path)[0]
    assert names(trained_as(infos, "vanilla", 30)) == ["v-s0-e30"]
    assert names(trained_as(infos, "vanilla", 50)) == ["v-s0"]


# --- figures ---

ON = {
    Protocol.REPORT: Images(Split.VALIDATION, 1000, "aa" * 32),
    Protocol.STANDARD: Images(Split.TEST, 1000, "aa" * 32),
}


def test_figures_are_those_at_the_columns_settings() -> None:
    """Of the shipped file, which holds other budgets and steps, too."""
    info = checkpoints.read(ROOT / "checkpoints" / "dverge-3xconv-s0")
    kept = all_results(info)
    (standard,) = [each for each in kept if each.protocol is Protocol.STANDARD]
    on = {Protocol.STANDARD: Images(Split.TEST, standard.subject.n, standard.subject.data)}
    found = Trained.of(info, kept, on)
    for column, eps, steps in (("fgsm", 0.03, 1), ("pgd-linf", 0.03, 50), ("pgd-l2", 0.5, 50)):
        for model in ("member-1", "member-2", "member-3", "mixture"):
            victim = "worst" if model == "mixture" else model
            (due,) = [
                row
                for row in standard.rows
                if (row.model, row.attack, row.parameters.get("victim")) == (model, column, victim)
                and (row.parameters["eps"], row.parameters["steps"]) == (eps, steps)
            ]
            assert found.figures[Protocol.STANDARD, model, column].figure == due
    assert {victim for _, victim in found.single} == {
        "worst",
        "mixture",
        "mixture-logit",
        "mixture-loss",
        "members",
    }


@pytest.mark.parametrize("fullest", [0, 1, 2])
def test_of_several_seeds_the_fullest_and_of_other_images_none(
    tmp_path: Path, fullest: int
) -> None:
    info = trained(tmp_path, "v", "vanilla", 30)
    for seed in range(3):
        counts = {"fgsm": (1, 2, 3, 4 + seed)}
        more = {"pgd-l2": (1, 1, 1, 1)} if seed == fullest else {}
        measure(info, Protocol.REPORT, counts | more, seed=seed)
    measure(info, Protocol.STANDARD, {"fgsm": (9, 9, 9, 9)}, data="bb" * 32)
    found = Trained.of(info, all_results(info), ON)
    assert {row.seed for row in found.figures.values()} == {fullest}
    fgsm = {key[1]: row.accuracy for key, row in found.figures.items() if key[2] == "fgsm"}
    due = {"member-1": 0.1, "member-2": 0.2, "member-3": 0.3, "mixture": 0.4 + 0.1 * fullest}
    assert fgsm == pytest.approx(due)


def test_of_seeds_that_are_equally_full_the_first(tmp_path: Path) -> None:
    info = trained(tmp_path, "v", "vanilla", 30)
    for seed in (3, 2, 5, 4):
        measure(info, Protocol.REPORT, {"fgsm": (1, 2, 3, seed)}, seed=seed)
    found = Trained.of(info, all_results(info), ON)
    assert {row.seed for row in found.figures.values()} == {2}


def test_the_images_that_most_were_measured_on(tmp_path: Path) -> None:
    one, two = trained(tmp_path, "one", "vanilla", 30), trained(tmp_path, "two", "dverge", 200)
    measure(one, Protocol.REPORT, {"fgsm": (1, 1, 1, 1)}, data="bb" * 32, n=2000)
    measure(one, Protocol.REPORT, {"fgsm": (1, 1, 1, 1)}, data="bb" * 32, n=2000, seed=3)
    assert _most(one, two) == Images(Split.VALIDATION, 2000, "bb" * 32)
    measure(two, Protocol.REPORT, {"fgsm": (1, 1, 1, 1)}, n=500)
    assert _most(one, two) == Images(Split.VALIDATION, 2000, "bb" * 32)
    measure(one, Protocol.REPORT, {"fgsm": (1, 1, 1, 1)}, n=500)
    assert _most(one, two) == Images(Split.VALIDATION, 500, "aa" * 32)
    assert most_measured(Protocol.STANDARD, [all_results(one)]) is None


def _most(*infos: CheckpointInfo) -> Images | None:
    return most_measured(Protocol.REPORT, [all_results(info) for info in infos])


def test_another_split_than_the_protocols_is_left_aside(tmp_path: Path) -> None:
    info = trained(tmp_path, "v", "vanilla", 30)
    measure(info, Protocol.REPORT, {"fgsm": (1, 1, 1, 1)}, n=500)
    measure(info, Protocol.REPORT, {"fgsm": (1, 1, 1, 1)}, split=Split.TEST, data="bb" * 32)
    assert _most(info) == Images(Split.VALIDATION, 500, "aa" * 32)


def test_tested_is_what_most_test_images_say(tmp_path: Path) -> None:
    info = trained(tmp_path, "v", "vanilla", 30, clean=6600)
    bare = trained(tmp_path, "bare", "vanilla", 30)
    for each in (info, bare):
        measure(each, Protocol.STANDARD, {"clean": (600, 600, 600, 680)})
    on_card = Trained.of(info, all_results(info), ON).tested("mixture")
    measured = Trained.of(bare, all_results(bare), ON).tested("mixture")
    assert on_card is not None and measured is not None
    assert (on_card.figure.n, on_card.figure.accuracy) == (10_000, 66.0)
    assert (measured.figure.n, measured.figure.accuracy) == (1000, 68.0)
    assert Trained.of(bare, [], {}).tested("mixture") is None
