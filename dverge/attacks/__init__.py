"""Attacks: settings of one projected-gradient loop, and the report's own variants."""

from dverge.attacks.config import (
    MIXTURE,
    Attack,
    AttackConfig,
    Norm,
    Through,
    Victim,
    fgsm,
    largest_eps,
    parse_victim,
    pgd,
)
from dverge.attacks.distillation import REPORT_DISTILLATION, distill, distill_path
from dverge.attacks.geometry import image_starts
from dverge.attacks.gradient import AttackResult, Trace, all_probabilities, attack
from dverge.attacks.report import report_attack
from dverge.attacks.strong import AnyConfig, StrongConfig, strong_attack

__all__ = [
    "MIXTURE",
    "REPORT_DISTILLATION",
    "AnyConfig",
    "Attack",
    "AttackConfig",
    "AttackResult",
    "Norm",
    "StrongConfig",
    "Through",
    "Trace",
    "Victim",
    "all_probabilities",
    "attack",
    "distill",
    "distill_path",
    "fgsm",
    "image_starts",
    "largest_eps",
    "parse_victim",
    "pgd",
    "report_attack",
    "strong_attack",
]
