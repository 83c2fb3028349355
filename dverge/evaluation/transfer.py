"""Transfer matrix: attacks on one model (row), evaluated on another (column).

Within one ensemble its diagonal is the white-box attack and the rest says how far members share
their weaknesses. Across two, the source is a black-box attacker's surrogate for the target.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from dverge.attacks import AttackConfig
from dverge.data import ImageSet
from dverge.errors import ConfigError, require_integer
from dverge.evaluation.measurements import Batch, ProjectedGradient
from dverge.evaluation.predictions import (
    all_correct,
    answers,
    in_batches,
    input_pixels,
    weight_dtype,
)
from dverge.models import Ensemble
from dverge.results import models_of, wilson_interval

BATCH = 256


@dataclass(frozen=True, eq=False)
class Transfer:
    """How often attacks on the source's models fool the target's.

    Only images count that every model of both ensembles gets right before the attack: there, the
    attack alone explains a wrong answer, and all cells are over the same images.

    Attributes:
        rows: "member-1" … "mixture" of the source: whose gradient the attack follows.
        columns: "member-1" … "mixture" of the target: which model sees the adversarial image.
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

        It leaves out the diagonal, which within one ensemble is the white-box attack. NaN if n is 0
        or there is one member.

        Raises:
            ConfigError: source and target have different numbers of members.
        """
        members = len(self.rows) - 1
        if len(self.columns) - 1 != members:
            raise ConfigError(
                f"the source has {members} members and the target {len(self.columns) - 1}; a mean "
                "between members needs the same number of both."
            )
        off_diagonal = ~torch.eye(members, dtype=torch.bool)
        return self.rate()[:-1, :-1][off_diagonal].mean().item()


def transfer(
    source: Ensemble,
    target: Ensemble,
    images: ImageSet,
    config: AttackConfig,
    on_progress: Callable[[float], None] | None = None,
) -> Transfer:
    """Attack each of the source's models, and count how many of the target's are fooled.

    A random start depends on the seed and the image's number alone, so batches and rows do not
    matter. The ensembles are left as they are.

    Args:
        source: its members and mixture are attacked, on the images' device.
        target: its members and mixture see the adversarial images; may be the source.
        images: candidates; those count that all models of both ensembles get right.
        config: an untargeted attack of one restart: choosing among several would need the target's
            answers, which a black-box attacker does not see.
        on_progress: called with the share done, above 0 to 1, after each batch of each row.

    Raises:
        ConfigError: the attack is targeted or has more than one restart.
    """
    require_integer("restarts", config.restarts, 1, 1)
    if config.targeted:
        raise ConfigError("the attack is targeted; transfer is measured with untargeted attacks.")
    ensembles = [source] if source is target else [source, target]
    images = images.subset(all_correct(ensembles, images))
    attack = ProjectedGradient("transfer", config)
    victims = attack.victims(len(source))
    rows, columns = (tuple(models_of(len(each))) for each in (source, target))
    fooled = torch.zeros(len(rows), len(columns), dtype=torch.int64)
    batches = [
        Batch(input_pixels(source, part), part.labels, part.indices.tolist(), [])
        for part in in_batches(images, BATCH)
    ]
    done, total = 0, len(victims) * len(batches)
    for row, victim in enumerate(victims):
        for batch in batches:
            adversarial = attack.changed(source, batch, victim, attempt=0)
            fooled[row] += (~_correct(target, adversarial, batch.labels)).sum(1).cpu()
            done += 1
            if on_progress:
                on_progress(done / total)
    if not batches and on_progress:
        on_progress(1.0)
    return Transfer(rows, columns, fooled, len(images), config)


def _correct(ensemble: Ensemble, pixels: Tensor, labels: Tensor) -> Tensor:
    """Bool (M+1)×N, which members and, last, whether the mixture predict the labels."""
    return answers(ensemble, pixels.to(weight_dtype(ensemble))) == labels
