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
from dverge.evaluation.distilled import Counts, Distilled, Says, distilled, one_pair
from dverge.evaluation.diversity import Diversity, Pairs, diversity, draw_pairs
from dverge.evaluation.estimate import estimate_seconds
from dverge.evaluation.evaluation import Evaluation
from dverge.evaluation.examine import (
    MIXTURE_WORDS,
    Examination,
    Verdict,
    carried_over,
    every_victim,
    examine,
    judge,
    model_names,
    success,
    summarise,
)
from dverge.evaluation.learning import Curves
from dverge.evaluation.naming import attack_title, eps_title, model_title, victim_title
from dverge.evaluation.noise import NoiseTest, noise_test
from dverge.evaluation.overlap import Mean, Overlap, overlap, overlap_in_words
from dverge.evaluation.plane import Plane, attack_plane
from dverge.evaluation.protocols import PLANS, EvaluationConfig, Protocol
from dverge.evaluation.regions import Regions, regions, regions_on
from dverge.evaluation.report_figures import REPORT_FIGURES, FigureAgain, reproduce_figures
from dverge.evaluation.report_statements import report_statements
from dverge.evaluation.report_tables import COLUMNS, REPORT_TABLES, ReportTable
from dverge.evaluation.reproduction import Line, Reproduction, Spread, TableAgain, reproduce
from dverge.evaluation.sanity import Check, Signal, sanity_checks
from dverge.evaluation.smallest import SmallestEps, smallest_eps
from dverge.evaluation.snippet import snippet
from dverge.evaluation.statements import Finding, Judgement, Outcome, Statement, source_of
from dverge.evaluation.store import Results, Row, Subject, all_results, results_stamp
from dverge.evaluation.targets import TargetGrid, target_grid
from dverge.evaluation.trained import AUTO_COLUMNS, Trained, snapshot_epoch, trained_as
from dverge.evaluation.transfer import Transfer, transfer
from dverge.evaluation.verification import Verification, verify

__all__ = [
    "AUTO_COLUMNS",
    "COLUMNS",
    "MIXTURE_NAME",
    "MIXTURE_WORDS",
    "PLANS",
    "RANDOM_NAME",
    "REPORT_FIGURES",
    "REPORT_TABLES",
    "Accuracy",
    "Check",
    "Counts",
    "Curves",
    "Difference",
    "Distilled",
    "Diversity",
    "Evaluation",
    "EvaluationConfig",
    "Examination",
    "FigureAgain",
    "Finding",
    "Judgement",
    "Line",
    "Mean",
    "NoiseTest",
    "Outcome",
    "Overlap",
    "Pairs",
    "Plane",
    "Protocol",
    "Regions",
    "ReportTable",
    "Reproduction",
    "Results",
    "Row",
    "Says",
    "Signal",
    "SmallestEps",
    "Spread",
    "Standing",
    "Statement",
    "Subject",
    "TableAgain",
    "TargetGrid",
    "Trained",
    "Transfer",
    "Verdict",
    "Verification",
    "all_results",
    "answers",
    "attack_plane",
    "attack_title",
    "autoattack_available",
    "carried_over",
    "claims",
    "clean_accuracy",
    "difference",
    "distilled",
    "diversity",
    "draw_pairs",
    "eps_title",
    "estimate_seconds",
    "every_victim",
    "examine",
    "headlines",
    "judge",
    "model_names",
    "model_title",
    "models_of",
    "noise_test",
    "one_pair",
    "overlap",
    "overlap_in_words",
    "predictions",
    "regions",
    "regions_on",
    "report_statements",
    "reproduce",
    "reproduce_figures",
    "require_autoattack",
    "results_stamp",
    "sanity_checks",
    "smallest_eps",
    "snapshot_epoch",
    "snippet",
    "source_of",
    "success",
    "summarise",
    "target_grid",
    "trained_as",
    "transfer",
    "verify",
    "victim_title",
    "wilson_interval",
]
