"""Targeted attacks from every class to every other: which mistakes are easy to cause."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dverge.attacks import MIXTURE, AttackConfig, Victim, image_starts
from dverge.attacks.gradient import ascend, victim_logits, victim_objective
from dverge.data import CLASSES, ImageSet
from dverge.errors import require_integer
from dverge.evaluation.predictions import in_batches, input_pixels
from dverge.models import Ensemble
from dverge.results import wilson_interval

BATCH = 256


@dataclass(frozen=True, eq=False)
class TargetGrid:
    """How often attacks towards each class reach it.

    Attributes:
        reached: int64, 10×10 on the CPU; [source, target] counts the images of class source that
            the victim classifies as target after the attack. The diagonal is 0.
        attacked: int64, 10, the images of each class that the victim classifies correctly before.
        config: the attack, targeted.
        victim: the model under attack.
    """

    reached: Tensor
    attacked: Tensor
    config: AttackConfig
    victim: Victim

    def rate(self) -> Tensor:
        """10×10 float64 in per cent; NaN on the diagonal and where no image was attacked."""
        share = 100 * self.reached.double() / self.attacked.double().unsqueeze(1)
        return share.fill_diagonal_(torch.nan)

    def interval(self, source: int, target: int) -> tuple[float, float]:
        """Wilson 95 % interval of one cell, in per cent."""
        low, high = wilson_interval(int(self.reached[source, target]), int(self.attacked[source]))
        return 100 * low, 100 * high

    def summary(self) -> str:
        """How often attacks reach their target, and the easiest target, in a sentence."""
        attacks = int(self.attacked.sum()) * (len(CLASSES) - 1)
        if not attacks:
            return "The victim gets none of the images right, so there is nothing to attack."
        by_target = self.reached.sum(0) / (self.attacked.sum() - self.attacked).clamp_min(1)
        easiest = int(by_target.argmax())
        share = 100 * int(self.reached.sum()) / attacks
        return (
            f"{share:.0f} % of {attacks:,} targeted attacks reach their target; the easiest to "
            f"reach is {CLASSES[easiest]}, with {100 * by_target[easiest]:.0f} %."
        )


def target_grid(
    ensemble: Ensemble,
    images: ImageSet,
    config: AttackConfig,
    victim: Victim = MIXTURE,
    on_progress: Callable[[float], None] | None = None,
) -> TargetGrid:
    """Attack every image towards each of the nine other classes.

    A random start depends only on the seed and the image's number.

    Args:
        ensemble: the members, on the images' device; left as they are.
        images: to choose from; those that the victim classifies correctly are attacked.
        config: the attack, of one restart; it is made targeted.
        victim: the model that is attacked and evaluated.
        on_progress: called with the share done, above 0 to 1, after each batch and target.

    Raises:
        ConfigError: the victim does not exist, or there is more than one restart.
    """
    require_integer("restarts", config.restarts, 1, 1)
    victim.check(ensemble)
    config = replace(config, targeted=True)
    images = _correct(ensemble, images, victim)
    batches, classes = in_batches(images, BATCH), len(CLASSES)
    reached = torch.zeros(classes, classes, dtype=torch.int64)
    for at, batch in enumerate(batches):
        for target in range(classes):
            success = _reaches(ensemble, batch, config, victim, target)
            sources = batch.labels[success & (batch.labels != target)]
            reached[:, target] += sources.cpu().bincount(minlength=classes)
            if on_progress:
                on_progress((at * classes + target + 1) / (len(batches) * classes))
    return TargetGrid(reached, images.labels.cpu().bincount(minlength=classes), config, victim)


def _predicted(ensemble: Ensemble, pixels: Tensor, victim: Victim) -> Tensor:
    """The N classes that the victim predicts."""
    with torch.no_grad():
        return victim_logits(ensemble, pixels, victim).argmax(1)


def _correct(ensemble: Ensemble, images: ImageSet, victim: Victim) -> ImageSet:
    """The images that the victim classifies correctly."""
    correct = [
        _predicted(ensemble, input_pixels(ensemble, batch), victim) == batch.labels
        for batch in in_batches(images, BATCH)
    ]
    return images.subset(torch.cat(correct).nonzero().flatten())


def _reaches(
    ensemble: Ensemble, images: ImageSet, config: AttackConfig, victim: Victim, target: int
) -> Tensor:
    """N booleans: an attack towards the target class makes the victim predict it."""
    origin = start = input_pixels(ensemble, images)
    if config.random_start:
        start = image_starts(origin, images.indices.tolist(), config, restart=0)
    aims = torch.full_like(images.labels, target)
    objective = victim_objective(ensemble, aims, config, victim)
    adversarial = ascend(objective, start, origin, config, keep_all=False).images[-1]
    return _predicted(ensemble, adversarial, victim) == target
