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
from dverge.evaluation.naming import attack_title, eps_title, model_title, victim_title
from dverge.evaluation.noise import NoiseTest, noise_test
from dverge.evaluation.overlap import Mean, Overlap, overlap, overlap_in_words
from dverge.evaluation.plane import Plane, attack_plane
from dverge.evaluation.protocols import PLANS, EvaluationConfig, Protocol
from dverge.evaluation.regions import Regions, regions, regions_on
from dverge.evaluation.sanity import Check, Signal, sanity_checks
from dverge.evaluation.smallest import SmallestEps, smallest_eps
from dverge.evaluation.snippet import snippet
from dverge.evaluation.store import (
    Images,
    Results,
    Row,
    Subject,
    all_results,
    results_stamp,
    rows_under,
    shared_images,
)
from dverge.evaluation.targets import TargetGrid, target_grid
from dverge.evaluation.transfer import Transfer, transfer

__all__ = [
    "MIXTURE_NAME",
    "MIXTURE_WORDS",
    "PLANS",
    "RANDOM_NAME",
    "Accuracy",
    "Check",
    "Counts",
    "Difference",
    "Distilled",
    "Diversity",
    "Evaluation",
    "EvaluationConfig",
    "Examination",
    "Images",
    "Mean",
    "NoiseTest",
    "Overlap",
    "Pairs",
    "Plane",
    "Protocol",
    "Regions",
    "Results",
    "Row",
    "Says",
    "Signal",
    "SmallestEps",
    "Standing",
    "Subject",
    "TargetGrid",
    "Transfer",
    "Verdict",
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
    "require_autoattack",
    "results_stamp",
    "rows_under",
    "sanity_checks",
    "shared_images",
    "smallest_eps",
    "snippet",
    "success",
    "summarise",
    "target_grid",
    "transfer",
    "victim_title",
    "wilson_interval",
]
