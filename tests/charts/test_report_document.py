"""The reproduced report as Markdown, LaTeX and plain values."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from dverge import checkpoints
from dverge.charts.report_document import (
    OUTCOME_TITLES,
    count_reproduced,
    finding_text,
    headline,
    images_text,
    outcome_counts,
    report_latex,
    report_markdown,
    report_values,
    training_text,
)
from dverge.evaluation.protocols import Protocol
from dverge.reproduction.claims import Answer, Verdict, judge_all
from dverge.reproduction.matching import Reproduction, reproduce
from dverge.reproduction.printed import DVERGE, DVERGE_ADVT_25, PAPER, REPORT, VANILLA
from tests.reproduction.report_shelf import COLUMNS, measure, trained

ROOT = Path(__file__).parents[2]
Document = tuple[Reproduction, list[Verdict]]


def document_of(root: Path) -> Document:
    reproduction = reproduce(checkpoints.list_all(root)[0])
    return reproduction, judge_all(reproduction)


@pytest.fixture(scope="module")
def shipped() -> Document:
    return document_of(ROOT / "checkpoints")


# --- sentences ---


def test_counts_and_headline(tmp_path: Path) -> None:
    assert headline(reproduce([])) == "None of the report's 60 figures has been measured here yet."
    measure(trained(tmp_path, "v", "vanilla", 30), Protocol.STANDARD, {"fgsm": (1, 1, 1, 1)})
    info = trained(tmp_path, "d", "dverge", 200)
    printed = {
        c: [round(10 * row[i]) for row in DVERGE.rows.values()] for i, c in enumerate(COLUMNS)
    }
    measure(info, Protocol.REPORT, printed | {"fgsm": (71, 64, 84, 900)})
    reproduction = document_of(tmp_path)[0]
    assert count_reproduced(reproduction) == (15, 16, 60)
    assert count_reproduced(reproduction, mixtures=True) == (3, 4, 12)
    assert count_reproduced(reproduction, [reproduction.table(DVERGE_ADVT_25)]) == (0, 0, 16)
    assert count_reproduced(reproduction, [reproduction.table(VANILLA)]) == (0, 0, 12)  # no mixture
    assert headline(reproduction) == (
        "15 of the 16 of the report's 60 figures that were measured here lie within our 95 % "
        "intervals, 3 of 4 for the mixtures."
    )


def test_a_tables_trainings(tmp_path: Path) -> None:
    for seed in (0, 1):
        info = trained(tmp_path, f"d-s{seed}", "dverge", 200, seed)
        measure(info, Protocol.REPORT, dict.fromkeys(COLUMNS, (1, 2, 3, 4)))
    reproduction = document_of(tmp_path)[0]
    assert training_text(reproduction, reproduction.table(DVERGE)) == (
        "1 of 16 figures are reproduced. Here: d-s0 (seed 0, 1.0 h on CPU, 2 threads), d-s1 (seed "
        "1, 1.0 h on CPU, 2 threads). The report took around 8 hours on one RTX A6000 GPU."
    )
    assert images_text(reproduction) == (
        "Images: report: 1,024 validation images; here: 1,000 validation images."
    )


def test_outcomes_are_counted(shipped: Document) -> None:
    holds = [v for v in shipped[1] if v.outcome is Answer.HOLDS][:2]
    assert outcome_counts(holds) == "Of 2 claims, 2 hold."
    assert outcome_counts(judge_all(reproduce([]))) == "Of 14 claims, 14 cannot be said."


# --- documents ---


def test_the_markdown_has_every_table_and_every_claim_under_its_outcome(shipped: Document) -> None:
    reproduction, verdicts = shipped
    text = report_markdown(reproduction, verdicts)
    assert all(words in text for words in (headline(reproduction), REPORT, PAPER))
    heads = re.findall(r"^## (.*)$", text, re.M)
    assert heads[:4] == [table.printed.title for table in reproduction.tables]
    assert heads[-1] == "What holds, and what does not"
    for verdict in verdicts:
        assert f"- **{verdict.claim.text}**" in text
        for finding in verdict.findings:
            assert f"**{finding.answer}**. {finding_text(finding)}" in text
    parts = re.split(r"^### (.*)$", text.partition("## What holds")[2], flags=re.M)[1:]
    listed = dict(zip(parts[::2], parts[1::2], strict=True))
    for outcome, title in OUTCOME_TITLES.items():
        claims = re.findall(r"^- \*\*(.*?)\*\*", listed.get(title, ""), re.M)
        assert claims == [v.claim.text for v in verdicts if v.outcome is outcome]
    assert text.endswith("\n") and "\n\n\n" not in text


def test_every_line_of_a_markdown_table_has_as_many_cells(shipped: Document) -> None:
    tables = [part for part in report_markdown(*shipped).split("\n\n") if part.startswith("|")]
    assert len(tables) == 6
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1


def test_the_latex_is_plain_and_has_a_tabular_for_each_table(shipped: Document) -> None:
    text = report_latex(shipped[0])
    body = [line for line in text.splitlines() if not line.startswith("%")]
    assert all(line.isascii() for line in body)
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 4


def test_the_values_are_plain_json_and_complete(shipped: Document) -> None:
    reproduction, verdicts = shipped
    value = json.loads(json.dumps(report_values(reproduction, verdicts), allow_nan=False))
    found, measured, printed = count_reproduced(reproduction)
    assert measured == printed == 60
    assert value["reproduced"] == {"covered": found, "measured": measured, "printed": printed}
    assert len([cell for cell in value["cells"] if cell["protocol"] == "printed"]) == 60
    assert [each["outcome"] for each in value["statements"]] == [str(v.outcome) for v in verdicts]
    first = value["statements"][0]["findings"][0]
    assert (first["under"], first["judgement"]) == ("report", "holds")
    assert len(first["figures"]) == 6 and first["figures"][0]["attack"] == "clean"
    assert [figure["figure"] for figure in value["figures"]] == [2, 3, 4]
    assert value["images"]["report"]["n"] == reproduction.images[Protocol.REPORT].n


def test_without_a_checkpoint_it_reads_well() -> None:
    reproduction = reproduce([])
    verdicts = judge_all(reproduction)
    text = report_markdown(reproduction, verdicts)
    assert text.count("There is no checkpoint here that was trained this way.") == 4
    assert text.count("Not measured yet.") == 21
    assert text.count("There is no training of this kind here yet.") == 3
    assert "nan" not in text.lower().replace("alexandre", "")
    json.dumps(report_values(reproduction, verdicts), allow_nan=False)
