"""What the report states of its tables, judged by our figures under both protocols."""

from __future__ import annotations

from dverge.evaluation.protocols import Protocol
from dverge.reproduction.checks import ABOUT, MARGIN, less, more, over_ten, stable, ten_more
from dverge.reproduction.findings import (
    LINF,
    about,
    above_printed,
    against_best,
    as_printed,
    below_chance,
    carried_over,
    clean,
    each_submodel,
    hidden_way,
    mixtures,
)
from dverge.reproduction.reproduction import Reproduction
from dverge.reproduction.statements import Statement, missing
from dverge.reproduction.tables import COLUMNS
from dverge.reproduction.trained import AUTO_COLUMNS

BOTH = (Protocol.REPORT, Protocol.STANDARD)
ATTACKED = COLUMNS[1:]
CLEARLY = "Holds if the difference is clear of zero in every column named and every training."
L2_BUDGETS = (
    "The report's PGD L2 moves an image by 0.15 at most, the standard protocol's by 0.5: two "
    "different questions."
)
AUTO = {Protocol.REPORT: COLUMNS, Protocol.STANDARD: COLUMNS, Protocol.AUTOATTACK: AUTO_COLUMNS}
TEST_IMAGES = "Ten thousand test images tell smaller differences than 1,024 validation images do."
FOUR_WAYS = (
    "The report's attacks follow the mixture's mean probability alone. The standard protocol also "
    "follows its mean logit, its mean loss and each submodel, and keeps the worst of all for each "
    "image."
)


def report_statements(found: Reproduction) -> list[Statement]:
    """The report's sentences on its tables, in its order, and what it should be asked beside."""
    return [
        *_of_table_1(found),
        *_of_table_2(found),
        *_beside(found),
        *_of_table_3(found),
        *_of_tuned(found),
    ]


def _of_table_1(found: Reproduction) -> list[Statement]:
    vanilla = found.vanilla
    return [
        Statement(
            "A vanilla classifier is right on about 60 % of the images.",
            "Clean data accuracy is approximately 60%",
            "3.1",
            f"Holds if each submodel's interval comes within {ABOUT:g} points of 60 %.",
            tuple(about(vanilla, protocol, "clean", 60) for protocol in BOTH),
        ),
        Statement(
            "Under PGD L2, a vanilla classifier still is right on about 45 %.",
            "PGD L2 Norm attacked data achieves a relatively good accuracy, around 45%",
            "3.1",
            f"Holds if each submodel's interval comes within {ABOUT:g} points of 45 %.",
            tuple(about(vanilla, protocol, "pgd-l2", 45) for protocol in BOTH),
            L2_BUDGETS,
        ),
        Statement(
            "Under FGSM and PGD L∞, a vanilla classifier is worse than guessing.",
            "FGSM and PGD L∞ Norm attacked data exhibit low accuracies, indicating the vanilla "
            "classifiers’ vulnerability",
            "3.1",
            "Holds if each submodel's interval lies below 10 %, which guessing gets.",
            tuple(below_chance(vanilla, protocol) for protocol in BOTH),
        ),
    ]


def _of_table_2(found: Reproduction) -> list[Statement]:
    dverge, vanilla = found.table("dverge", 200), found.vanilla
    return [
        Statement(
            "The DVERGE mixture beats each of its own submodels in every column.",
            "the DVERGE Model Mixture outperforms in all aspects, including clean data",
            "3.2.2",
            CLEARLY,
            tuple(against_best(dverge, dverge, p, COLUMNS, more) for p in BOTH),
            FOUR_WAYS,
        ),
        Statement(
            "The DVERGE mixture beats each vanilla submodel in every column.",
            "the DVERGE Model Mixture outperforms in all aspects, including clean data",
            "3.2.2",
            CLEARLY,
            tuple(against_best(dverge, vanilla, p, COLUMNS, more) for p in BOTH),
            f"Under PGD L2:{as_printed(dverge, vanilla, 'pgd-l2')} {L2_BUDGETS}",
        ),
        Statement(
            "The DVERGE mixture gains ten points over a vanilla submodel under PGD L∞.",
            "it exhibits a 10-point accuracy increase in PGD L∞ attacks",
            "3.2.2",
            "Holds if there is a clear gain over the best vanilla submodel, and ten points are not "
            "ruled out.",
            tuple(against_best(dverge, vanilla, p, ("pgd-linf",), ten_more) for p in BOTH),
            FOUR_WAYS,
        ),
        Statement(
            "A DVERGE submodel by itself is not robust: it loses under PGD L2.",
            "the individual submodels experiencing a decrease in PGD L2 attack accuracy",
            "3.2.2",
            "Each submodel beside the vanilla submodel it began as. " + CLEARLY,
            tuple(each_submodel(dverge, vanilla, p, ("pgd-l2",), less) for p in BOTH),
        ),
        Statement(
            "Under FGSM and PGD L∞, a DVERGE submodel stays worse than guessing.",
            "a stall in FGSM and PGD L∞ attack accuracy",
            "3.2.2",
            "Holds if each submodel's interval lies below 10 %, which guessing gets.",
            tuple(below_chance(dverge, protocol) for protocol in BOTH),
        ),
    ]


