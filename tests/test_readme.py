"""The README's numbers and its drawing are those of the files."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch

from dverge import checkpoints
from dverge.data import Split, full_data_available, load
from dverge.evaluation.counting import RobustCount
from dverge.evaluation.measurements import Batch
from dverge.evaluation.naming import attack_title
from dverge.evaluation.predictions import clean_accuracy, predictions
from dverge.evaluation.protocols import EvaluationConfig, Protocol
from dverge.evaluation.store import all_results
from dverge.reproduction.ablation import VARIANTS, read_ablation
from dverge.reproduction.printed import REPORT_TABLES
from dverge.results import MIXTURE_NAME, Result
from tests.readme_figure import FILE, SHOWN, results_figure

ROOT = Path(__file__).parents[1]
NAME = "vanilla-3xconv-s0"
TRAINED = {
    "vanilla, 30 epochs": "vanilla-3xconv-s0",
    "vanilla, seed 1": "vanilla-3xconv-s1",
    "DVERGE, 200 epochs": "dverge-3xconv-s0",
    "DVERGE, seed 1": "dverge-3xconv-s1",
    "DVERGE+AdvT, 50 epochs": "dverge-advt-3xconv-s0",
    "DVERGE+AdvT, seed 1": "dverge-advt-3xconv-s1",
    "AdvT, 50 epochs": "advt-3xconv-s0",
    "tuned, 120 epochs more": "advt-3xconv-s0-tuned",
}
AUTOATTACKED = {title: name for name, title in SHOWN.items()} | {
    title: name for title, name in TRAINED.items() if title.endswith("seed 1")
}


def mixtures(name: str, protocol: Protocol) -> dict[tuple[str, str], Result]:
    """The shipped figures of a mixture, by attack in words and what it followed."""
    info = checkpoints.read(ROOT / "checkpoints" / name)
    (kept,) = [each for each in all_results(info) if each.protocol is protocol]
    own = [row for row in kept.results if row.model == MIXTURE_NAME]
    return {(_setting(row), row.parameters.get("victim", "")): row for row in own}


def _setting(row: Result) -> str:
    about = {name: value for name, value in row.parameters.items() if name != "victim"}
    return attack_title(row.attack, about)


def stated(heading: str) -> dict[str, list[str]]:
    """The README's table whose first line begins so: the cells of each line, by their title."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = text[text.index(f"| {heading} |") :].split("\n\n")[0]
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]
    return {title: cells for title, *cells in lines}


def cells(rows: Iterable[Result]) -> list[str]:
    return [f"{each.accuracy:.1f} ({each.ci_low:.1f}–{each.ci_high:.1f})" for each in rows]


@pytest.mark.parametrize("name", SHOWN)
def test_results_table_is_what_the_files_state(name: str) -> None:
    figures = mixtures(name, Protocol.STANDARD)
    columns = [("no attack", ""), ("Strong L∞ 8/255", "worst"), ("Strong L2 0.5", "worst")]
    columns += [("FGSM 0.03", "mixture"), ("FGSM 0.03", "worst")]
    due = [figures[column] for column in (*columns, ("PGD L∞ 8/255, 50 steps", "members"))]
    assert stated("mixture of | clean | strong L∞ 8/255")[f"`{name}`"] == cells(due)
    assert {each.n for each in due} == {1000}


@pytest.mark.parametrize(("title", "name"), AUTOATTACKED.items())
def test_autoattack_beside_strong_is_what_the_files_state(title: str, name: str) -> None:
    every = mixtures(name, Protocol.STANDARD) | mixtures(name, Protocol.AUTOATTACK)
    pairs = [
        [every[f"{attack} {budget}", "mixture"] for attack in ("Strong", "AutoAttack")]
        for budget in ("L∞ 0.03", "L∞ 8/255", "L2 0.5")
    ]
    due = [" / ".join(f"{each.accuracy:.1f}" for each in pair) for pair in pairs]
    assert stated("strong / AutoAttack of")[title] == due
    assert {each.n for pair in pairs for each in pair} == {1000}


