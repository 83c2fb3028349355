"""Transfer matrix: attacks crafted on one model (row), seen by another (column).

Within one ensemble its diagonal is the white-box attack and the rest says how far members share
their weaknesses. Across two, the source is a black-box attacker's surrogate for the target.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor

from dverge.attacks import MIXTURE, AttackConfig, Victim, image_starts
from dverge.attacks.gradient import ascend, victim_objective
from dverge.data import ImageSet
from dverge.errors import ConfigError, require_integer
from dverge.evaluation.predictions import answers
from dverge.models import Ensemble
from dverge.results import wilson_interval

BATCH = 256


@dataclass(frozen=True, eq=False)
class Transfer:
    """What attacks on the source's models do to the target's.

    Success is counted only on images that every model of both ensembles gets right before the
    attack: there a wrong answer is the attack's doing, and all cells are over the same images.

    Attributes:
        rows: "member-1" … "mixture" of the source: whose gradient is followed.
        columns: "member-1" … "mixture" of the target: who sees the result.
        fooled: int64, R×C on the CPU, images that the column's model gets wrong, 0 to n.
        n: images that all models of source and target get right.
        config: the attack.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    fooled: Tensor
    n: int
    config: AttackConfig

    def rate(self) -> Tensor:
        """R×C float64, success in per cent of n; NaN if n is 0."""
        return 100 * self.fooled.double() / self.n

    def interval(self, row: int, column: int) -> tuple[float, float]:
        """Wilson 95 % interval of one cell's success, per cent; rows and columns from 0."""
        low, high = wilson_interval(int(self.fooled[row, column]), self.n)
        return 100 * low, 100 * high

    def between_members(self) -> float:
        """Mean success of attacks on one member against the others, per cent.

        The mean of the members' cells off the diagonal, which within one ensemble is the white-box
        attack. NaN if n is 0 or there is one member.

        Raises:
            ConfigError: source and target have different numbers of members.
        """
        members = len(self.rows) - 1
        if len(self.columns) - 1 != members:
            raise ConfigError(
                f"the source has {members} members and the target {len(self.columns) - 1}; a mean "
                "between members needs the same number of both."
            )
        others = ~torch.eye(members, dtype=torch.bool)
        return self.rate()[:-1, :-1][others].mean().item()


def transfer(
    source: Ensemble,
    target: Ensemble,
    images: ImageSet,
    config: AttackConfig,
    on_progress: Callable[[float], None] | None = None,
) -> Transfer:
    """Attack each of the source's models, and count how many of the target's are fooled.

    A random start depends on the seed and the image's number alone, so that neither the batches
    nor the row decide it. The ensembles are left as they are.

    Args:
        source: whose members and mixture are attacked, on the images' device.
        target: whose members and mixture see the results; may be the source.
        images: the candidates; those count that all models of both get right.
        config: an untargeted attack of one restart: a second could not be chosen by what the
            target says, which a black-box attacker does not see.
        on_progress: told the share done, above 0 to 1, after each batch of each row.

    Raises:
        ConfigError: the attack is targeted or has more than one restart.
    """
    require_integer("restarts", config.restarts, 1, 1)
    if config.targeted:
        raise ConfigError("the attack is targeted; transfer is measured with untargeted attacks.")
    images = _all_right(source, target, images)
    victims = _models(source)
    columns = tuple(map(str, _models(target)))
    fooled = torch.zeros(len(victims), len(columns), dtype=torch.int64)
    batches = batches_of(images, BATCH)
    done, total = 0, len(victims) * len(batches)
    for row, victim in enumerate(victims):
        for batch in batches:
            adversarial = _adversarial(source, batch, config, victim)
            fooled[row] += (_answers(target, adversarial) != batch.labels).sum(1).cpu()
            done += 1
            if on_progress:
                on_progress(done / total)
    if not batches and on_progress:
        on_progress(1.0)
    return Transfer(tuple(map(str, victims)), columns, fooled, len(images), config)


def batches_of(images: ImageSet, size: int) -> list[ImageSet]:
    """The images in order, `size` at a time; the last batch may be smaller."""
    return [images.subset(slice(at, at + size)) for at in range(0, len(images), size)]


def pixels_for(ensemble: Ensemble, images: ImageSet) -> Tensor:
    """Pixels N×3×32×32 in [0, 1] in the precision of an ensemble's weights."""
    return images.pixels().to(_precision(ensemble))


def _models(ensemble: Ensemble) -> list[Victim]:
    """Its members in order and last the mixture."""
    return [*map(Victim, range(len(ensemble))), MIXTURE]


def _precision(ensemble: Ensemble) -> torch.dtype:
    """Of its weights, which a fast stand-in for Conv may keep as buffers."""
    held = chain(ensemble.parameters(), ensemble.buffers())
    return next((each.dtype for each in held if each.is_floating_point()), torch.float32)


def _answers(ensemble: Ensemble, images: Tensor) -> Tensor:
    """(M+1)×N classes that the members and last the mixture say."""
    return answers(ensemble, images.to(_precision(ensemble)))


def _all_right(source: Ensemble, target: Ensemble, images: ImageSet) -> ImageSet:
    """The images that every model of both ensembles gets right."""
    ensembles = [source] if source is target else [source, target]
    right = torch.ones_like(images.labels, dtype=torch.bool)
    for ensemble in ensembles:
        for at in range(0, len(images), BATCH):
            batch = images.subset(slice(at, at + BATCH))
            right[at : at + BATCH] &= (_answers(ensemble, batch.pixels()) == batch.labels).all(0)
    return images.subset(right.nonzero().flatten())


def _adversarial(
    ensemble: Ensemble, images: ImageSet, config: AttackConfig, victim: Victim
) -> Tensor:
    """N×3×32×32 in [0, 1], where one attack on the victim ends."""
    origin = pixels_for(ensemble, images)
    start = origin
    if config.random_start:
        start = image_starts(origin, images.indices.tolist(), config, restart=0)
    objective = victim_objective(ensemble, images.labels, config, victim)
    return ascend(objective, start, origin, config, keep_all=False).images[-1]