def _beside(found: Reproduction) -> list[Statement]:
    """On DVERGE against the mixture of vanilla submodels, which the report does not show."""
    dverge, vanilla = found.table("dverge", 200), found.vanilla
    return [
        Statement(
            "DVERGE keeps the clean accuracy of the vanilla mixture.",
            "enhanced the overall ensemble robustness without compromising clean data accuracy",
            "5",
            f"Holds if it is not clearly lower, and a loss of {MARGIN:g} points is ruled out.",
            clean(dverge, vanilla),
            TEST_IMAGES,
        ),
        Statement(
            "Under FGSM and PGD L∞, the DVERGE mixture beats the vanilla mixture, too.",
            "",
            "",
            CLEARLY,
            tuple(mixtures(dverge, vanilla, p, LINF, more) for p in BOTH),
            FOUR_WAYS + hidden_way(dverge),
        ),
        Statement(
            "Under PGD L2, the DVERGE mixture beats the vanilla mixture, too.",
            "",
            "",
            CLEARLY,
            tuple(mixtures(dverge, vanilla, p, ("pgd-l2",), more) for p in BOTH),
            "DVERGE's distilled features are bounded in L∞; no term of its loss is about L2.",
        ),
        Statement(
            "L∞ attacks on single submodels carry over less to the DVERGE mixture.",
            "This isolation significantly reduces within-ensemble attack transferability",
            "2.1",
            "Compared with the vanilla mixture under the attacks on each submodel, the worst image "
            "by image. " + CLEARLY,
            (carried_over(dverge, vanilla),),
        ),
    ]


def _of_table_3(found: Reproduction) -> list[Statement]:
    early, late = found.table("dverge-advt", 25), found.table("dverge-advt", 50)
    dverge = found.table("dverge", 200)
    alone = tuple(mixtures(late, found.advt, p, ATTACKED, more) for p in BOTH)
    if not found.advt.trained:
        words = "There is no checkpoint of adversarial training alone for 50 epochs yet."
        alone = tuple(missing(str(protocol), words) for protocol in BOTH)
    return [
        Statement(
            "DVERGE+AdvT gains over ten points over DVERGE under PGD L∞ and PGD L2.",
            "accuracies on PGD L∞ and PGD L2 attacked data show over a 10-point increase compared "
            "to Table 2",
            "4",
            "Holds if both gains over the DVERGE mixture are clearly over ten points.",
            tuple(mixtures(late, dverge, p, ("pgd-linf", "pgd-l2"), over_ten) for p in BOTH),
        ),
        Statement(
            "DVERGE+AdvT is right under FGSM as often as DVERGE.",
            "while FGSM attacked data accuracy remains stable",
            "4",
            f"Holds if there is no clear difference, and one of {MARGIN:g} points is ruled out.",
            tuple(mixtures(late, dverge, p, ("fgsm",), stable) for p in BOTH),
            FOUR_WAYS + hidden_way(dverge),
        ),
        Statement(
            "DVERGE+AdvT costs no clean accuracy beside DVERGE.",
            "Clean data accuracy remains high, […] with no decrease",
            "4",
            "Compared with the DVERGE mixture. Holds if it is not clearly lower, and a loss of "
            f"{MARGIN:g} points is ruled out.",
            clean(late, dverge),
            TEST_IMAGES + as_printed(late, dverge, "clean"),
        ),
        Statement(
            "DVERGE+AdvT's submodels are more robust by themselves than DVERGE's.",
            "The DVERGE+AdvT Submodels exhibit greater independent robustness compared to the "
            "DVERGE Submodels",
            "4",
            CLEARLY,
            tuple(each_submodel(late, dverge, p, ATTACKED, more) for p in BOTH),
        ),
        Statement(
            "DVERGE+AdvT is better after 50 epochs than after 25, under every attack.",
            "yielding better results from 25 to 50 epochs",
            "4",
            CLEARLY,
            tuple(mixtures(late, early, p, ATTACKED, more) for p in BOTH),
        ),
        Statement(
            "DVERGE adds to what adversarial training alone would give.",
            "",
            "",
            CLEARLY,
            alone,
        ),
    ]


def _of_tuned(found: Reproduction) -> list[Statement]:
    """On the best recipe found for the same network."""
    tuned, dverge, late = found.tuned, found.table("dverge", 200), found.table("dverge-advt", 50)
    if not tuned.measured:
        return []
    beaten = {"DVERGE": dverge, "DVERGE+AdvT": late}
    return [
        Statement(
            "The tuned recipe beats every mixture that the report prints, in every column.",
            "",
            "",
            "Holds if, in every training, the figure is above those of both tables' mixtures.",
            (above_printed(tuned, found.tables),),
        ),
        *(
            Statement(
                f"The tuned recipe beats our {title} mixture in every column.",
                "",
                "",
                CLEARLY,
                tuple(mixtures(tuned, theirs, p, columns, more) for p, columns in AUTO.items()),
            )
            for title, theirs in beaten.items()
        ),
    ]
