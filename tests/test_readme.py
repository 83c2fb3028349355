"""The README's figures are those of the files."""

from __future__ import annotations

from pathlib import Path

import pytest

from dverge import checkpoints
from dverge.data import Split, full_data_available, load
from dverge.evaluation import clean_accuracy

ROOT = Path(__file__).parents[1]
NAME = "vanilla-3xconv-s0"


def test_results_table_is_what_the_card_states() -> None:
    text = (ROOT / "README.md").read_text()
    rows = checkpoints.read(ROOT / "checkpoints" / NAME).card.results
    assert len(rows) == 8  # three members and the mixture, on test and validation images
    for row in rows:
        cell = f"{row['accuracy']:.2f} ({row['ci_low']:.1f}–{row['ci_high']:.1f})"
        line = next(
            x
            for x in text.splitlines()
            if row["model"].replace("member-", "submodel ") in x and x.startswith("|")
        )
        assert cell in line


def test_the_shipped_weights_give_about_the_stated_accuracy_on_the_sample() -> None:
    info = checkpoints.read(ROOT / "checkpoints" / NAME)
    stated = {row["model"]: row for row in info.card.results if row["split"] == "test"}
    for row in clean_accuracy(checkpoints.load(info), load(Split.SAMPLE)):
        assert row.ci_low - 1 <= stated[row.model]["accuracy"] <= row.ci_high + 1


@pytest.mark.full_data
@pytest.mark.skipif(not full_data_available(), reason="needs all of CIFAR-10")
@pytest.mark.parametrize("split", [Split.TEST, Split.VALIDATION])
def test_the_shipped_weights_give_the_stated_accuracy(split: Split) -> None:
    info = checkpoints.read(ROOT / "checkpoints" / NAME)
    stated = [row["accuracy"] for row in info.card.results if row["split"] == split]
    measured = [row.accuracy for row in clean_accuracy(checkpoints.load(info), load(split))]
    # Another processor may round a handful of near ties differently.
    assert measured == pytest.approx(stated, abs=0.1)
