"""How long an evaluation will take here, from a few real gradients."""

from __future__ import annotations

import time
from functools import partial

from torch import Tensor

from dverge import checkpoints
from dverge.attacks import AttackConfig, Norm, Victim
from dverge.attacks.gradient import value_and_gradient, victim_objective
from dverge.data import ImageSet, Split, load
from dverge.evaluation.evaluation import Evaluation
from dverge.evaluation.measurements import Measurement
from dverge.evaluation.store import ResultFile, read_results
from dverge.models import Ensemble, compiled

FIRST_TRY, FURTHER_TRIES = 0.65, 0.25  # share of the images that still stand, as a rule
TIMED = 256  # images


def estimate_seconds(evaluation: Evaluation) -> float:
    """About how long it takes to measure what is not kept yet; 0 if all is.

    How many images fall at once is not known before; the guess is that of a usual ensemble.
    """
    seconds = 0.0
    for info in evaluation.infos:
        kept = read_results(info, ResultFile.of(info, evaluation.config, evaluation.images))
        missing = [m for m in evaluation.measurements if not kept.find(m)]
        if missing:
            ensemble = checkpoints.load(info).to(evaluation.device)
            timed = partial(_gradient_seconds, load(Split.SAMPLE).to(evaluation.device))
            speeds = {
                exact: timed(ensemble if exact else compiled(ensemble)) for exact in (True, False)
            }
            each = sum(_gradients(m, len(ensemble)) * speeds[m.exact] for m in missing)
            seconds += each * len(evaluation.images)
    return seconds


def _gradients(measurement: Measurement, members: int) -> float:
    """Gradients of a member that an image takes, as a rule."""
    followed = sum(members if v.member is None else 1 for v in measurement.victims(members))
    stand = FIRST_TRY + FURTHER_TRIES * (measurement.restarts - 1) if measurement.pessimistic else 1
    return measurement.cost() * followed * stand


def _gradient_seconds(images: ImageSet, ensemble: Ensemble) -> float:
    """Seconds for the gradient of one member at one image."""
    pixels, labels = images.pixels(slice(TIMED)), images.labels[:TIMED]
    config = AttackConfig(Norm.LINF, 0.0, 0.0, 1)
    objective = victim_objective(ensemble, labels, config, Victim(0))

    def once() -> float:
        began = time.perf_counter()
        gradient: Tensor = value_and_gradient(objective, pixels)[1]
        gradient.sum().item()  # waits for the device
        return time.perf_counter() - began

    once()
    return min(once() for _ in range(3)) / len(labels)