@pytest.mark.parametrize(("title", "name"), AUTOATTACKED.items())
def test_the_black_box_is_what_the_files_state(title: str, name: str) -> None:
    own = mixtures(name, Protocol.BLACK_BOX)
    due = [own[each, ""] for each in ("no attack", "Black box L∞ 0.03", "Black box L∞ 8/255")]
    assert stated("black box of")[title] == cells(due)
    assert {each.n for each in due} == {1000}


def test_the_ablation_is_what_its_file_states() -> None:
    due = {v.title: [f"{f.accuracy:.1f}" for f in v.figures] for v in read_ablation()}
    assert stated("tuned recipe, shorter") == due and len(due) == len(VARIANTS)


def marks(svg: str) -> list[str]:
    """What a drawing's points, lines and bands say that they show."""
    return re.findall(r'aria-label="(eps [^"]*)"', svg)


def test_the_results_figure_is_of_the_files() -> None:
    drawn = io.StringIO()
    results_figure().save(drawn, format="svg")
    shown = marks(FILE.read_text(encoding="utf-8"))
    assert len(shown) == 5 * (1 + 1 + 8)  # each mixture's band, line and eight points
    assert shown == marks(drawn.getvalue())
    assert FILE.relative_to(ROOT).as_posix() in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("title", "name"), TRAINED.items())
def test_the_reports_protocol_is_what_the_files_and_the_report_state(title: str, name: str) -> None:
    of_that = [table for table in REPORT_TABLES if table.title.split(": ")[1] == title]
    printed = next((table.rows["mixture"] for table in of_that if "mixture" in table.rows), None)
    ours = [f"{row.accuracy:.1f}" for row in mixtures(name, Protocol.REPORT).values()]
    theirs = [f" ({value:.2f})" for value in printed] if printed else [""] * 4
    assert {row.n for row in mixtures(name, Protocol.REPORT).values()} == {1024}
    due = [mine + its for mine, its in zip(ours, theirs, strict=True)]
    assert stated("mixture of | clean | FGSM")[title] == due


def test_the_shipped_figures_come_again_on_a_few_images() -> None:
    """Attacks have random starts, and sums another order on another processor: within 2 of 40."""
    for name in ("vanilla-3xconv-s0", "dverge-3xconv-s0"):
        info = checkpoints.read(ROOT / "checkpoints" / name)
        (kept,) = [r for r in all_results(info) if r.protocol is Protocol.CURVE]
        images = load(Split.SAMPLE).balanced(40)
        position = torch.isin(load(Split.SAMPLE).indices, images.indices)
        (measurement,) = [
            each
            for each in EvaluationConfig((name,), Protocol.CURVE).measurements()
            if each.parameters().get("eps") == 0.02
        ]
        network = checkpoints.load(info)
        count = RobustCount(measurement, images.labels, predictions(network, images))
        while not count.done:
            victim, restart, where = count.next(40)
            batch = Batch(
                images.pixels(where), images.labels[where], images.indices[where].tolist(), []
            )
            count.add(where, measurement.answers(network, batch, victim, restart), 0.0)
        shipped = kept.find(measurement)
        for now, then in zip(count.results(Split.TEST), shipped, strict=True):
            assert (now.model, now.parameters) == (then.model, then.parameters)
            if then.held:
                assert (now.right() != then.right()[position]).sum() <= 2


def test_the_shipped_weights_give_about_the_stated_accuracy_on_the_sample() -> None:
    info = checkpoints.read(ROOT / "checkpoints" / NAME)
    stated = {row.model: row for row in info.card.results if row.split == "test"}
    for row in clean_accuracy(checkpoints.load(info), load(Split.SAMPLE)):
        assert row.ci_low - 1 <= stated[row.model].accuracy <= row.ci_high + 1


@pytest.mark.full_data
@pytest.mark.skipif(not full_data_available(), reason="needs all of CIFAR-10")
@pytest.mark.parametrize("split", [Split.TEST, Split.VALIDATION])
def test_the_shipped_weights_give_the_stated_accuracy(split: Split) -> None:
    info = checkpoints.read(ROOT / "checkpoints" / NAME)
    stated = [row.accuracy for row in info.card.results if row.split == split]
    measured = [row.accuracy for row in clean_accuracy(checkpoints.load(info), load(split))]
    # Another processor may round a handful of near ties differently.
    assert measured == pytest.approx(stated, abs=0.1)
