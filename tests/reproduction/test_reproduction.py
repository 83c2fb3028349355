"""The report's tables beside ours, on checkpoints whose figures are made by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from dverge import checkpoints
from dverge.checkpoints import CheckpointInfo
from dverge.evaluation.protocols import Protocol
from dverge.reproduction.reproduction import (
    Line,
    Reproduction,
    Spread,
    TableAgain,
    pairs,
    reproduce,
)
from dverge.reproduction.tables import REPORT_TABLES
from dverge.results import wilson_interval
from tests.reproduction.report_shelf import COLUMNS, Counts, measure, trained

ROOT = Path(__file__).parents[2]
PLAIN: Counts = dict.fromkeys(COLUMNS, (100, 200, 300, 400))
VANILLA = "vanilla-3xconv-s0"


def found(root: Path) -> Reproduction:
    return reproduce(checkpoints.list_all(root)[0])


def add(
    root: Path,
    name: str,
    method: str,
    epochs: int,
    report: Counts = PLAIN,
    standard: Counts = PLAIN,
    **more: int,
) -> CheckpointInfo:
    """A training that was measured under both protocols."""
    info = trained(root, name, method, epochs, more.get("seed", 0))
    measure(info, Protocol.REPORT, report)
    measure(info, Protocol.STANDARD, standard)
    return info


def line_of(again: Reproduction, method: str, epochs: int, title: str) -> Line:
    table = again.table(method, epochs)
    return next(line for line in again.lines(table) if line.title == title)


def cell(again: Reproduction, title: str, column: str, method: str = "dverge") -> Spread:
    epochs = {"dverge": 200, "vanilla": 30, "dverge-advt": 50}[method]
    spread = line_of(again, method, epochs, title).cell(Protocol.REPORT, column)
    assert spread is not None
    return spread


# --- as printed ---


def test_the_reports_tables_are_as_printed() -> None:
    """Some lines of them, against the report's text."""
    first, *_, last = REPORT_TABLES
    assert first.rows["member-1"] == (61.76, 4.10, 0.781, 43.26)
    assert last.rows["member-1"] == (61.17, 27.25, 21.58, 53.91)
    assert last.rows["mixture"] == (63.43, 33.40, 27.15, 59.57)
    assert [table.number for table in REPORT_TABLES] == [1, 2, 3, 3]
    assert [len(table.rows) for table in REPORT_TABLES] == [3, 4, 4, 4]


def test_printed_figures_keep_their_decimals(tmp_path: Path) -> None:
    again = found(tmp_path)
    line = line_of(again, "dverge", 200, "submodel 2")
    assert [line.as_printed(column) for column in COLUMNS] == ["56.91", "6.35", "0.684", "24.80"]
    mixture = line_of(again, "vanilla", 30, "mixture")
    assert [mixture.as_printed(column) for column in COLUMNS] == ["–"] * 4


# --- cells ---


def test_each_cell_is_its_own_figure(tmp_path: Path) -> None:
    counts = {column: [100 * i + j for j in range(4)] for i, column in enumerate(COLUMNS, 1)}
    other = {column: [50 * i + j for j in range(4)] for i, column in enumerate(COLUMNS, 1)}
    add(tmp_path, "d", "dverge", 200, counts, other)
    again = found(tmp_path)
    titles = ["submodel 1", "submodel 2", "submodel 3", "mixture"]
    lines = again.lines(again.table("dverge", 200))
    assert [line.title for line in lines] == [*titles, "vanilla mixture"]
    for line, position in zip(lines, range(4), strict=False):
        for column in COLUMNS:
            ours, standard = (line.cell(p, column) for p in (Protocol.REPORT, Protocol.STANDARD))
            assert ours is not None and standard is not None
            assert ours.mean == counts[column][position] / 10
            assert standard.mean == other[column][position] / 10
            assert line.cell(Protocol.AUTOATTACK, column) is None
    assert lines[-1].cell(Protocol.REPORT, "fgsm") is None  # there is no vanilla ensemble


def test_one_training_has_the_wilson_interval(tmp_path: Path) -> None:
    add(tmp_path, "d", "dverge", 200)
    spread = cell(found(tmp_path), "mixture", "fgsm")
    low, high = (100 * end for end in wilson_interval(400, 1000))
    assert (spread.low, spread.high) == pytest.approx((low, high))
    assert spread.range == f"{low:.1f}–{high:.1f}"
    assert str(spread) == f"40.0 ({low:.1f}–{high:.1f})"


