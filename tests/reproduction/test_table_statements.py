"""Each of the report's statements: its verdict, and that it turns when the figures turn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dverge import checkpoints
from dverge.checkpoints import CheckpointInfo
from dverge.evaluation.protocols import Protocol
from dverge.evaluation.store import FOLDER
from dverge.reproduction.reproduction import reproduce
from dverge.reproduction.statements import Judgement, Outcome, Statement
from dverge.reproduction.table_statements import report_statements
from dverge.training import PRESETS, Method
from tests.reproduction.report_shelf import measure, trained

ROOT = Path(__file__).parents[2]
REPORT, STANDARD = Protocol.REPORT, Protocol.STANDARD
YES, NO, OPEN = Judgement.HOLDS, Judgement.FAILS, Judgement.OPEN

# Right images of 1,000, about as in the report's tables: three submodels and the mixture.
FIGURES: dict[str, dict[str, tuple[int, int, int, int]]] = {
    "vanilla": {
        "clean": (610, 600, 620, 680),
        "fgsm": (41, 48, 44, 165),
        "pgd-linf": (8, 13, 11, 71),
        "pgd-l2": (433, 440, 435, 553),
    },
    "dverge": {
        "clean": (570, 570, 600, 684),
        "fgsm": (71, 64, 60, 347),
        "pgd-linf": (16, 7, 15, 115),
        "pgd-l2": (240, 248, 302, 520),
    },
    "early": {
        "clean": (584, 611, 641, 639),
        "fgsm": (240, 268, 268, 290),
        "pgd-linf": (199, 198, 197, 230),
        "pgd-l2": (520, 547, 556, 620),
    },
    "late": {
        "clean": (612, 620, 652, 684),
        "fgsm": (272, 275, 277, 348),
        "pgd-linf": (216, 205, 200, 272),
        "pgd-l2": (539, 563, 576, 690),
    },
    "advt": {
        "clean": (600, 600, 600, 620),
        "fgsm": (250, 250, 250, 280),
        "pgd-linf": (190, 190, 190, 220),
        "pgd-l2": (500, 500, 500, 600),
    },
}
NAMES = {
    "vanilla": ("vanilla-3xconv-s0", "vanilla", 30),
    "dverge": ("dverge-3xconv-s0", "dverge", 200),
    "early": ("dverge-advt-3xconv-s0-e25", "dverge-advt", 50),
    "late": ("dverge-advt-3xconv-s0", "dverge-advt", 50),
    "advt": ("advt-3xconv-s0", "advt", 50),
}
CLEAN = {"vanilla": 6700, "dverge": 6690, "early": 6200, "late": 6680, "advt": 6000}
MEMBERS_ONLY = {"vanilla": 120, "dverge": 320, "early": 300, "late": 330, "advt": 300}
Change = tuple[Protocol, str, str, tuple[int, int, int, int]]


@dataclass
class Shelf:
    """Checkpoints whose figures under both protocols are FIGURES, but for the changes."""

    root: Path

    def add(
        self, kind: str, changes: tuple[Change, ...] = (), seed: int = 0, **more: Any
    ) -> CheckpointInfo:
        name, method, epochs = NAMES[kind]
        name = name.replace("-s0", f"-s{seed}")
        clean = more.get("clean", CLEAN[kind])
        start = "vanilla-3xconv-s0"
        info = trained(self.root, name, method, epochs, seed, clean=clean, start=start)
        self.measure(info, kind, changes, more.get("members_only", MEMBERS_ONLY[kind]))
        return info

    def measure(
        self, info: CheckpointInfo, kind: str, changes: tuple[Change, ...], single: int
    ) -> None:
        for protocol in (REPORT, STANDARD):
            counts = dict(FIGURES[kind])
            for about, whose, column, new in changes:
                if (about, whose) == (protocol, kind):
                    counts[column] = new
            columns = ("fgsm", "pgd-linf")
            members = dict.fromkeys(columns, single) if protocol is STANDARD else None
            measure(info, protocol, counts, members_only=members)

    def statement(self, beginning: str) -> Statement:
        infos = checkpoints.list_all(self.root)[0]
        (found,) = [
            each for each in report_statements(reproduce(infos)) if each.text.startswith(beginning)
        ]
        return found


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


def fill(shelf: Shelf, *changes: Change, **more: Any) -> Shelf:
    for kind in FIGURES:
        own = {name: value[kind] for name, value in more.items() if kind in value}
        shelf.add(kind, changes, **own)
    return shelf


def judged(statement: Statement) -> list[Judgement]:
    return [finding.judgement for finding in statement.findings]


ALL = [
    "A vanilla classifier is right on about 60 %",
    "Under PGD L2, a vanilla classifier",
    "Under FGSM and PGD L∞, a vanilla classifier",
    "The DVERGE mixture beats each of its own",
    "The DVERGE mixture beats each vanilla submodel",
    "The DVERGE mixture gains ten points",
    "A DVERGE submodel by itself",
    "Under FGSM and PGD L∞, a DVERGE submodel",
    "DVERGE keeps the clean accuracy",
    "Under FGSM and PGD L∞, the DVERGE mixture beats",
    "L∞ attacks on single submodels",
    "DVERGE+AdvT gains over ten points",
    "DVERGE+AdvT costs no clean",
    "DVERGE+AdvT's submodels",
    "DVERGE+AdvT is better after 50",
    "DVERGE adds to what",
]


def test_figures_like_the_reports_bear_it_out(shelf: Shelf) -> None:
    fill(shelf)
    for beginning in ALL:
        statement = shelf.statement(beginning)
        assert statement.outcome is Outcome.HOLDS, statement
        assert statement.rule and all(finding.rows for finding in statement.findings)
    assert shelf.statement("DVERGE+AdvT is right under FGSM").outcome is Outcome.HOLDS


def test_but_for_l2_which_even_they_do_not(shelf: Shelf) -> None:
    assert judged(fill(shelf).statement("Under PGD L2, the DVERGE mixture")) == [NO, NO]


@pytest.mark.parametrize(
    ("beginning", "kind", "column", "new", "verdict"),
    [
        ("A vanilla classifier is right", "vanilla", "clean", (610, 500, 620, 680), NO),
        ("A vanilla classifier is right", "vanilla", "clean", (610, 700, 620, 680), NO),
        ("Under PGD L2, a vanilla", "vanilla", "pgd-l2", (110, 110, 120, 240), NO),
        ("Under FGSM and PGD L∞, a vanilla", "vanilla", "fgsm", (41, 130, 44, 165), NO),
        ("Under FGSM and PGD L∞, a vanilla", "vanilla", "pgd-linf", (8, 95, 11, 71), OPEN),
        ("The DVERGE mixture beats each of its", "dverge", "fgsm", (71, 64, 60, 72), OPEN),
        ("The DVERGE mixture beats each of its", "dverge", "clean", (700, 570, 600, 650), NO),
        ("The DVERGE mixture beats each vanilla", "dverge", "pgd-l2", (24, 24, 30, 400), NO),
        ("The DVERGE mixture beats each vanilla", "dverge", "pgd-l2", (24, 24, 30, 441), OPEN),
        ("The DVERGE mixture gains ten", "dverge", "pgd-linf", (16, 7, 15, 70), NO),
        ("The DVERGE mixture gains ten", "dverge", "pgd-linf", (16, 7, 15, 10), NO),
        ("A DVERGE submodel by itself", "dverge", "pgd-l2", (600, 610, 620, 650), NO),
        ("A DVERGE submodel by itself", "dverge", "pgd-l2", (240, 248, 434, 520), OPEN),
        ("Under FGSM and PGD L∞, a DVERGE sub", "dverge", "fgsm", (71, 164, 60, 347), NO),
        ("Under FGSM and PGD L∞, the DVERGE", "dverge", "fgsm", (71, 64, 60, 100), NO),
        ("Under FGSM and PGD L∞, the DVERGE", "dverge", "pgd-linf", (16, 7, 15, 72), OPEN),
        ("Under PGD L2, the DVERGE mixture", "dverge", "pgd-l2", (24, 24, 30, 600), YES),
        ("DVERGE+AdvT gains over ten", "late", "pgd-linf", (90, 90, 90, 180), NO),
        ("DVERGE+AdvT gains over ten", "late", "pgd-l2", (90, 90, 90, 625), OPEN),
        ("DVERGE+AdvT is right under FGSM", "late", "fgsm", (270, 275, 277, 400), NO),
        ("DVERGE+AdvT is right under FGSM", "late", "fgsm", (270, 275, 277, 300), NO),
        ("DVERGE+AdvT's submodels", "late", "pgd-l2", (539, 563, 200, 690), OPEN),
        ("DVERGE+AdvT's submodels", "late", "pgd-l2", (100, 100, 100, 690), NO),
        ("DVERGE+AdvT is better after 50", "late", "fgsm", (272, 275, 277, 250), NO),
        ("DVERGE+AdvT is better after 50", "late", "fgsm", (272, 275, 277, 291), OPEN),
        ("DVERGE+AdvT is better after 50", "late", "clean", (500, 500, 500, 500), YES),
        ("DVERGE adds to what", "late", "pgd-linf", (216, 205, 200, 150), NO),
        ("DVERGE adds to what", "late", "pgd-linf", (216, 205, 200, 221), OPEN),
    ],
)
@pytest.mark.parametrize("protocol", [REPORT, STANDARD])
def test_a_verdict_turns_with_the_figures_of_its_protocol(
    shelf: Shelf,
    protocol: Protocol,
    beginning: str,
    kind: str,
    column: str,
    new: tuple[int, int, int, int],
    verdict: Judgement,
) -> None:
    fill(shelf, (protocol, kind, column, new))
    found = {f.under: f.judgement for f in shelf.statement(beginning).findings}
    untouched = NO if beginning.startswith("Under PGD L2, the DVERGE") else YES
    other = {REPORT: STANDARD, STANDARD: REPORT}[protocol]
    assert (found[protocol], found[other]) == (verdict, untouched)


@pytest.mark.parametrize(
    ("clean", "verdict"),
    [(6700, YES), (6600, YES), (6520, NO), (7000, YES)],
)
def test_clean_accuracy_is_judged_on_the_most_test_images(
    shelf: Shelf, clean: int, verdict: Judgement
) -> None:
    fill(shelf, clean={"dverge": clean, "vanilla": 6700})
    statement = shelf.statement("DVERGE keeps the clean accuracy")
    first, second = statement.findings
    assert (first.under, first.judgement) == (STANDARD, verdict)
    assert "on 10,000 test images." in first.words
    assert (second.under, second.judgement) == (REPORT, YES)


def test_a_clear_loss_of_clean_accuracy_by_advt(shelf: Shelf) -> None:
    fill(shelf, clean={"late": 6400, "dverge": 6700})
    statement = shelf.statement("DVERGE+AdvT costs no clean")
    assert statement.outcome is Outcome.FAILS
    assert "The report's own tables have 63.43 % against 67.38 %." in statement.why


@pytest.mark.parametrize(("single", "verdict"), [(320, YES), (121, OPEN), (60, NO)])
def test_what_attacks_on_single_submodels_leave(
    shelf: Shelf, single: int, verdict: Judgement
) -> None:
    fill(shelf, members_only={"dverge": single})
    assert judged(shelf.statement("L∞ attacks on single submodels")) == [verdict]


def test_the_reports_own_figures_do_not_have_it_all_either(shelf: Shelf) -> None:
    """Table 1 has a submodel that is better under PGD L2 than Table 2's mixture."""
    statement = fill(shelf).statement("The DVERGE mixture beats each vanilla")
    assert "The report's own tables have 44.82 % against 46.39 %." in statement.why


