"""What the report prints, as data: its title, Tables 1 to 3, Figures 2 to 4, and its claims."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

from dverge.evaluation.protocols import EPS, L2_EPS, REPORT_EPS, Protocol
from dverge.training import PRESETS, Method

REPORT = (
    "Mathilde Kretz and Alexandre Ngau (MarsAttacks), “Adversarial Robustness through "
    "Non-Adversarial Training by Diversifying Vulnerabilities in a Model Mixture”, Data Science "
    "Project, PSL Research University, December 2023"
)
PAPER = (
    "Yang et al., “DVERGE: Diversifying Vulnerabilities for Enhanced Robust Generation of "
    "Ensembles”, 2020, arXiv:2009.14720"
)

COLUMNS = ("clean", "fgsm", "pgd-linf", "pgd-l2")
MEMBERS = 3
TUNED = "tuned"
AUTO_COLUMNS = ("aa-linf", "aa-l2")
SETTINGS: dict[Protocol, dict[str, tuple[str, dict[str, Any]]]] = {
    Protocol.REPORT: {column: (column, {}) for column in COLUMNS},
    Protocol.STANDARD: {
        "clean": ("clean", {}),
        "fgsm": ("fgsm", {"eps": REPORT_EPS}),
        "pgd-linf": ("strong-linf", {"eps": EPS}),
        "pgd-l2": ("strong-l2", {"eps": L2_EPS}),
    },
    Protocol.HEADLINE: {"clean": ("clean", {}), "strong-linf": ("strong-linf", {"eps": EPS})},
    Protocol.AUTOATTACK: {
        "aa-linf": ("aa-linf", {"eps": EPS}),
        "aa-l2": ("aa-l2", {"eps": L2_EPS}),
    },
}
"""What a column holds, by protocol: an attack and its setting."""
SINGLE = {"fgsm": ("fgsm", {"eps": REPORT_EPS}), "pgd-linf": ("pgd-linf", {"eps": EPS})}
"""The same for attacks on single submodels under the standard protocol."""
FREE = {"epochs", "seed", "device", "snapshot_every", "start", "start_digest"}
"""Settings in which two trainings of one recipe may differ; a table states its epochs."""
RECIPES: dict[str, dict[str, Any]] = {
    name: {k: v for k, v in preset.to_dict().items() if k not in FREE}
    for name, preset in [
        *((str(method), PRESETS[method]["report"]) for method in Method),
        (TUNED, PRESETS[Method.ADVT][TUNED]),
    ]
}
"""All settings of a recipe but the free ones, by its name.