def test_several_trainings_have_their_mean_and_spread(tmp_path: Path) -> None:
    for seed, right in enumerate((300, 360, 390)):
        counts = {"fgsm": (1, 1, 1, right)}
        add(tmp_path, f"d-s{seed}", "dverge", 200, counts, seed=seed)
    spread = cell(found(tmp_path), "mixture", "fgsm")
    assert [row.checkpoint for row in spread.rows] == ["d-s0", "d-s1", "d-s2"]
    assert (spread.mean, spread.range) == (pytest.approx(35.0), "30.0–39.0")
    assert str(spread) == "35.0 (30.0–39.0 over 3 trainings)"
    assert spread.low == pytest.approx(100 * wilson_interval(300, 1000)[0])
    assert spread.high == pytest.approx(100 * wilson_interval(390, 1000)[1])


def test_a_training_that_was_not_measured_leaves_the_others(tmp_path: Path) -> None:
    add(tmp_path, "d-s0", "dverge", 200)
    trained(tmp_path, "d-s1", "dverge", 200, seed=1)
    again = found(tmp_path)
    assert len(again.table("dverge", 200).trained) == 2
    assert len(cell(again, "mixture", "fgsm").rows) == 1


# --- what comes back ---


@pytest.mark.parametrize(
    ("right", "back"),
    [
        (347, True),  # 34.67 is printed
        (318, True),  # up to 34.75
        (317, False),  # up to 34.65
        (376, True),  # from 34.65
        (377, False),  # from 34.75
    ],
)
def test_a_cell_comes_back_if_our_interval_covers_it(
    tmp_path: Path, right: int, back: bool
) -> None:
    low, high = (100 * end for end in wilson_interval(right, 1000))
    assert (low <= 34.67 <= high) is back
    add(tmp_path, "d", "dverge", 200, {"fgsm": (1, 1, 1, right)})
    line = line_of(found(tmp_path), "dverge", 200, "mixture")
    assert line.comes_back("fgsm") is back
    assert line.comes_back("clean") is None


def test_of_several_trainings_the_widest_counts(tmp_path: Path) -> None:
    for seed, right in enumerate((250, 450)):
        add(tmp_path, f"d-s{seed}", "dverge", 200, {"fgsm": (1, 1, 1, right)}, seed=seed)
    assert line_of(found(tmp_path), "dverge", 200, "mixture").comes_back("fgsm") is True


def test_what_the_report_lacks_is_not_counted(tmp_path: Path) -> None:
    add(tmp_path, VANILLA, "vanilla", 30)
    again = found(tmp_path)
    assert line_of(again, "vanilla", 30, "mixture").comes_back("fgsm") is None
    assert again.returned([again.vanilla]) == (0, 12, 12)


def test_counts_and_headline(tmp_path: Path) -> None:
    assert found(tmp_path).headline == (
        "None of the report's 60 figures has been measured here yet."
    )
    printed = {
        c: [round(10 * REPORT_TABLES[1].rows[m][i]) for m in REPORT_TABLES[1].rows]
        for i, c in enumerate(COLUMNS)
    }
    add(tmp_path, "d", "dverge", 200, printed | {"fgsm": (71, 64, 84, 900)})
    again = found(tmp_path)
    assert again.returned() == (15, 16, 60)
    assert again.returned(mixtures=True) == (3, 4, 12)
    assert again.returned([again.table("dverge-advt", 25)]) == (0, 0, 16)
    assert again.headline == (
        "15 of the 16 of the report's 60 figures that were measured here lie within our 95 % "
        "intervals, 3 of 4 for the mixtures."
    )


def test_the_shipped_figures_are_all_there() -> None:
    again = found(ROOT / "checkpoints")
    back, measured, due = again.returned()
    assert measured == due == 60 and 0 < back <= 60
    assert again.headline.startswith(f"{back} of the report's 60 figures lie within")


# --- what to compare with ---