# --- several trainings ---


def test_trainings_that_agree_are_told_with_their_range(shelf: Shelf) -> None:
    fill(shelf)
    better: Change = (REPORT, "dverge", "pgd-linf", (16, 7, 15, 131))
    shelf.add("dverge", (better,), seed=1)
    statement = shelf.statement("The DVERGE mixture gains ten")
    assert statement.outcome is Outcome.HOLDS
    assert (
        "+10.2 to +11.8 points over 2 trainings, all clear of zero" in statement.findings[0].words
    )


def test_trainings_that_disagree_leave_it_open(shelf: Shelf) -> None:
    fill(shelf)
    worse: Change = (REPORT, "dverge", "pgd-linf", (16, 7, 15, 30))
    shelf.add("dverge", (worse,), seed=1)
    assert judged(shelf.statement("The DVERGE mixture gains ten")) == [OPEN, YES]


# --- the tuned recipe ---

GOOD = {
    "clean": (650, 650, 650, 740),
    "fgsm": (350, 350, 350, 420),
    "pgd-linf": (250, 250, 250, 330),
    "pgd-l2": (600, 600, 600, 760),
}


def tuned(shelf: Shelf, protocol: Protocol, **changed: tuple[int, int, int, int]) -> None:
    """A training of the tuned recipe with figures under a protocol."""
    name = "advt-3xconv-s0-tuned"
    if not (shelf.root / name).is_dir():
        settings = PRESETS[Method.ADVT]["tuned"].to_dict()
        epochs, seed, start = (settings.pop(key) for key in ("epochs", "seed", "start"))
        trained(shelf.root, name, "advt", epochs, seed, start=start or "any", **settings)
    info = checkpoints.read(shelf.root / name)
    measure(info, protocol, GOOD | {k.replace("_", "-"): v for k, v in changed.items()})


