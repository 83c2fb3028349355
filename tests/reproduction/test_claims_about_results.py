"""Verdicts on the report's claims about accuracies, from results made by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dverge.checkpoints import CheckpointInfo
from dverge.evaluation.comparison import difference
from dverge.evaluation.protocols import Protocol
from dverge.reproduction.claims import (
    Answer,
    counterpart,
    judge,
)
from dverge.reproduction.matching import (
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
    REPORT_TABLES,
    TUNED_ADVT,
    VANILLA,
    ReportTable,
)
from tests.reproduction.report_shelf import MODELS, answers, claim_of, make_card, result

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
                single[column] = result("mixture", column, n, STANDARD, victim="members")
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


def test_a_training_is_compared_with_its_start_else_its_seed_else_the_first() -> None:
    vanilla = [ensemble(VANILLA, seed) for seed in (3, 4)]
    table = ReproducedTable(VANILLA, tuple(vanilla))
    mine = ensemble(DVERGE, 4)
    assert counterpart(mine, table) is vanilla[1]
    mine.info.card.config["start_digest"] = vanilla[0].info.digest
    assert counterpart(mine, table) is vanilla[0]
    assert counterpart(ensemble(DVERGE, 9), table) is vanilla[0]
    assert counterpart(mine, ReproducedTable(VANILLA, ())) is None
