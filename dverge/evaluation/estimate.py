"""How long an evaluation will take here, from a few real gradients."""

from __future__ import annotations

import time

from dverge import checkpoints
from dverge.attacks import AttackConfig, Norm, Victim
from dverge.attacks.gradient import value_and_gradient, victim_objective
from dverge.data import ImageSet, Split, load
from dverge.evaluation.evaluation import Evaluation
from dverge.evaluation.measurements import Measurement, members_followed
from dverge.evaluation.store import ResultFile, read_results
from dverge.models import Ensemble, compiled

FIRST_ATTEMPT, FURTHER_ATTEMPTS = 0.65, 0.25  # share of the images attacked, for a usual ensemble
TIMED = 256  # images


def estimate_seconds(evaluation: Evaluation) -> float:
    """About how long the missing measurements will take, as for a usual ensemble; 0 if none are."""
    seconds = 0.0
    for info in evaluation.infos:
        kept = read_results(info, ResultFile.of(info, evaluation.config, evaluation.images))
        missing = [m for m in evaluation.measurements if not kept.find(m)]
        if missing:
            ensemble = checkpoints.load(info).to(evaluation.device)
            images = load(Split.SAMPLE).to(evaluation.device)
            plain, fast = (_gradient_seconds(images, e) for e in (ensemble, compiled(ensemble)))
            for measurement in missing:
                speed = plain if measurement.plain_torch else fast
                seconds += _gradients(measurement, len(ensemble)) * speed * len(evaluation.images)
    return seconds


def _gradients(measurement: Measurement, members: int) -> float:
    """Gradients of one member that an image takes, for a usual ensemble."""
    followed = sum(members_followed(v, members) for v in measurement.victims(members))
    attempts = FIRST_ATTEMPT + FURTHER_ATTEMPTS * (measurement.restarts - 1)
    return measurement.cost() * followed * (attempts if measurement.worst_case else 1)


def _gradient_seconds(images: ImageSet, ensemble: Ensemble) -> float:
    """Seconds for the gradient of one member at one image."""
    pixels, labels = images.pixels(slice(TIMED)), images.labels[:TIMED]
    objective = victim_objective(ensemble, labels, AttackConfig(Norm.LINF, 0, 0, 1), Victim(0))

    def timed() -> float:
        began = time.perf_counter()
        _, gradient = value_and_gradient(objective, pixels)
        gradient.sum().item()  # waits for the device
        return time.perf_counter() - began

    timed()  # the first one may compile
    return min(timed() for _ in range(3)) / len(labels)
