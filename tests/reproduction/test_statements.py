"""Verdicts on statements: what a difference says, and what several come to."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dverge.data import Split
from dverge.evaluation.comparison import Difference, difference
from dverge.evaluation.protocols import Protocol
from dverge.reproduction.checks import (
    Check,
    agreed,
    every,
    kept,
    less,
    more,
    over_ten,
    stable,
    ten_more,
)
from dverge.reproduction.statements import (
    Finding,
    Judgement,
    Outcome,
    Statement,
    compare,
    finding,
    source_of,
)
from dverge.results import Result, result_of


@pytest.mark.parametrize(
    ("check", "low", "high", "answer"),
    [
        (more, 0.1, 5, True),
        (more, -0.1, 5, None),
        (more, -5, -0.1, False),
        (less, -5, -0.1, True),
        (less, -5, 0.1, None),
        (less, 0.1, 5, False),
        (ten_more, 8, 12, True),
        (ten_more, 12, 15, True),
        (ten_more, 8, 9.9, False),
        (ten_more, -20, -1, False),
        (ten_more, -1, 11, None),
        (over_ten, 10.1, 15, True),
        (over_ten, 9.9, 15, None),
        (over_ten, 5, 9.9, False),
        (kept, -2.9, 1, True),
        (kept, 1, 4, True),
        (kept, -3.1, 1, None),
        (kept, -3.1, -0.1, False),
        (kept, -1, -0.1, False),
        (stable, -2.9, 2.9, True),
        (stable, -3.1, 2.9, None),
        (stable, -2.9, 3.1, None),
        (stable, 0.1, 2, False),
        (stable, -2, -0.1, False),
    ],
)
def test_what_a_difference_says(check: Check, low: float, high: float, answer: bool | None) -> None:
    assert check(Difference((low + high) / 2, low, high)) is answer


@pytest.mark.parametrize(
    ("values", "all_of", "alike"),
    [
        ([True, True], True, True),
        ([False, False], False, False),
        ([True, False], False, None),
        ([True, None], None, None),
        ([False, None], False, None),
        ([None], None, None),
        ([], None, None),
    ],
)
def test_several_answers(
    values: list[bool | None], all_of: bool | None, alike: bool | None
) -> None:
    assert every(values) is all_of
    assert agreed(values) is alike


def of(*findings: tuple[str, str]) -> Outcome:
    made = tuple(Finding(under, Judgement(judgement), "") for under, judgement in findings)
    return Statement("", "", "", "", made).outcome


YES, NO, OPEN = "holds", "does not hold", "cannot be said"


@pytest.mark.parametrize(
    ("report", "standard", "outcome"),
    [
        (YES, YES, Outcome.HOLDS),
        (YES, NO, Outcome.ONLY_THEN),
        (YES, OPEN, Outcome.ONLY_THEN),
        (NO, YES, Outcome.FAILS),
        (NO, NO, Outcome.FAILS),
        (OPEN, YES, Outcome.OPEN),
        (OPEN, NO, Outcome.OPEN),
    ],
)
def test_the_first_finding_decides_and_the_other_may_restrict_it(
    report: str, standard: str, outcome: Outcome
) -> None:
    assert of(("report", report), ("standard", standard)) is outcome


def test_where_more_images_decide_the_reports_can_only_leave_it_open() -> None:
    assert of(("standard", YES), ("report", OPEN)) is Outcome.HOLDS
    assert of(("standard", YES), ("report", NO)) is Outcome.OPEN
    assert of(("standard", NO), ("report", YES)) is Outcome.FAILS
    assert of(("standard", OPEN), ("report", YES)) is Outcome.OPEN
    assert of(("history", YES)) is Outcome.HOLDS


# --- comparisons ---


def row(
    right: int,
    n: int = 1000,
    model: str = "mixture",
    protocol: Protocol = Protocol.STANDARD,
    attack: str = "pgd-linf",
    name: str = "one",
    **parameters: object,
) -> Result:
    split = Split.VALIDATION if protocol is Protocol.REPORT else Split.TEST
    about = {"eps": 0.03, "steps": 50} | parameters if attack != "clean" else parameters
    figure = result_of(torch.arange(n) < right, model, attack, split, parameters=about)
    return Row(name, Subject("w", protocol, 1, split, n, "d", 0), "cpu", figure)


def test_one_pair_in_words() -> None:
    a, b = row(300), row(200, name="two")
    found = finding(Protocol.STANDARD, [compare("pgd-linf", [(a, b)])], more)
    assert found.judgement is Judgement.HOLDS
    assert found.words == (
        f"PGD L∞ 0.03, 50 steps: 30.0 % against 20.0 %, {difference(a, b)}; on 1,000 test images."
    )
    assert found.rows == (a, b)
    assert [source_of(each) for each in found.rows] == [
        "one, mixture, PGD L∞ 0.03, 50 steps: 30.0 % (27.2–32.9) of 1,000 test images",
        "two, mixture, PGD L∞ 0.03, 50 steps: 20.0 % (17.6–22.6) of 1,000 test images",
    ]


def test_several_pairs_in_words_and_their_verdict() -> None:
    pairs = [(row(300), row(200)), (row(320), row(200)), (row(201), row(200))]
    clear = finding(Protocol.REPORT, [compare("pgd-linf", list(pairs[:2]))], more)
    assert clear.judgement is Judgement.HOLDS
    assert "+10.0 to +12.0 points over 2 trainings, all clear of zero" in clear.words
    some = finding(Protocol.REPORT, [compare("pgd-linf", list(pairs))], more)
    assert some.judgement is Judgement.OPEN
    assert "+0.1 to +12.0 points over 3 trainings, 2 of them clear of zero" in some.words
    members = [(row(300, model="member-1"), row(200)), (row(300, model="member-2"), row(200))]
    assert "over 2 submodels" in finding(Protocol.REPORT, [compare("fgsm", members)], more).words


def test_trainings_that_say_the_opposite_leave_it_open() -> None:
    pairs = [(row(300), row(200)), (row(100), row(200))]
    assert finding(Protocol.REPORT, [compare("fgsm", pairs)], more).judgement is Judgement.OPEN


def test_one_column_against_it_decides_and_a_missing_one_leaves_it_open() -> None:
    up, down = compare("fgsm", [(row(300), row(200))]), compare("fgsm", [(row(100), row(200))])
    assert finding(Protocol.REPORT, [up, down], more).judgement is Judgement.FAILS
    assert finding(Protocol.REPORT, [up, None], more).judgement is Judgement.OPEN
    nothing = finding(Protocol.REPORT, [None, None], more)
    assert (nothing.judgement, nothing.words) == (Judgement.OPEN, "Not measured yet.")


def test_only_figures_on_as_many_images_are_compared() -> None:
    assert compare("fgsm", [(row(1), None), (None, row(1)), (row(1), row(1, n=999))]) is None


def test_means_over_draws_are_compared_image_by_image() -> None:
    """Where ten draws say the opposite of all the images."""
    about = {"draws": 10, "draw_size": 256, "seed": 0}
    drawn = [
        result_of(
            torch.arange(1000) < right,
            "mixture",
            "clean",
            Split.VALIDATION,
            share,
            parameters=about,
        )
        for right, share in ((600, 0.5), (500, 0.6))
    ]
    subject = Subject("w", Protocol.REPORT, 1, Split.VALIDATION, 1000, "d", 0)
    a, b = (Row("x", subject, "cpu", figure) for figure in drawn)
    found = compare("clean", [(a, b)])
    assert found is not None
    assert found.differences[0].points == pytest.approx(10)
    assert "60.0 % against 50.0 %" in found.words


def test_a_single_attack_is_named_in_the_source() -> None:
    assert " following each submodel: " in source_of(row(1, victim="members"))
    assert "following" not in source_of(row(1, victim="worst"))
    assert "following" not in source_of(row(1, model="member-1", victim="member-1"))


def test_as_plain_values(tmp_path: Path) -> None:
    made = finding(Protocol.STANDARD, [compare("fgsm", [(row(300), row(200))])], more)
    statement = Statement("It holds.", "quote", "3.1", "rule", (made,), "why")
    value = statement.to_dict()
    assert value["outcome"] == "holds"
    assert value["findings"][0]["judgement"] == "holds"
    assert [figure["accuracy"] for figure in value["findings"][0]["figures"]] == [30.0, 20.0]