def test_the_vanilla_mixture_stands_in_every_table(tmp_path: Path) -> None:
    add(tmp_path, VANILLA, "vanilla", 30, dict.fromkeys(COLUMNS, (1, 1, 1, 123)))
    add(tmp_path, "d", "dverge", 200)
    again = found(tmp_path)
    for method, epochs in (("dverge", 200), ("dverge-advt", 25), ("dverge-advt", 50)):
        line = line_of(again, method, epochs, "vanilla mixture")
        spread = line.cell(Protocol.REPORT, "pgd-l2")
        assert spread is not None and spread.mean == 12.3
        assert line.baseline and line.value("pgd-l2") is None
    titles = [line.title for line in again.lines(again.vanilla)]
    assert titles == ["submodel 1", "submodel 2", "submodel 3", "mixture"]


def test_adversarial_training_alone_stands_beside_table_3_once_it_is_measured(
    tmp_path: Path,
) -> None:
    info = trained(tmp_path, "advt-3xconv-s0", "advt", 50)
    again = found(tmp_path)
    table = again.table("dverge-advt", 50)
    assert "AdvT mixture" not in [line.title for line in again.lines(table)]
    measure(info, Protocol.REPORT, PLAIN)
    again = found(tmp_path)
    table = again.table("dverge-advt", 50)
    assert [line.title for line in again.lines(table)][-2:] == ["vanilla mixture", "AdvT mixture"]
    assert "AdvT mixture" not in [line.title for line in again.lines(again.table("dverge", 200))]
    assert [line.title for line in again.mixtures] == ["vanilla mixture", "AdvT mixture"]


def test_other_recipes_stand_apart_once_they_are_measured(tmp_path: Path) -> None:
    add(tmp_path, "d-s0", "dverge", 200)
    tuned = trained(tmp_path, "d-s0-tuned", "dverge", 200, alpha=2.0)
    trained(tmp_path, "d-s0-tuned-e25", "dverge", 200, alpha=2.0)
    trained(tmp_path, "quick", "dverge", 5)
    measure(tuned, Protocol.STANDARD, {"fgsm": (1, 2, 3, 444)})
    again = found(tmp_path)
    assert len(again.table("dverge", 200).trained) == 1
    assert [each.info.name for each in again.others] == ["d-s0-tuned"]
    line = again.mixtures[-1]
    spread = line.cell(Protocol.STANDARD, "fgsm")
    assert line.title == "d-s0-tuned" and spread is not None and spread.mean == 44.4


def test_a_copy_of_a_tables_weights_is_no_other_recipe(tmp_path: Path) -> None:
    add(tmp_path, "d-s0", "dverge", 200, seed=0)
    copied = trained(tmp_path, "mine", "dverge", 7, weights=sum(b"d-s0") * 7)
    measure(copied, Protocol.STANDARD, PLAIN)
    assert found(tmp_path).others == ()


# --- pairs ---


def pair_names(ours: TableAgain, theirs: TableAgain) -> list[tuple[str, str]]:
    return [(a.info.name, b.info.name) for a, b in pairs(ours, theirs)]


def test_each_training_is_compared_with_what_it_began_with(tmp_path: Path) -> None:
    for seed in (0, 1):
        trained(tmp_path, f"v-s{seed}", "vanilla", 30, seed)
    trained(tmp_path, "d-a", "dverge", 200, seed=0, start="v-s1")
    trained(tmp_path, "d-b", "dverge", 200, seed=1, start="v-s0")
    trained(tmp_path, "m-a", "dverge-advt", 50, seed=1, start="v-s0")
    again = found(tmp_path)
    dverge = again.table("dverge", 200)
    assert pair_names(dverge, again.vanilla) == [("d-a", "v-s1"), ("d-b", "v-s0")]
    assert pair_names(again.table("dverge-advt", 50), dverge) == [("m-a", "d-b")]  # by seed
    assert pair_names(dverge, again.advt) == []


def test_else_with_the_first(tmp_path: Path) -> None:
    trained(tmp_path, "v-s3", "vanilla", 30, 3)
    trained(tmp_path, "v-s4", "vanilla", 30, 4)
    trained(tmp_path, "d", "dverge", 200, seed=9, start="gone")
    again = found(tmp_path)
    assert pair_names(again.table("dverge", 200), again.vanilla) == [("d", "v-s3")]
