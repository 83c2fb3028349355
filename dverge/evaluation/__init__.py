"""Measurement: accuracies under attack with their intervals, and single images examined."""

from dverge.evaluation.accuracy import (
    MIXTURE_NAME,
    RANDOM_NAME,
    Accuracy,
    answers,
    clean_accuracy,
    headlines,
    models_of,
    predictions,
    wilson_interval,
)
from dverge.evaluation.autoattack import autoattack_available, require_autoattack
from dverge.evaluation.comparison import Difference, Standing, claims, difference
from dverge.evaluation.diversity import Diversity, Pairs, diversity, draw_pairs
from dverge.evaluation.estimate import estimate_seconds
from dverge.evaluation.evaluation import Evaluation
from dverge.evaluation.examine import (
    Examination,
    Verdict,
    examine,
    judge,
    model_names,
    summarise,
)
from dverge.evaluation.naming import attack_title, eps_title, model_title, victim_title
from dverge.evaluation.protocols import PLANS, EvaluationConfig, Protocol
from dverge.evaluation.regions import Plane, Regions, attack_plane, regions, regions_on
from dverge.evaluation.report_tables import COLUMNS, REPORT_TABLES, ReportTable
from dverge.evaluation.sanity import Check, Signal, sanity_checks
from dverge.evaluation.store import Results, Row, Subject, all_results, results_stamp
from dverge.evaluation.transfer import Transfer, transfer

__all__ = [
    "COLUMNS",
    "MIXTURE_NAME",
    "PLANS",
    "RANDOM_NAME",
    "REPORT_TABLES",
    "Accuracy",
    "Check",
    "Difference",
    "Diversity",
    "Evaluation",
    "EvaluationConfig",
    "Examination",
    "Pairs",
    "Plane",
    "Protocol",
    "Regions",
    "ReportTable",
    "Results",
    "Row",
    "Signal",
    "Standing",
    "Subject",
    "Transfer",
    "Verdict",
    "all_results",
    "answers",
    "attack_plane",
    "attack_title",
    "autoattack_available",
    "claims",
    "clean_accuracy",
    "difference",
    "diversity",
    "draw_pairs",
    "eps_title",
    "estimate_seconds",
    "examine",
    "headlines",
    "judge",
    "model_names",
    "model_title",
    "models_of",
    "predictions",
    "regions",
    "regions_on",
    "require_autoattack",
    "results_stamp",
    "sanity_checks",
    "summarise",
    "transfer",
    "victim_title",
    "wilson_interval",
]
