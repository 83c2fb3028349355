"""Verdicts on the report's claims, from results and histories made by hand."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dverge import checkpoints
from dverge.checkpoints import Card, CheckpointInfo
from dverge.data import Split
from dverge.evaluation.comparison import Difference, difference
from dverge.evaluation.protocols import Protocol
from dverge.models import Conv
from dverge.reproduction.claims import (
    CHECKS,
    Answer,
    Finding,
    LearningCurve,
    Verdict,
    agreed,
    counterpart,
    every,
    judge,
    judge_all,
)
from dverge.reproduction.matching import (
    Curves,
    ReproducedFigure,
    ReproducedTable,
    Reproduction,
    TrainedEnsemble,
    reproduce,
)
from dverge.reproduction.printed import (
    ADVT,
    CLAIMS,
    DVERGE,
    DVERGE_ADVT,
    DVERGE_ADVT_25,
    REPORT_FIGURES,
    REPORT_TABLES,
    TUNED_ADVT,
    VANILLA,
    Claim,
    ReportTable,
    Rule,
)
from dverge.results import Result, result_of
from tests.reproduction.report_shelf import MODELS, epochs_of, result

ROOT = Path(__file__).parents[2]
REPORT, STANDARD = Protocol.REPORT, Protocol.STANDARD
YES, NO, OPEN = Answer.HOLDS, Answer.FAILS, Answer.OPEN
Change = tuple[Protocol, ReportTable, str, tuple[int, ...]]  # of a column

# Correct images of 1,000, about as in the report's tables: three submodels and the mixture. On the
# card, those of the mixture of 10,000; single, of 1,000 under attacks on single submodels.
FIGURES: dict[str, dict[str, tuple[int, ...]]] = {
    VANILLA.title: {
        "clean": (610, 600, 620, 680),
        "fgsm": (41, 48, 44, 165),
        "pgd-linf": (8, 13, 11, 71),
        "pgd-l2": (433, 440, 435, 553),
        "card": (6700,),
        "single": (120,),
    },
    DVERGE.title: {
        "clean": (570, 570, 600, 684),
        "fgsm": (71, 64, 60, 347),
        "pgd-linf": (16, 7, 15, 115),
        "pgd-l2": (240, 248, 302, 520),
        "card": (6690,),
        "single": (320,),
    },
    DVERGE_ADVT_25.title: {
        "clean": (584, 611, 641, 639),
        "fgsm": (240, 268, 268, 290),
        "pgd-linf": (199, 198, 197, 230),
        "pgd-l2": (520, 547, 556, 620),
    },
    DVERGE_ADVT.title: {
        "clean": (612, 620, 652, 684),
        "fgsm": (272, 275, 277, 348),
        "pgd-linf": (216, 205, 200, 272),
        "pgd-l2": (539, 563, 576, 690),
        "card": (6680,),
    },
    ADVT.title: {
        "clean": (600, 600, 600, 620),
        "fgsm": (250, 250, 250, 280),
        "pgd-linf": (190, 190, 190, 220),
        "pgd-l2": (500, 500, 500, 600),
    },
    TUNED_ADVT.title: {},
}


def make_card(method: str, digest: str, seed: int) -> Card:
    return Card(
        method,
        Conv.architecture,
        {"member-1.safetensors": digest},
        seed,
        {},
        None,
        {},
        "",
        None,
        [],
    )


def ensemble(table: ReportTable, seed: int = 0, *changes: Change) -> TrainedEnsemble:
    """A training with the results of FIGURES under both protocols, but for the changes."""
    card = make_card(table.method, f"{table.title}{seed}", seed)
    info = CheckpointInfo(f"{table.method}-s{seed}", Path("nowhere"), card)
    results, single = {}, {}
    for protocol in (REPORT, STANDARD):
        changed = {c: new for p, t, c, new in changes if (p, t) == (protocol, table)}
        counts = FIGURES[table.title] | changed
        for n in counts.pop("card", ()):
            stated = result("mixture", "clean", n, STANDARD, n=10_000)
            card.results[:] = [replace(stated, held="")]
        for n in counts.pop("single", ()):
            for column in ("fgsm", "pgd-linf"):
                single[column, "members"] = result("mixture", column, n, STANDARD, victim="members")
        for column, correct in counts.items():
            for model, count in zip(MODELS, correct, strict=True):
                made = result(model, column, count, protocol, checkpoint=info.name)
                results[protocol, model, column] = made
    return TrainedEnsemble(info, results, single)


def reproduction(*changes: Change, second_dverge: Change | None = None) -> Reproduction:
    """One training of each table, or two of DVERGE, with changed results."""
    groups = []
    for table in (*REPORT_TABLES, ADVT, TUNED_ADVT):
        trained = [ensemble(table, 0, *changes)]
        if second_dverge and table is DVERGE:
            trained.append(ensemble(table, 1, second_dverge))
        groups.append(ReproducedTable(table, tuple(trained)))
    return Reproduction(tuple(groups), (), {}, ())


def claim_of(start: str) -> Claim:
    (claim,) = [claim for claim in CLAIMS if claim.text.startswith(start)]
    return claim


def answers(verdict: Verdict) -> list[Answer]:
    return [finding.answer for finding in verdict.findings]


# --- the rules ---


@pytest.mark.parametrize(
    ("rule", "low", "high", "answer"),
    [
        (Rule.CLEARLY_MORE, 0.1, 5, True),
        (Rule.CLEARLY_MORE, -0.1, 5, None),
        (Rule.CLEARLY_MORE, -5, -0.1, False),
        (Rule.TEN_POINTS_MORE, 8, 12, True),
        (Rule.TEN_POINTS_MORE, 12, 15, True),
        (Rule.TEN_POINTS_MORE, 8, 9.9, False),
        (Rule.TEN_POINTS_MORE, -20, -1, False),
        (Rule.TEN_POINTS_MORE, -1, 11, None),
        (Rule.OVER_TEN_POINTS_MORE, 10.1, 15, True),
        (Rule.OVER_TEN_POINTS_MORE, 9.9, 15, None),
        (Rule.OVER_TEN_POINTS_MORE, 5, 9.9, False),
        (Rule.NOT_LESS, -2.9, 1, True),
        (Rule.NOT_LESS, 1, 4, True),
        (Rule.NOT_LESS, -3.1, 1, None),
        (Rule.NOT_LESS, -3.1, -0.1, False),
        (Rule.NOT_LESS, -1, -0.1, False),
    ],
)
def test_what_a_difference_says(rule: Rule, low: float, high: float, answer: bool | None) -> None:
    assert CHECKS[rule](Difference((low + high) / 2, low, high)) is answer


@pytest.mark.parametrize(
    ("known", "in_all", "by_all"),
    [
        ([YES, YES], YES, YES),
        ([NO, NO], NO, NO),
        ([YES, NO], NO, OPEN),
        ([YES, OPEN], OPEN, OPEN),
        ([NO, OPEN], NO, OPEN),
        ([OPEN], OPEN, OPEN),
        ([], OPEN, OPEN),
    ],
)
def test_several_answers(known: list[Answer], in_all: Answer, by_all: Answer) -> None:
    assert every(known) is in_all
    assert agreed(known) is by_all


@pytest.mark.parametrize(
    ("findings", "outcome"),
    [
        ([("report", YES), ("standard", YES)], Answer.HOLDS),
        ([("report", YES), ("standard", NO)], Answer.ONLY_AS_REPORTED),
        ([("report", YES), ("standard", OPEN)], Answer.ONLY_AS_REPORTED),
        ([("report", NO), ("standard", YES)], Answer.FAILS),
        ([("report", NO), ("standard", NO)], Answer.FAILS),
        ([("report", OPEN), ("standard", YES)], Answer.OPEN),
        ([("report", OPEN), ("standard", NO)], Answer.OPEN),
        ([("standard", YES), ("report", OPEN)], Answer.HOLDS),
        ([("standard", YES), ("report", NO)], Answer.OPEN),
        ([("standard", NO), ("report", YES)], Answer.FAILS),
        ([("standard", OPEN), ("report", YES)], Answer.OPEN),
        ([("history", YES)], Answer.HOLDS),
    ],
)
def test_the_first_finding_decides_and_others_restrict_it(
    findings: list[tuple[str, Answer]], outcome: Answer
) -> None:
    assert Verdict(CLAIMS[0], tuple(Finding(*each) for each in findings)).outcome is outcome


# --- claims about results ---


def test_results_like_the_reports_bear_every_claim_out() -> None:
    for claim in (claim for claim in CLAIMS if not claim.figure):
        verdict = judge(claim, reproduction())
        assert verdict.outcome is Answer.HOLDS, verdict
        assert all(finding.results and finding.parts for finding in verdict.findings)


@pytest.mark.parametrize(
    ("start", "table", "column", "new", "answer"),
    [
        ("DVERGE's mixture beats its own", DVERGE, "fgsm", (71, 64, 60, 72), OPEN),
        ("DVERGE's mixture beats its own", DVERGE, "clean", (700, 570, 600, 650), NO),
        ("DVERGE's mixture beats the vanilla sub", DVERGE, "pgd-l2", (24, 24, 30, 400), NO),
        ("DVERGE's mixture beats the vanilla sub", DVERGE, "pgd-l2", (24, 24, 30, 441), OPEN),
        ("DVERGE gains ten points", DVERGE, "pgd-linf", (16, 7, 15, 70), NO),
        ("DVERGE gains ten points", DVERGE, "pgd-linf", (16, 7, 15, 10), NO),
        ("DVERGE's mixture beats the vanilla mix", DVERGE, "fgsm", (71, 64, 60, 100), NO),
        ("DVERGE's mixture beats the vanilla mix", DVERGE, "pgd-linf", (16, 7, 15, 72), OPEN),
        ("DVERGE+AdvT gains over ten", DVERGE_ADVT, "pgd-linf", (90, 90, 90, 180), NO),
        ("DVERGE+AdvT gains over ten", DVERGE_ADVT, "pgd-l2", (90, 90, 90, 625), OPEN),
        ("DVERGE+AdvT is better after 50", DVERGE_ADVT, "fgsm", (272, 275, 277, 250), NO),
        ("DVERGE+AdvT is better after 50", DVERGE_ADVT, "fgsm", (272, 275, 277, 291), OPEN),
        ("DVERGE+AdvT is better after 50", DVERGE_ADVT, "clean", (500, 500, 500, 500), YES),
        ("DVERGE adds to what", DVERGE_ADVT, "pgd-linf", (216, 205, 200, 150), NO),
        ("DVERGE adds to what", DVERGE_ADVT, "pgd-linf", (216, 205, 200, 221), OPEN),
    ],
)
@pytest.mark.parametrize("protocol", [REPORT, STANDARD])
def test_an_answer_changes_with_the_results_of_its_protocol(
    protocol: Protocol,
    start: str,
    table: ReportTable,
    column: str,
    new: tuple[int, ...],
    answer: Answer,
) -> None:
    verdict = judge(claim_of(start), reproduction((protocol, table, column, new)))
    by_source = {finding.source: finding.answer for finding in verdict.findings}
    other = {REPORT: STANDARD, STANDARD: REPORT}[protocol]
    assert (by_source[protocol], by_source[other]) == (answer, YES)


@pytest.mark.parametrize(
    ("start", "change", "expected"),
    [
        ("A vanilla classifier is", (REPORT, VANILLA, "clean", (610, 549, 620, 0)), [YES, YES]),
        ("A vanilla classifier is", (REPORT, VANILLA, "clean", (610, 500, 620, 0)), [NO, YES]),
        ("A vanilla classifier is", (REPORT, VANILLA, "clean", (700, 600, 600, 0)), [NO, YES]),
        ("DVERGE keeps the clean", (STANDARD, DVERGE, "card", (6600,)), [YES, YES]),
        ("DVERGE keeps the clean", (STANDARD, DVERGE, "card", (6520,)), [NO, YES]),
        ("DVERGE keeps the clean", (STANDARD, DVERGE, "card", (7000,)), [YES, YES]),
        ("DVERGE+AdvT costs no clean", (STANDARD, DVERGE_ADVT, "card", (6400,)), [NO, YES]),
        ("Attacks on single submodels", (STANDARD, DVERGE, "single", (121,)), [OPEN]),
        ("Attacks on single submodels", (STANDARD, DVERGE, "single", (60,)), [NO]),
    ],
)
def test_claims_that_are_judged_in_their_own_way(
    start: str, change: Change, expected: list[Answer]
) -> None:
    """Single figures, clean accuracy on the most test images, and attacks on single submodels."""
    assert answers(judge(claim_of(start), reproduction(change))) == expected


def test_clean_accuracy_alone_is_compared_on_the_most_test_images() -> None:
    first, second = judge(claim_of("DVERGE keeps the clean"), reproduction()).findings
    assert first.source == STANDARD and {r.n for r in first.results} == {10_000}
    assert second.source == REPORT and {r.n for r in second.results} == {1000}


@pytest.mark.parametrize(("mixture", "answer"), [(131, YES), (30, OPEN)])
def test_trainings_must_agree(mixture: int, answer: Answer) -> None:
    """The numbers are their mean gain, and the lowest and highest ends of all intervals."""
    made = reproduction(second_dverge=(REPORT, DVERGE, "pgd-linf", (16, 7, 15, mixture)))
    verdict = judge(claim_of("DVERGE gains ten points"), made)
    assert answers(verdict) == [answer, YES]
    best = result("member-2", "pgd-linf", 13, REPORT)
    gains = [difference(result("mixture", "pgd-linf", n, REPORT), best) for n in (115, mixture)]
    mean = sum(gain.points for gain in gains) / 2
    low, high = min(gain.low for gain in gains), max(gain.high for gain in gains)
    (part,) = verdict.findings[0].parts
    assert part.text == f"{mean:+.1f} ({low:+.1f} to {high:+.1f})".replace("-", "−")
    assert part.details[0] == (
        f"PGD L∞: dverge-s0 mixture (11.5 %) against vanilla-s0 submodel 2 (1.3 %): {gains[0]}"
    )


def test_without_results_nothing_can_be_said() -> None:
    for claim in CLAIMS:
        verdict = judge(claim, reproduce([]))
        assert verdict.outcome is Answer.OPEN
        assert all(not finding.results and not finding.parts for finding in verdict.findings)


def test_a_column_that_was_not_measured_leaves_it_open_unless_another_fails() -> None:
    claim = claim_of("DVERGE's mixture beats the vanilla mix")
    for fgsm, answer in ((347, OPEN), (100, NO)):
        made = reproduction((REPORT, DVERGE, "fgsm", (71, 64, 60, fgsm)))
        made.table(DVERGE).trained[0].results.pop((REPORT, "mixture", "pgd-linf"))
        finding = judge(claim, made).findings[0]
        assert finding.answer is answer and finding.parts[1].text == "not measured yet"


def test_only_results_on_as_many_images_are_compared() -> None:
    made = reproduction()
    results = made.table(VANILLA).trained[0].results
    for key in [key for key in results if key[2] == "pgd-linf"]:
        results[key] = replace(results[key], n=999)
    assert answers(judge(claim_of("DVERGE gains ten"), made)) == [OPEN, OPEN]


def test_means_over_draws_are_compared_image_by_image() -> None:
    """Where ten draws say the opposite of all the images."""

    def drawn(correct: int, share: float) -> Result:
        about: Any = {"parameters": {"draws": 10}, "protocol": REPORT}
        bits = torch.arange(1000) < correct
        return result_of(bits, "mixture", "clean", Split.VALIDATION, share, **about)

    made = reproduction()
    for table, correct, share in ((DVERGE, 700, 0.5), (VANILLA, 600, 0.6)):
        made.table(table).trained[0].results[REPORT, "mixture", "clean"] = drawn(correct, share)
    finding = judge(claim_of("DVERGE keeps the clean"), made).findings[1]
    assert finding.answer is YES and finding.parts[0].text.startswith("+10.0 (")


def test_a_training_is_compared_with_its_start_else_its_seed_else_the_first() -> None:
    vanilla = [ensemble(VANILLA, seed) for seed in (3, 4)]
    table = ReproducedTable(VANILLA, tuple(vanilla))
    mine = ensemble(DVERGE, 4)
    assert counterpart(mine, table) is vanilla[1]
    mine.info.card.config["start_digest"] = vanilla[0].info.digest
    assert counterpart(mine, table) is vanilla[0]
    assert counterpart(ensemble(DVERGE, 9), table) is vanilla[0]
    assert counterpart(mine, ReproducedTable(VANILLA, ())) is None


# --- claims about losses ---


def test_levels_are_means_over_a_tenth_of_the_epochs() -> None:
    curve = LearningCurve(range(1, 101))
    assert curve.window == 10
    assert curve.last == sum(range(91, 101)) / 10 and curve.first == sum(range(1, 11)) / 10
    assert curve.level(50) == sum(range(41, 51)) / 10
    assert curve.level(3) == curve.first and curve.level(500) == curve.last
    assert LearningCurve(range(1, 31)).window == 5
    short = LearningCurve([3.0, 1.0])
    assert (short.last, short.risen, short.lowest_epoch) == (2.0, 0, 2)


def test_a_rise_shows_in_levels_not_in_single_epochs() -> None:
    steady = [2.0] * 50
    steady[20] = 0.1
    assert LearningCurve(steady).risen == pytest.approx((2.0 - 1.62) / 1.62)  # (4·2 + 0.1) / 5
    assert LearningCurve([1.0] * 25 + [1.5] * 25).risen == pytest.approx(0.5)
    assert LearningCurve([2.0] * 25 + [1.5] * 25).risen == 0


def test_what_is_still_to_fall() -> None:
    falling = [100.0 - i for i in range(100)]  # from level 95.5 at epoch 10 to 5.5 at the end
    curve = LearningCurve(falling)
    shares = [curve.still_to_fall(epoch) for epoch in (10, 55, 100)]
    assert shares == pytest.approx([1, 0.5, 0])
    assert LearningCurve([1.0] * 20).still_to_fall(10) == 1
    falling[54] += 9  # one epoch of ten
    assert LearningCurve(falling).still_to_fall(55) == pytest.approx(0.51)


def judge_losses(
    number: int,
    *trainings: Sequence[Sequence[float]],
    validation: Sequence[Sequence[float]] | None = None,
    mixture: Sequence[float] | None = None,
) -> Finding:
    """The finding on a figure from trainings with these losses of their submodels."""
    curves = tuple(
        Curves(
            CheckpointInfo(f"s{i}", Path("nowhere"), make_card("", "", 0)),
            epochs_of(losses, mixture or losses[0], validation),
        )
        for i, losses in enumerate(trainings)
    )
    figures = tuple(ReproducedFigure(f, curves) for f in REPORT_FIGURES)
    (claim,) = [claim for claim in CLAIMS if claim.figure == number]
    (finding,) = judge(claim, replace(reproduce([]), figures=figures)).findings
    return finding


def valley(epochs: int, bottom: int, rise: float = 0.02) -> list[float]:
    """A loss that falls to a bottom and rises after it."""
    return [1 + (0.1 * (bottom - i) if i < bottom else rise * (i - bottom)) for i in range(epochs)]


@pytest.mark.parametrize(
    ("epochs", "bottoms", "rise", "answer"),
    [
        (100, (29, 24, 34), 0.02, YES),
        (100, (29, 24, 60), 0.02, NO),
        (100, (29, 24, 10), 0.02, NO),
        (100, (29, 24, 34), 0.00001, NO),  # it stays where it was
        (30, (20, 21, 22), 0.02, OPEN),  # too short
    ],
)
def test_overfitting_after_30_epochs(
    epochs: int, bottoms: tuple[int, int, int], rise: float, answer: Answer
) -> None:
    validation = [valley(epochs, bottom, rise) for bottom in bottoms]
    finding = judge_losses(2, [[2 - 0.01 * i for i in range(epochs)]] * 3, validation=validation)
    assert finding.answer is answer
    first, second, third = (bottom + 1 for bottom in bottoms)
    text = f"validation losses lowest at epochs {first}, {second} and {third} of {epochs}, "
    assert finding.parts[0].text.startswith(text)


def noisy(seed: int) -> list[float]:
    """A loss that falls and levels off, with noise."""
    draw = random.Random(seed)
    return [2 * math.exp(-i / 40) + draw.gauss(0, 0.05) for i in range(200)]


STRAIGHT = [2 - 0.01 * i for i in range(200)]


@pytest.mark.parametrize(
    ("trainings", "answer"),
    [
        ([[noisy(0), noisy(1), noisy(2)]], YES),
        ([[STRAIGHT, noisy(0), noisy(1)]], NO),
        ([[[1 + 0.001 * i for i in range(200)]] * 3], NO),  # it never fell
        ([[noisy(0), noisy(1), noisy(2)], [STRAIGHT] * 3], OPEN),  # trainings disagree
    ],
)
def test_stalling_at_the_end(trainings: list[list[list[float]]], answer: Answer) -> None:
    finding = judge_losses(3, *trainings)
    assert finding.answer is answer
    assert [part.title for part in finding.parts] == [f"s{i}:" for i in range(len(trainings))]


def until(epoch: int) -> list[float]:
    """A loss of 50 epochs that falls until one of them."""
    return [5 - 0.03 * min(i, epoch) for i in range(50)]


@pytest.mark.parametrize(
    ("members", "mixture", "answer"),
    [
        (until(39), until(39), YES),
        (until(50), until(50), NO),  # still falling at 40
        (until(25), until(25), NO),  # stalled well before
        (until(39), until(50), NO),  # one that falls on decides
    ],
)
def test_stalling_around_epoch_40(
    members: list[float], mixture: list[float], answer: Answer
) -> None:
    assert judge_losses(4, [members] * 3, mixture=mixture).answer is answer


# --- the shipped results ---


def test_the_shipped_results_give_these_verdicts() -> None:
    """As they were when each was a function of its own."""
    expected = [
        ("A vanilla classifier is correct", Answer.HOLDS, [YES, YES]),
        ("A vanilla classifier overfits", Answer.HOLDS, [YES]),
        ("DVERGE's mixture beats its own", Answer.ONLY_AS_REPORTED, [YES, OPEN]),
        ("DVERGE's mixture beats the vanilla sub", Answer.OPEN, [OPEN, NO]),
        ("DVERGE gains ten points", Answer.ONLY_AS_REPORTED, [YES, NO]),
        ("DVERGE's mixture beats the vanilla mix", Answer.ONLY_AS_REPORTED, [YES, NO]),
        ("Attacks on single submodels", Answer.HOLDS, [YES]),
        ("DVERGE keeps the clean", Answer.HOLDS, [YES, OPEN]),
        ("DVERGE's training losses stall", Answer.HOLDS, [YES]),
        ("DVERGE+AdvT gains over ten", Answer.OPEN, [OPEN, YES]),
        ("DVERGE+AdvT costs no clean", Answer.FAILS, [NO, OPEN]),
        ("DVERGE+AdvT is better after 50", Answer.OPEN, [OPEN, OPEN]),
        ("DVERGE+AdvT's losses stall", Answer.OPEN, [OPEN]),
        ("DVERGE adds to what", Answer.FAILS, [NO, NO]),
    ]
    verdicts = judge_all(reproduce(checkpoints.list_all(ROOT / "checkpoints")[0]))
    for verdict, (start, outcome, each) in zip(verdicts, expected, strict=True):
        assert verdict.claim.text.startswith(start)
        assert (verdict.outcome, answers(verdict)) == (outcome, each)


def test_figures_that_explanations_quote_are_the_tables() -> None:
    beats = claim_of("DVERGE's mixture beats the vanilla sub").why
    best = max(row[3] for row in VANILLA.rows.values())
    assert f"{DVERGE.rows['mixture'][3]:.2f} % against {best:.2f} %" in beats
    clean = [table.rows["mixture"][0] for table in (DVERGE_ADVT, DVERGE)]
    text = claim_of("DVERGE+AdvT costs no clean").why
    assert f"{clean[0]:.2f} % against {clean[1]:.2f} %" in text
