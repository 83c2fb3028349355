"""Which checkpoints are the report's trainings, and which of their results belong in its tables."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from dverge import checkpoints
from dverge.checkpoints import CheckpointInfo
from dverge.data import Split
from dverge.evaluation.protocols import EvaluationConfig, Protocol
from dverge.evaluation.store import Images, ResultFile, add_results, all_results
from dverge.models import Ensemble, seeded_conv
from dverge.reproduction.matching import (
    Cell,
    Reproduction,
    TableLine,
    TrainedEnsemble,
    find_trainings,
    reproduce,
    snapshot_epoch,
)
from dverge.reproduction.printed import (
    ADVT,
    DVERGE,
    DVERGE_ADVT,
    DVERGE_ADVT_25,
    TUNED_ADVT,
    VANILLA,
    ReportTable,
)
from dverge.results import wilson_interval
from dverge.training import PRESETS, Method
from tests.reproduction.report_shelf import COLUMNS, Counts, epochs_of, measure, result, trained

ROOT = Path(__file__).parents[2]
PLAIN: Counts = dict.fromkeys(COLUMNS, (100, 200, 300, 400))
REPORT, STANDARD = Protocol.REPORT, Protocol.STANDARD


def reproduced(root: Path) -> Reproduction:
    return reproduce(checkpoints.list_all(root)[0])


def names(infos: tuple[CheckpointInfo, ...]) -> list[str]:
    return [info.name for info in infos]


def line_of(reproduction: Reproduction, printed: ReportTable, title: str) -> TableLine:
    lines = reproduction.lines(reproduction.table(printed))
    return next(line for line in lines if line.title == title)


def cell_of(root: Path) -> Cell:
    cell = line_of(reproduced(root), DVERGE, "mixture").cell(REPORT, "fgsm")
    assert cell is not None
    return cell


def test_printed_figures_keep_their_decimals() -> None:
    reproduction = reproduce([])
    line = line_of(reproduction, DVERGE, "submodel 2")
    assert [line.as_printed(column) for column in COLUMNS] == ["56.91", "6.35", "0.684", "24.80"]
    mixture = line_of(reproduction, VANILLA, "mixture")
    assert [mixture.as_printed(column) for column in COLUMNS] == ["–"] * 4


# --- which checkpoints ---


@pytest.mark.parametrize(
    ("table", "name"),
    [
        (VANILLA, "vanilla-3xconv-s0"),
        (DVERGE, "dverge-3xconv-s0"),
        (DVERGE_ADVT_25, "dverge-advt-3xconv-s0-e25"),
        (DVERGE_ADVT, "dverge-advt-3xconv-s0"),
        (ADVT, "advt-3xconv-s0"),
        (TUNED_ADVT, "advt-3xconv-s0-tuned"),
    ],
)
def test_the_shipped_checkpoints_are_found(table: ReportTable, name: str) -> None:
    """By the settings on their cards, which were written when they were trained."""
    infos = checkpoints.list_all(ROOT / "checkpoints")[0]
    assert names(find_trainings(infos, table.method, table.epochs, table.recipe))[0] == name


def test_trainings_that_differ_only_by_seed_are_found_by_seed_and_each_once(tmp_path: Path) -> None:
    for seed in (2, 0, 1):
        trained(tmp_path, f"d-s{seed}", "dverge", 200, seed)
    shutil.copytree(tmp_path / "d-s1", tmp_path / "a-copy")
    trained(tmp_path, "d-s0-2", "dverge", 200, 0)
    infos = checkpoints.list_all(tmp_path)[0]
    assert names(find_trainings(infos, "dverge", 200)) == ["d-s0", "d-s0-2", "a-copy", "d-s2"]
    assert find_trainings(infos, "dverge", 100) == find_trainings(infos, "vanilla", 200) == ()


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
def test_another_recipe_is_not_the_reports(tmp_path: Path, changed: dict[str, Any]) -> None:
    info = trained(tmp_path, "d-tuned", "dverge", 200, **changed)
    assert find_trainings([info], "dverge", 200) == ()


def test_two_members_and_other_classes_are_not_the_reports(tmp_path: Path) -> None:
    config = PRESETS[Method.VANILLA]["report"].to_dict()
    about: dict[str, Any] = {"method": "vanilla", "root": tmp_path, "config": config}
    checkpoints.save("two", Ensemble([seeded_conv(1), seeded_conv(2)]), **about)
    three = Ensemble([seeded_conv(i) for i in range(3)])
    checkpoints.save("animals", three, **about, classes=[f"animal {i}" for i in range(10)])
    assert find_trainings(checkpoints.list_all(tmp_path)[0], "vanilla", 30) == ()


@pytest.mark.parametrize(
    ("name", "epoch"),
    [("d-s0-e25", 25), ("d-s0", None), ("d-e5-s0", None), ("vanilla-3xconv-s0-100", None)],
)
def test_the_name_of_a_snapshot_says_its_epoch(name: str, epoch: int | None) -> None:
    assert snapshot_epoch(name) == epoch


def test_a_snapshot_counts_for_its_own_epoch_alone(tmp_path: Path) -> None:
    infos = [trained(tmp_path, name, "vanilla", 50) for name in ("v-s0", "v-s0-e30")]
    assert names(find_trainings(infos, "vanilla", 30)) == ["v-s0-e30"]
    assert names(find_trainings(infos, "vanilla", 50)) == ["v-s0"]


# --- which results ---

ON = {REPORT: Images(Split.VALIDATION, 1000, "aa" * 32), STANDARD: Images(Split.TEST, 1000, "aa")}


def test_results_are_those_at_the_columns_settings(tmp_path: Path) -> None:
    """Of a file with all attacks of the protocol, in which each has figures of its own."""
    info, config = trained(tmp_path, "d", "dverge", 200), EvaluationConfig(("d",), STANDARD)
    file = ResultFile(info.digest, STANDARD, config.version, Split.TEST, 1000, "aa" * 32, 0)
    own = [("member-1", "member-1"), ("mixture", "worst")]
    others = [("mixture", "mixture"), ("mixture", "members"), ("random-member", "worst")]
    figures: dict[tuple[str, float, str, str], int] = {}
    for measurement in config.known_measurements():
        attack, setting = measurement.attack, measurement.parameters()
        for model, victim in [*own, *others] if setting else own:
            correct = figures[attack, setting.get("eps", 0), model, victim] = len(figures) + 1
            made = result(
                model, attack, correct, STANDARD, setting, victim=victim if setting else ""
            )
            add_results(info, file, [made])
    found = TrainedEnsemble.of(info, all_results(info), {STANDARD: file.images})
    columns = {
        "clean": ("clean", 0),
        "fgsm": ("fgsm", 0.03),
        "pgd-linf": ("strong-linf", 8 / 255),
        "pgd-l2": ("strong-l2", 0.5),
    }
    for column, (attack, eps) in columns.items():
        for model, victim in own:
            correct = figures[attack, eps, model, victim]
            assert found.results[STANDARD, model, column].accuracy == correct / 10
    single = {
        c: figures[c, e, "mixture", "members"] for c, e in (("fgsm", 0.03), ("pgd-linf", 8 / 255))
    }
    assert {column: 10 * each.accuracy for column, each in found.single.items()} == single


@pytest.mark.parametrize(("fullest", "chosen"), [(0, 0), (1, 1), (2, 2), (None, 0)])
def test_of_several_seeds_the_fullest_else_the_first(
    tmp_path: Path, fullest: int | None, chosen: int
) -> None:
    info = trained(tmp_path, "v", "vanilla", 30)
    for seed in (2, 0, 1):
        more = {"pgd-l2": (1, 1, 1, 1)} if seed == fullest else {}
        measure(info, REPORT, {"fgsm": (1, 2, 3, 4 + seed)} | more, seed=seed)
    measure(info, STANDARD, {"fgsm": (9, 9, 9, 9)}, data="bb" * 32)  # of other images
    kept = TrainedEnsemble.of(info, all_results(info), ON)
    fgsm = {key[1]: r.accuracy for key, r in kept.results.items() if key[2] == "fgsm"}
    assert fgsm == pytest.approx(
        {"member-1": 0.1, "member-2": 0.2, "member-3": 0.3, "mixture": 0.4 + 0.1 * chosen}
    )


def test_the_images_are_those_that_most_were_measured_on(tmp_path: Path) -> None:
    one, two = trained(tmp_path, "one", "vanilla", 30), trained(tmp_path, "two", "dverge", 200)
    counts = {"fgsm": (1, 1, 1, 1)}

    def images() -> Images:
        return reproduced(tmp_path).images[REPORT]

    for seed in (0, 3):
        measure(one, REPORT, counts, data="bb" * 32, n=2000, seed=seed)
    measure(two, REPORT, counts, n=500)
    measure(two, REPORT, counts, data="cc" * 32, n=5000, split=Split.TEST)  # not its own split
    assert images() == Images(Split.VALIDATION, 2000, "bb" * 32)
    measure(one, REPORT, counts, n=500)
    assert images() == Images(Split.VALIDATION, 500, "aa" * 32)
    assert STANDARD not in reproduced(tmp_path).images


# --- cells ---


def test_each_cell_is_its_own_figure(tmp_path: Path) -> None:
    counts = {column: [100 * i + j for j in range(4)] for i, column in enumerate(COLUMNS, 1)}
    other = {column: [50 * i + j for j in range(4)] for i, column in enumerate(COLUMNS, 1)}
    info = trained(tmp_path, "d", "dverge", 200)
    measure(info, REPORT, counts)
    measure(info, STANDARD, other)
    reproduction = reproduced(tmp_path)
    lines = reproduction.lines(reproduction.table(DVERGE))
    assert [line.title for line in lines] == [
        *("submodel 1", "submodel 2", "submodel 3", "mixture", "vanilla mixture")
    ]
    for position, line in enumerate(lines[:4]):
        for column in COLUMNS:
            ours, standard = line.cell(REPORT, column), line.cell(STANDARD, column)
            assert ours is not None and standard is not None
            assert ours.mean == counts[column][position] / 10
            assert standard.mean == other[column][position] / 10
            assert line.cell(Protocol.AUTOATTACK, column) is None
    assert lines[-1].cell(REPORT, "fgsm") is None  # there is no vanilla ensemble


@pytest.mark.parametrize(("counts", "over"), [([400], ""), ([300, 360, 390], " over 3 trainings")])
def test_the_interval_is_from_the_lowest_to_the_highest_end(
    tmp_path: Path, counts: list[int], over: str
) -> None:
    for seed, correct in enumerate(counts):
        info = trained(tmp_path, f"d-s{seed}", "dverge", 200, seed)
        measure(info, REPORT, {"fgsm": (1, 1, 1, correct)})
    trained(tmp_path, "d-s9", "dverge", 200, seed=9)  # not measured
    cell = cell_of(tmp_path)
    low, high = (100 * wilson_interval(counts[-end], 1000)[end] for end in (0, 1))
    assert [r.checkpoint for r in cell.results] == [f"d-s{i}" for i in range(len(counts))]
    assert (cell.low, cell.high) == pytest.approx((low, high))
    mean = sum(counts) / len(counts) / 10
    assert str(cell) == f"{mean:.1f} ({low:.1f}–{high:.1f}{over})" and cell.interval in str(cell)


@pytest.mark.parametrize(
    ("correct", "back"),
    [
        ([347], True),  # 34.67 is printed
        ([318], True),  # up to 34.75
        ([317], False),  # up to 34.65
        ([376], True),  # from 34.65
        ([377], False),  # from 34.75
        ([250, 450], True),  # between two trainings
    ],
)
def test_a_figure_is_reproduced_if_the_printed_interval_covers_it(
    tmp_path: Path, correct: list[int], back: bool
) -> None:
    for seed, count in enumerate(correct):
        info = trained(tmp_path, f"d-s{seed}", "dverge", 200, seed)
        measure(info, REPORT, {"fgsm": (1, 1, 1, count)})
    ends = [100 * end for count in correct for end in wilson_interval(count, 1000)]
    assert (min(ends) <= 34.67 <= max(ends)) is back
    line = line_of(reproduced(tmp_path), DVERGE, "mixture")
    assert line.is_reproduced("fgsm") is back
    assert line.is_reproduced("clean") is None  # not measured


# --- what the report lacks ---


def test_the_vanilla_mixture_is_beside_every_table(tmp_path: Path) -> None:
    info = trained(tmp_path, "vanilla-3xconv-s0", "vanilla", 30)
    measure(info, REPORT, dict.fromkeys(COLUMNS, (1, 1, 1, 123)))
    reproduction = reproduced(tmp_path)
    for printed in (DVERGE, DVERGE_ADVT_25, DVERGE_ADVT):
        line = line_of(reproduction, printed, "vanilla mixture")
        cell = line.cell(REPORT, "pgd-l2")
        assert cell is not None and cell.mean == 12.3
        assert line.value("pgd-l2") is None and line.is_reproduced("pgd-l2") is None
    titles = [line.title for line in reproduction.lines(reproduction.table(VANILLA))]
    assert titles == ["submodel 1", "submodel 2", "submodel 3", "mixture"]


def test_advt_and_other_recipes_appear_once_they_are_measured(tmp_path: Path) -> None:
    advt = trained(tmp_path, "advt-3xconv-s0", "advt", 50)
    other = trained(tmp_path, "d-s0-tuned", "dverge", 200, alpha=2.0)
    trained(tmp_path, "d-s0-tuned-e25", "dverge", 200, alpha=2.0)
    trained(tmp_path, "quick", "dverge", 5)

    def titles(printed: ReportTable | None = None) -> list[str]:
        r = reproduced(tmp_path)
        lines = r.mixtures if printed is None else r.lines(r.table(printed))
        return [line.title for line in lines if "mixture" in line.title or printed is None]

    assert titles() == ["vanilla mixture"]
    assert titles(DVERGE_ADVT) == ["mixture", "vanilla mixture"]
    measure(advt, REPORT, PLAIN)
    measure(advt, STANDARD, PLAIN)
    measure(other, STANDARD, {"fgsm": (1, 2, 3, 444)})
    assert titles() == ["vanilla mixture", "AdvT mixture", "d-s0-tuned"]
    assert titles(DVERGE_ADVT) == ["mixture", "vanilla mixture", "AdvT mixture"]
    assert titles(DVERGE) == ["mixture", "vanilla mixture"]
    cell = reproduced(tmp_path).mixtures[-1].cell(STANDARD, "fgsm")
    assert cell is not None and cell.mean == 44.4


def test_a_copy_of_a_tables_weights_is_no_other_recipe(tmp_path: Path) -> None:
    measure(trained(tmp_path, "d-s0", "dverge", 200), STANDARD, PLAIN)
    copied = trained(tmp_path, "mine", "dverge", 7, weights=sum(b"d-s0") * 7)
    measure(copied, STANDARD, PLAIN)
    assert reproduced(tmp_path).others == ()


# --- figures ---


def test_figures_are_of_the_trainings_of_their_length(tmp_path: Path) -> None:
    falling = [2 - 0.01 * i for i in range(100)]
    rows = epochs_of([falling] * 3, falling)
    trained(tmp_path, "short", "vanilla", 30, history=rows[:30])
    trained(tmp_path, "d-s0", "dverge", 200)  # without a history
    figures = reproduced(tmp_path).figures
    assert [figure.printed.number for figure in figures] == [2, 3, 4]
    assert [[c.info.name for c in figure.curves] for figure in figures] == [["short"], [], []]
    assert not figures[0].whole
    trained(tmp_path, "long", "vanilla", 100, history=rows)
    figure = reproduced(tmp_path).figures[0]
    assert [c.info.name for c in figure.curves] == ["long"] and figure.whole


def test_a_damaged_history_costs_only_itself(tmp_path: Path) -> None:
    losses = [1.0] * 200
    rows = epochs_of([losses] * 3, losses)
    for seed in range(3):
        trained(tmp_path, f"d-s{seed}", "dverge", 200, seed, history=rows)
    (tmp_path / "d-s0" / "history.jsonl").write_text("{")
    shutil.rmtree(tmp_path / "d-s1")
    trained(tmp_path, "d-s1", "dverge", 200, 1, history=epochs_of([losses] * 2, losses))
    reproduction = reproduced(tmp_path)
    assert [c.info.name for c in reproduction.figures[1].curves] == ["d-s2"]
    assert len(reproduction.table(DVERGE).trained) == 3