def test_the_tuned_recipe_against_what_is_printed(shelf: Shelf) -> None:
    fill(shelf)
    assert not [s for s in report_statements(reproduce([])) if "tuned" in s.text]
    tuned(shelf, REPORT)
    statement = shelf.statement("The tuned recipe beats every mixture that the report prints")
    assert judged(statement) == [YES]
    words = statement.findings[0].words
    for printed in (67.38, 34.67, 27.15, 59.57):  # the best of Tables 2 and 3
        assert f"printed at most {printed:.2f}" in words
    assert len(statement.findings[0].rows) == 4


@pytest.mark.parametrize(
    ("column", "below"), [("clean", 673), ("fgsm", 346), ("pgd_linf", 271), ("pgd_l2", 595)]
)
def test_one_printed_figure_that_is_not_beaten_is_enough(
    shelf: Shelf, column: str, below: int
) -> None:
    tuned(shelf, REPORT, **{column: (1, 1, 1, below)})
    beginning = "The tuned recipe beats every mixture that the report prints"
    assert judged(shelf.statement(beginning)) == [NO]


def test_the_tuned_recipe_against_our_own(shelf: Shelf) -> None:
    fill(shelf)
    late = checkpoints.read(shelf.root / "dverge-advt-3xconv-s0")
    for protocol in (REPORT, STANDARD, Protocol.AUTOATTACK):
        tuned(shelf, protocol, **{"aa-linf": (1, 1, 1, 300), "aa-l2": (1, 1, 1, 500)})
    beginning = "The tuned recipe beats our DVERGE+AdvT mixture"
    assert judged(shelf.statement(beginning)) == [YES, YES, OPEN]
    measure(late, Protocol.AUTOATTACK, {"aa-linf": (1, 1, 1, 240), "aa-l2": (1, 1, 1, 440)})
    statement = shelf.statement(beginning)
    assert judged(statement) == [YES, YES, YES] and statement.outcome is Outcome.HOLDS
    assert "AutoAttack" in statement.findings[2].words
    assert judged(shelf.statement("The tuned recipe beats our DVERGE mixture"))[2] is OPEN


