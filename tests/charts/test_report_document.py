"""The report again as Markdown, LaTeX and plain values."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from dverge import checkpoints
from dverge.charts.report_document import (
    all_statements,
    images_words,
    outcome_counts,
    report_latex,
    report_markdown,
    report_values,
    training_words,
)
from dverge.evaluation.protocols import Protocol
from dverge.reproduction.figures import FigureAgain, reproduce_figures
from dverge.reproduction.reproduction import Reproduction, reproduce
from dverge.reproduction.statements import Outcome, Statement
from tests.reproduction.report_shelf import COLUMNS, measure, trained

ROOT = Path(__file__).parents[2]
Again = tuple[Reproduction, list[FigureAgain], list[Statement]]


def again_of(root: Path) -> Again:
    infos = checkpoints.list_all(root)[0]
    found, figures = reproduce(infos), reproduce_figures(infos)
    return found, figures, all_statements(found, figures)


@pytest.fixture(scope="module")
def shipped() -> Again:
    return again_of(ROOT / "checkpoints")


def test_the_markdown_holds_every_table_figure_and_statement(shipped: Again) -> None:
    found, _, statements = shipped
    text = report_markdown(*shipped)
    assert found.headline in text
    heads = re.findall(r"^## (.*)$", text, re.M)
    assert heads[:4] == [table.printed.title for table in found.tables]
    assert [head for head in heads if head.startswith("Figure")] == [
        "Figure 2",
        "Figure 3",
        "Figure 4",
    ]
    assert heads[-1] == "What holds, and what does not"
    for statement in statements:
        assert f"- **{statement.text}**" in text
        for finding in statement.findings:
            assert f"**{finding.judgement}**. {finding.words}" in text
    assert text.endswith("\n") and "\n\n\n" not in text


def test_every_statement_stands_under_its_outcome(shipped: Again) -> None:
    text = report_markdown(*shipped).partition("## What holds")[2]
    parts = re.split(r"^### (.*)$", text, flags=re.M)[1:]
    listed = dict(zip(parts[::2], parts[1::2], strict=True))
    titles = {"Holds": Outcome.HOLDS, "Does not hold": Outcome.FAILS}
    for title, outcome in titles.items():
        said = re.findall(r"^- \*\*(.*?)\*\*", listed.get(title, ""), re.M)
        assert said == [s.text for s in shipped[2] if s.outcome is outcome]


def test_every_line_of_a_markdown_table_has_as_many_cells(shipped: Again) -> None:
    parts = report_markdown(*shipped).split("\n\n")
    tables = [part for part in parts if part.startswith("|")]
    assert len(tables) >= 5
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1


def test_the_latex_is_plain_and_has_a_tabular_a_table(shipped: Again) -> None:
    text = report_latex(shipped[0])
    body = [line for line in text.splitlines() if not line.startswith("%")]
    assert all(line.isascii() for line in body)
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 4


def test_the_values_are_plain_json_and_complete(shipped: Again) -> None:
    found, _, statements = shipped
    value = json.loads(json.dumps(report_values(*shipped), allow_nan=False))
    back, measured, due = found.returned()
    assert value["returned"] == {"covered": back, "measured": measured, "printed": due}
    assert len([cell for cell in value["cells"] if cell["protocol"] == "printed"]) == 60
    assert [s["outcome"] for s in value["statements"]] == [str(s.outcome) for s in statements]
    assert [figure["figure"] for figure in value["figures"]] == [2, 3, 4]
    assert value["images"]["report"]["n"] == found.images[Protocol.REPORT].n


def test_without_a_checkpoint_it_reads_well_all_the_same() -> None:
    found, figures = reproduce([]), reproduce_figures([])
    statements = all_statements(found, figures)
    text = report_markdown(found, figures, statements)
    assert "None of the report's 60 figures has been measured here yet." in text
    assert text.count("There is no checkpoint here that was trained this way.") == 4
    assert "nan" not in text.lower().replace("alexandre", "")
    assert "Of 23 statements, 23 cannot be said." in text
    json.dumps(report_values(found, figures, statements), allow_nan=False)


def test_counts_name_only_what_there_is(shipped: Again) -> None:
    holds = [s for s in shipped[2] if s.outcome is Outcome.HOLDS][:2]
    assert outcome_counts(holds) == "Of 2 statements, 2 hold."
    open_one = replace(holds[0], findings=holds[0].findings)
    assert outcome_counts([open_one]) == "Of 1 statements, 1 hold."


def test_a_tables_trainings_in_words(tmp_path: Path) -> None:
    for seed in (0, 1):
        info = trained(tmp_path, f"d-s{seed}", "dverge", 200, seed)
        measure(info, Protocol.REPORT, dict.fromkeys(COLUMNS, (1, 2, 3, 4)))
    found = again_of(tmp_path)[0]
    assert training_words(found.table("dverge", 200)) == (
        "Here: d-s0 (seed 0, 1.0 h on CPU, 2 threads), d-s1 (seed 1, 1.0 h on CPU, 2 threads). "
        "Means over these, with the lowest and the highest. The report took around 8 hours on one "
        "RTX A6000 GPU."
    )
    assert images_words(found) == (
        "Images of the report: 1,024 validation images; here: 1,000 validation images."
    )


def test_other_recipes_have_a_table_of_their_own(tmp_path: Path) -> None:
    info = trained(tmp_path, "d-tuned", "dverge", 200, alpha=2.0)
    measure(info, Protocol.STANDARD, {"fgsm": (1, 2, 3, 444)})
    counted = trained(tmp_path, "d-s0", "dverge", 200)
    measure(counted, Protocol.STANDARD, {"fgsm": (1, 2, 3, 4)})
    text = report_markdown(*again_of(tmp_path))
    section = text.partition("## Beyond the report")[2]
    assert "| d-tuned |" in section and "44.4 (" in section
