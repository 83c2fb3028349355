"""How long an evaluation will take here, from a few real gradients."""

from __future__ import annotations

import time

from dverge import checkpoints
from dverge.attacks import AttackConfig, Norm, Victim
from dverge.attacks.gradient import value_and_gradient, victim_objective
from dverge.data import ImageSet, Split, load
from dverge.evaluation.evaluation import Evaluation
from dverge.evaluation.measurements import expected_gradients
from dverge.evaluation.store import ResultFile, read_results
from dverge.models import Ensemble, compiled

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
                gradients = expected_gradients(measurement, len(ensemble))
                seconds += gradients * speed * len(evaluation.images)
    return seconds


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