"advt", which the report lacks, is DVERGE+AdvT without DVERGE; "tuned" is the best recipe found.
"""


@dataclass(frozen=True)
class ReportTable:
    """A table, or the half of Table 3 that is about one number of epochs.

    Attributes:
        title: for the screen.
        method, epochs: of the training it is about.
        rows: per cent by model, in the order of COLUMNS; empty for what the report lacks.
        number: the table's number in the report.
        took: the time that the training took the report's authors.
        recipe: a key of RECIPES; the method's own if empty.
    """

    title: str
    method: str
    epochs: int
    rows: dict[str, tuple[float, float, float, float]]
    number: int = 0
    took: str = ""
    recipe: str = ""

    @property
    def training(self) -> str:
        """The training that it is about, such as "DVERGE, 200 epochs"."""
        return self.title.rpartition(": ")[2]


VANILLA = ReportTable(
    "Table 1: vanilla, 30 epochs",
    "vanilla",
    30,
    {
        "member-1": (61.76, 4.10, 0.781, 43.26),
        "member-2": (59.61, 4.79, 1.270, 46.39),
        "member-3": (61.64, 4.39, 1.074, 45.12),
    },
    number=1,
)
DVERGE = ReportTable(
    "Table 2: DVERGE, 200 epochs",
    "dverge",
    200,
    {
        "member-1": (56.91, 7.13, 1.563, 24.02),
        "member-2": (56.91, 6.35, 0.684, 24.80),
        "member-3": (62.10, 8.40, 1.465, 30.18),
        "mixture": (67.38, 34.67, 10.55, 44.82),
    },
    number=2,
    took="around 8 hours on one RTX A6000 GPU",
)
DVERGE_ADVT_25 = ReportTable(
    "Table 3: DVERGE+AdvT, 25 epochs",
    "dverge-advt",
    25,
    {
        "member-1": (58.36, 24.02, 19.92, 52.05),
        "member-2": (61.09, 26.76, 19.82, 54.69),
        "member-3": (64.06, 26.76, 19.73, 55.57),
        "mixture": (63.87, 31.54, 25.98, 57.03),
    },
    number=3,
    took="around 2 hours on one RTX A6000 GPU",
)
DVERGE_ADVT = ReportTable(
    "Table 3: DVERGE+AdvT, 50 epochs",
    "dverge-advt",
    50,
    {
        "member-1": (61.17, 27.25, 21.58, 53.91),
        "member-2": (62.03, 27.54, 20.51, 56.35),
        "member-3": (65.23, 27.73, 20.02, 57.62),
        "mixture": (63.43, 33.40, 27.15, 59.57),
    },
    number=3,
    took="around 4 hours on one RTX A6000 GPU",
)
REPORT_TABLES = (VANILLA, DVERGE, DVERGE_ADVT_25, DVERGE_ADVT)
ADVT = ReportTable("AdvT, 50 epochs", "advt", 50, {})
TUNED_ADVT = ReportTable(
    "The tuned recipe", "advt", PRESETS[Method.ADVT][TUNED].epochs, {}, recipe=TUNED
)


@dataclass(frozen=True)
class ReportFigure:
    """A figure of the report: a picture without data, so that only our own curves can be drawn.

    Attributes:
        number: the figure's number in the report.
        caption: as printed.
        method, epochs: of the training it is about.
        turns: the epoch at which, the report says, "training" and "validation" losses turn.
        members_only: its validation losses are the submodels', not the mixture's.
    """

    number: int
    caption: str
    method: str
    epochs: int
    turns: dict[str, int]
    members_only: bool = False


_BASELINES = "Training and Validation Loss of Three Baseline Models as a Function of the Epochs"
_MIXTURE = (
    "Training Loss of the Three Submodels of the {0} Model Mixture, and Validation Loss of the {0} "
    "Model Mixture, as a Function of the Epochs"
)
_ADVT_TURNS = {"training": 40, "validation": 40}
REPORT_FIGURES = (
    ReportFigure(2, _BASELINES, "vanilla", 100, {"validation": 30}, members_only=True),
    ReportFigure(3, _MIXTURE.format("DVERGE"), "dverge", 200, {"training": 200}),
    ReportFigure(4, _MIXTURE.format("DVERGE+AdvT"), "dverge-advt", 50, _ADVT_TURNS),
)


class Rule(enum.StrEnum):
    """When a claim holds, in words."""

    ABOUT_60 = "Each submodel's interval comes within 5 points of 60 %."
    CLEARLY_MORE = "In every column and training, the gain's interval is above zero."
    TEN_POINTS_MORE = "The gain's interval is above zero, and does not end below ten points."
    OVER_TEN_POINTS_MORE = "In every column and training, the gain's interval is above ten."
    NOT_LESS = "The interval of the difference is not below zero, and excludes a loss of 3."
    OVERFITS_AFTER_30 = "Each validation loss is lowest at epoch 30 ± 10, then rises by over 1 %."
    STALLS_AT_THE_END = "Under a tenth of each training loss's fall is in the last tenth of epochs."
    STALLS_AROUND_40 = "Under a tenth of each loss's fall is after epoch 40, more after epoch 30."


@dataclass(frozen=True)
class Claim:
    """A sentence of the report, or a question that its tables raise, and how to judge it.

    Attributes:
        text: the claim.
        rule: when it holds.
        ours: the training whose mixture it is about; of rules that compare nothing, its submodels.
        theirs: the training that it is compared with.
        quote, section: the report's words and where they are; empty if it does not say so.
        best_submodel: compared is the best of their submodels instead of their mixture.
        columns: the attacks that count.
        single: whether they are attacks on single submodels, instead of the worst of all.
        figure: the report's figure whose curves decide; 0 if results do.
        why: what explains that it does not hold, or not under every protocol.
    """

    text: str
    rule: Rule
    ours: ReportTable
    theirs: ReportTable | None = None
    quote: str = ""
    section: str = ""
    best_submodel: bool = False
    columns: tuple[str, ...] = COLUMNS
    single: bool = False
    figure: int = 0
    why: str = ""


_LINF = ("fgsm", "pgd-linf")
_FOUR_WAYS = (
    "The report's attacks follow the mixture's mean probability alone; those of the standard "
    "protocol also its mean logit and each submodel, and the worst counts for each image."
)
_MORE_IMAGES = "10,000 test images show smaller differences than 1,024 validation images."

CLAIMS = (
    Claim(
        "A vanilla classifier is correct on about 60 % of the images.",
        Rule.ABOUT_60,
        VANILLA,
        quote="Clean data accuracy is approximately 60%",
        section="3.1",
        columns=("clean",),
    ),
    Claim(
        "A vanilla classifier overfits after about 30 epochs.",
        Rule.OVERFITS_AFTER_30,
        VANILLA,
        quote="after around 30 epochs, the models exhibit overfitting as validation losses "
        "increase",
        section="3.1, Figure 2",
        figure=2,
    ),
    Claim(
        "DVERGE's mixture beats its own submodels in every column.",
        Rule.CLEARLY_MORE,
        DVERGE,
        DVERGE,
        quote="the DVERGE Model Mixture outperforms in all aspects, including clean data",
        section="3.2.2",
        best_submodel=True,
        why=_FOUR_WAYS,
    ),
    Claim(
        "DVERGE's mixture beats the vanilla submodels in every column.",
        Rule.CLEARLY_MORE,
        DVERGE,
        VANILLA,
        quote="the DVERGE Model Mixture outperforms in all aspects, including clean data",
        section="3.2.2",
        best_submodel=True,
        why="Under PGD L2, the report's own tables have 44.82 % against 46.39 %. Its PGD L2 moves "
        "an image by 0.15 at most, the standard protocol's by 0.5: two different questions.",
    ),
    Claim(
        "DVERGE gains ten points over vanilla submodels under PGD L∞.",
        Rule.TEN_POINTS_MORE,
        DVERGE,
        VANILLA,
        quote="it exhibits a 10-point accuracy increase in PGD L∞ attacks",
        section="3.2.2",
        best_submodel=True,
        columns=("pgd-linf",),
        why=_FOUR_WAYS,
    ),
    Claim(
        "DVERGE's mixture beats the vanilla mixture under L∞, too.",
        Rule.CLEARLY_MORE,
        DVERGE,
        VANILLA,
        columns=_LINF,
        why=_FOUR_WAYS,
    ),
    Claim(
        "Attacks on single submodels carry over less to DVERGE's mixture.",
        Rule.CLEARLY_MORE,
        DVERGE,
        VANILLA,
        quote="This isolation significantly reduces within-ensemble attack transferability",
        section="2.1",
        columns=_LINF,
        single=True,
    ),
    Claim(
        "DVERGE keeps the clean accuracy of the vanilla mixture.",
        Rule.NOT_LESS,
        DVERGE,
        VANILLA,
        quote="enhanced the overall ensemble robustness without compromising clean data accuracy",
        section="5",
        columns=("clean",),
        why=_MORE_IMAGES,
    ),
    Claim(
        "DVERGE's training losses stall by epoch 200.",
        Rule.STALLS_AT_THE_END,
        DVERGE,
        quote="they asymptotically decrease, seemingly reaching a stalling minimum around the "
        "200th epoch",
        section="3.2.2, Figure 3",
        figure=3,
    ),
    Claim(
        "DVERGE+AdvT gains over ten points under PGD L∞ and PGD L2.",
        Rule.OVER_TEN_POINTS_MORE,
        DVERGE_ADVT,
        DVERGE,
        quote="PGD L∞ and PGD L2 attacked data show over a 10-point increase compared to Table 2",
        section="4",
        columns=("pgd-linf", "pgd-l2"),
    ),
    Claim(
        "DVERGE+AdvT costs no clean accuracy beside DVERGE.",
        Rule.NOT_LESS,
        DVERGE_ADVT,
        DVERGE,
        quote="Clean data accuracy remains high, […] with no decrease",
        section="4",
        columns=("clean",),
        why=f"{_MORE_IMAGES} The report's own tables have 63.43 % against 67.38 %.",
    ),
    Claim(
        "DVERGE+AdvT is better after 50 epochs than after 25.",
        Rule.CLEARLY_MORE,
        DVERGE_ADVT,
        DVERGE_ADVT_25,
        quote="yielding better results from 25 to 50 epochs",
        section="4",
        columns=COLUMNS[1:],
    ),
    Claim(
        "DVERGE+AdvT's losses stall around epoch 40.",
        Rule.STALLS_AROUND_40,
        DVERGE_ADVT,
        quote="the loss decrease is consistent, […] hitting a stalling minimum around 40 epochs",
        section="4, Figure 4",
        figure=4,
    ),
    Claim(
        "DVERGE adds to what adversarial training alone gives.",
        Rule.CLEARLY_MORE,
        DVERGE_ADVT,
        ADVT,
        columns=COLUMNS[1:],
    ),
)
"""In the report's order; those without a quote are questions that it does not ask."""