# --- what is missing ---


def test_without_figures_nothing_can_be_said(tmp_path: Path) -> None:
    for statement in report_statements(reproduce([])):
        assert statement.outcome is Outcome.OPEN
        assert all(not finding.rows for finding in statement.findings)


def test_without_adversarial_training_alone_it_says_so(shelf: Shelf) -> None:
    for kind in ("vanilla", "dverge", "early", "late"):
        shelf.add(kind)
    statement = shelf.statement("DVERGE adds to what")
    assert judged(statement) == [OPEN, OPEN]
    assert "no checkpoint of adversarial training alone" in statement.findings[0].words
    trained(shelf.root, "advt-3xconv-s0", "advt", 50)
    assert shelf.statement("DVERGE adds to what").findings[0].words == "Not measured yet."


def test_one_protocol_alone(shelf: Shelf) -> None:
    fill(shelf)
    for folder in shelf.root.glob(f"*/{FOLDER}"):
        for file in folder.glob("standard-*"):
            file.unlink()
    statement = shelf.statement("The DVERGE mixture gains ten")
    assert judged(statement) == [YES, OPEN]
    assert statement.outcome is Outcome.ONLY_THEN


def test_the_shipped_figures_are_judged_by_what_they_are() -> None:
    """Verdicts against the README's and the tables' plain numbers, not against themselves."""
    found = reproduce(checkpoints.list_all(ROOT / "checkpoints")[0])
    statements = {each.text: each for each in report_statements(found)}
    dverge, vanilla = found.table("dverge", 200), found.vanilla
    mixtures = [t.cell(STANDARD, "mixture", "pgd-l2") for t in (dverge, vanilla)]
    assert mixtures[0] is not None and mixtures[1] is not None
    if mixtures[0].high < mixtures[1].low:  # intervals that do not even touch
        beats = statements["Under PGD L2, the DVERGE mixture beats the vanilla mixture, too."]
        assert judged(beats)[1] is NO
    for statement in statements.values():
        assert statement.text.endswith(".") and statement.rule.endswith(".")
        for finding in statement.findings:
            assert finding.words.endswith(".")
            assert finding.rows or finding.judgement is OPEN
