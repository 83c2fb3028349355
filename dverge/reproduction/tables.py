"""Tables 1 to 3 of the report, as printed, and the settings behind them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dverge.training import PRESETS, Method

COLUMNS = ("clean", "fgsm", "pgd-linf", "pgd-l2")
MEMBERS = 3

FREE = {"epochs", "seed", "device", "snapshot_every", "start", "start_digest"}
"""Settings in which samples of one recipe may differ; of the epochs, see ReportTable."""
_SGD: dict[str, Any] = {
    "members": MEMBERS,
    "batch_size": 32,
    "learning_rate": 1e-3,
    "momentum": 0.9,
    "weight_decay": 0.0,
    "schedule": "constant",
    "augmentation": "none",
    "training_images": 48_976,
    "average_last": 0,
}
_DISTILLATION: dict[str, Any] = {
    "alpha": 1.0,
    "clean_weight": 0.0,
    "layer": "epoch",
    "distill_eps": 0.07,
    "distill_step_size": 0.007,
    "distill_steps": 10,
    "distill_momentum": 0.0,
    "distill_random_start": False,
    "diversity": "eq4",
    "cap": 0.0,
}
_ADVERSARIAL: dict[str, Any] = {
    "adv_eps": 0.03,
    "adv_step_size": 0.007,
    "adv_steps": 10,
    "adv_random_start": True,
}
RECIPES: dict[str, dict[str, Any]] = {
    "vanilla": _SGD,
    "dverge": _SGD | _DISTILLATION,
    "dverge-advt": _SGD | _DISTILLATION | _ADVERSARIAL | {"adv_weight": 1.0},
    "advt": _SGD | _ADVERSARIAL | {"attacked": "members", "joint": False, "clean_weight": 0.0},
    "tuned": {k: v for k, v in PRESETS[Method.ADVT]["tuned"].to_dict().items() if k not in FREE},
}
"""All settings but the free ones.

The report has no adversarial training alone ("advt"): it is DVERGE+AdvT's without DVERGE. "tuned"
is the best recipe found for the same network.
"""


@dataclass(frozen=True)
class ReportTable:
    """A table, or the half of Table 3 that is about one number of epochs.

    Attributes:
        title: what it is.
        method, epochs: of the training it is about.
        recipe: which of RECIPES it is of; the one named like the method if empty.
        rows: per cent by model, in the order of COLUMNS.
        number: as the report counts its tables.
        took: what the report says of the time it took, if anything.
    """

    title: str
    method: str
    epochs: int
    rows: dict[str, tuple[float, float, float, float]]
    number: int = 0
    took: str = ""
    recipe: str = ""


REPORT_TABLES = (
    ReportTable(
        "Table 1: vanilla, 30 epochs",
        "vanilla",
        30,
        {
            "member-1": (61.76, 4.10, 0.781, 43.26),
            "member-2": (59.61, 4.79, 1.270, 46.39),
            "member-3": (61.64, 4.39, 1.074, 45.12),
        },
        number=1,
    ),
    ReportTable(
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
    ),
    ReportTable(
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
    ),
    ReportTable(
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
    ),
)
