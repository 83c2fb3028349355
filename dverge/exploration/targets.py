"""Targeted attacks from every class to every other: which confusions are easy to cause."""

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
        reached: int64, 10×10 on the CPU; [source, target] counts images of a class for which the
            victim says the target after the attack. The diagonal is 0.
        attacked: int64, 10, the images of each class, which the victim gets right before.
        config: the attack, targeted.
        victim: what it is on.
    """

    reached: Tensor
    attacked: Tensor
    config: AttackConfig
    victim: Victim

    def rate(self) -> Tensor:
        """10×10 float64, per cent; NaN on the diagonal and where no image was attacked."""
        share = 100 * self.reached.double() / self.attacked.double().unsqueeze(1)
        return share.fill_diagonal_(torch.nan)

    def interval(self, source: int, target: int) -> tuple[float, float]:
        """Wilson 95 % interval of one cell, per cent."""
        count, n = int(self.reached[source, target]), int(self.attacked[source])
        low, high = wilson_interval(count, n)
        return 100 * low, 100 * high

    def summary(self) -> str:
        """The easiest target in a sentence, and how often any target is reached."""
        tries = int(self.attacked.sum()) * (len(CLASSES) - 1)
        if not tries:
            return "The victim gets none of the images right, so there is nothing to attack."
        by_target = self.reached.sum(0) / (self.attacked.sum() - self.attacked).clamp_min(1)
        easiest = int(by_target.argmax())
        share = 100 * int(self.reached.sum()) / tries
        return (
            f"{share:.0f} % of {tries:,} targeted attacks reach their target; the easiest to reach "
            f"is {CLASSES[easiest]}, with {100 * by_target[easiest]:.0f} %."
        )


def target_grid(
    ensemble: Ensemble,
    images: ImageSet,
    config: AttackConfig,
    victim: Victim = MIXTURE,
    on_progress: Callable[[float], None] | None = None,
) -> TargetGrid:
    """Attack every image towards each of the nine other classes.

    A random start depends on the seed and the image's number alone.

    Args:
        ensemble: the members, on the images' device; left as they are.
        images: those count that the victim gets right.
        config: the attack, made a targeted one, of one restart.
        victim: what is attacked, and asked.
        on_progress: told the share done, above 0 to 1, after each batch.

    Raises:
        ConfigError: the victim does not exist, or there is more than one restart.
    """
    require_integer("restarts", config.restarts, 1, 1)
    victim.check(ensemble)
    config = replace(config, targeted=True)
    images = _right(ensemble, images, victim)
    batches, classes = in_batches(images, BATCH), len(CLASSES)
    reached = torch.zeros(classes, classes, dtype=torch.int64)
    for at, batch in enumerate(batches):
        for target in range(classes):
            found = _reached(ensemble, batch, config, victim, target)
            sources = batch.labels[found & (batch.labels != target)]
            reached[:, target] += sources.cpu().bincount(minlength=classes)
            if on_progress:
                on_progress((at * classes + target + 1) / (len(batches) * classes))
    return TargetGrid(reached, images.labels.cpu().bincount(minlength=classes), config, victim)


@torch.no_grad()
def _right(ensemble: Ensemble, images: ImageSet, victim: Victim) -> ImageSet:
    """The images that the victim gets right."""
    said = [
        victim_logits(ensemble, input_pixels(ensemble, batch), victim).argmax(1)
        for batch in in_batches(images, BATCH)
    ]
    return images.subset((torch.cat(said) == images.labels).nonzero().flatten())


def _reached(
    ensemble: Ensemble, images: ImageSet, config: AttackConfig, victim: Victim, target: int
) -> Tensor:
    """N booleans: after an attack towards a class, the victim says it."""
    origin = input_pixels(ensemble, images)
    start = origin
    if config.random_start:
        start = image_starts(origin, images.indices.tolist(), config, restart=0)
    aims = torch.full_like(images.labels, target)
    objective = victim_objective(ensemble, aims, config, victim)
    found = ascend(objective, start, origin, config, keep_all=False).images[-1]
    with torch.no_grad():
        return victim_logits(ensemble, found, victim).argmax(1) == target
