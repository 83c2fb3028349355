"""The strong attack: attempts of APGD on margins, one after the other until the victim is fooled.

Cross-entropy follows the wrong class that is ahead at the moment, and vanishes where a member is
sure of itself. A margin towards one chosen class does neither; so an image is attacked in attempts,
each towards another class and, for a mixture, through other scores (Croce & Hein 2020, section 4).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from dverge.attacks.config import MIXTURE, AttackConfig, Norm, Through, Victim, largest_eps
from dverge.attacks.geometry import image_starts
from dverge.attacks.gradient import (
    AttackResult,
    Trace,
    all_probabilities,
    check_batch,
    member_logits,
    victim_scores,
)
from dverge.attacks.stepping import AdaptiveSteps
from dverge.errors import require, require_integer, require_number
from dverge.models import Ensemble

STEPS = 60  # of the first attempt, and at most
TARGETS = 6


class Way(NamedTuple):
    """How an attempt attacks: the mixture's scores, the target's rank, and the steps."""

    through: Through
    rank: int
    steps: int


MEMBER_WAYS = (
    Way(Through.PROBABILITY, 0, STEPS),
    *(Way(Through.PROBABILITY, rank, 50) for rank in (1, 2, 3)),
    *(Way(Through.PROBABILITY, rank, 25) for rank in (4, 5, 6)),
)
MIXTURE_WAYS = (
    *MEMBER_WAYS,
    *(Way(through, rank, 40) for through in (Through.LOGIT, Through.SCALED) for rank in (0, 2, 3)),
)
"""Chosen on the shipped ensembles: a rare target falls in few steps, and rank 0 covers rank 1."""


def ways(victim: Victim) -> tuple[Way, ...]:
    """The attempts at a victim, in order.

    Raises:
        ConfigError: the victim is the mixture through one of its scores, which it takes in turn.
    """
    whole = victim.through is Through.PROBABILITY
    require(
        whole,
        "victim",
        str(victim),
        "the mixture or a member: the strong attack follows the "
        "mean probability, the mean logit and the scaled logits in turn",
    )
    return MIXTURE_WAYS if victim.member is None else MEMBER_WAYS


@dataclass(frozen=True)
class StrongConfig:
    """Settings of the strong attack, which is untargeted.

    Attributes:
        norm: distance that bounds the perturbation.
        eps: budget, 0 to 1 for L-inf, 0 to 55.4 for L2.
        seed: of the random starts.

    Raises:
        ConfigError: a value is outside its range.
    """

    norm: Norm
    eps: float
    seed: int = 0
    targeted: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require(isinstance(self.norm, Norm), "norm", self.norm, "one of linf, l2")
        require_number("eps", self.eps, 0, largest_eps(self.norm))
        require_integer("seed", self.seed, 0, 2**31 - 1)


AnyConfig = AttackConfig | StrongConfig


class StrongResult(NamedTuple):
    """The result of the strong attack on a batch.

    Attributes:
        images: N×3×32×32 in [0, 1], where the attempt that fooled the victim, or the last, ended.
        success: N booleans: the victim is fooled.
        attempt: int64, N, the number of that attempt, from 0.
    """

    images: Tensor
    success: Tensor
    attempt: Tensor


def strong_attack(
    ensemble: Ensemble,
    images: Tensor,
    labels: Tensor,
    numbers: Sequence[int],
    config: StrongConfig,
    victim: Victim = MIXTURE,
) -> StrongResult:
    """Attack each image in attempts, one after the other, until one fools the victim.

    An image's result does not depend on the other images.

    Args:
        ensemble: members on the same device as the images.
        images: N×3×32×32 in [0, 1].
        labels: N true classes.
        numbers: N, each image's position in the official file, which its random starts depend on.
        config: norm, eps and seed.
        victim: a member, or the mixture.

    Raises:
        ConfigError: wrong shapes, pixels or labels, or no such victim.
    """
    found, attempt = images.clone(), torch.zeros_like(labels)
    rows = torch.arange(len(images), device=images.device)
    for number in range(len(ways(victim))):
        left = [numbers[row] for row in rows.tolist()]
        result = strong_attempt(ensemble, images[rows], labels[rows], left, config, victim, number)
        found[rows], attempt[rows] = result.images, number
        rows = rows[~result.success]
        if not len(rows):
            break
    success = torch.ones_like(labels, dtype=torch.bool)
    success[rows] = False
    return StrongResult(found, success, attempt)


def strong_attempt(
    ensemble: Ensemble,
    images: Tensor,
    labels: Tensor,
    numbers: Sequence[int],
    config: StrongConfig,
    victim: Victim,
    attempt: int,
    record: bool = False,
) -> AttackResult:
    """One attempt alone, from a random point of each image's ball; see strong_attack.

    Args:
        ensemble, images, labels, numbers, config, victim: as for strong_attack.
        attempt: its number, from 0 to one less than the victim's ways.
        record: keep every iterate as a Trace.
    """
    through, rank, steps = ways(victim)[attempt]
    ball = AttackConfig(config.norm, config.eps, 0.0, steps, random_start=True, seed=config.seed)
    start = image_starts(images, numbers, ball, attempt)
    aimed_at = Victim(victim.member, through)
    return margin_attack(ensemble, images, labels, ball, aimed_at, rank, start, record)


def margin_attack(
    ensemble: Ensemble,
    images: Tensor,
    labels: Tensor,
    config: AttackConfig,
    victim: Victim = MIXTURE,
    rank: int = 0,
    start: Tensor | None = None,
    record: bool = False,
) -> AttackResult:
    """Raise a wrong class's score above the true one's; the first iterate that fools is returned.

    The objective is the margin: the wrong class's score less the true one's.

    Scaling the logits of a single network changes nothing.

    Args:
        ensemble: members on the same device as the images.
        images: N×3×32×32 in [0, 1].
        labels: N true classes.
        config: norm, eps and the number of steps; the rest is not used.
        victim: the member or mixture that has to be fooled, and the mixture's scores.
        rank: of the target among the wrong classes by the scores of the unchanged image, 1 to 9; 0
            for the wrong class that is ahead at each iterate.
        start: N×3×32×32, the first iterate; the images themselves if None.
        record: keep every iterate as a Trace; an image that fools stays as it is from then on.

    Returns:
        The first iterates that fool; where the victim was not fooled, the last one.

    Raises:
        ConfigError: wrong shapes, pixels, labels or rank, no such member, or the mean loss.
    """
    check_batch(images, labels)
    victim.check(ensemble)
    require_integer("rank", rank, 0, 9)
    require(victim.through is not Through.LOSS, "victim", str(victim), "one that has scores")
    targets = None
    if rank:
        with torch.no_grad():
            scores = victim_scores(member_logits(ensemble, images, victim), victim)
        targets = _without(labels, scores).argsort(1, descending=True)[:, rank - 1]
    x, steps = images if start is None else start, AdaptiveSteps(images, config)
    found, rows = x.clone(), torch.arange(len(images), device=images.device)
    objective, success = x.new_zeros(len(x)), torch.ones_like(labels, dtype=torch.bool)
    path: list[tuple[Tensor, Tensor]] = []
    for number in range(config.steps + 1):
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            logits = member_logits(ensemble, x, victim)
            value = _margin(victim_scores(logits, victim), labels, targets)
        stands = _answers(logits.detach(), victim) == labels
        found[rows], objective[rows] = x.detach(), value.detach()
        if record:
            path.append((found.clone(), objective.clone()))
        if number == config.steps or not stands.any():
            break
        (gradient,) = torch.autograd.grad(value.sum(), x)
        x = steps.next(x.detach(), value.detach(), gradient)
        if not stands.all():
            steps.keep(stands)
            x, rows, labels = x[stands], rows[stands], labels[stands]
            targets = None if targets is None else targets[stands]
    success[rows[stands]] = False
    return AttackResult(found, objective, success, _trace(ensemble, path) if record else None)


def _trace(ensemble: Ensemble, path: list[tuple[Tensor, Tensor]]) -> Trace:
    images, objective = (torch.stack(each) for each in zip(*path, strict=True))
    return Trace(images, objective, torch.stack([all_probabilities(ensemble, x) for x in images]))


def _answers(logits: Tensor, victim: Victim) -> Tensor:
    """N classes that the victim predicts; the mixture as it is deployed."""
    return victim_scores(logits, replace(victim, through=Through.PROBABILITY)).argmax(1)


def _margin(scores: Tensor, labels: Tensor, targets: Tensor | None) -> Tensor:
    """How far the target's score, or the best wrong one, is above the true class's; N."""
    true = scores.gather(1, labels[:, None])[:, 0]
    if targets is None:
        return _without(labels, scores).amax(1) - true
    return scores.gather(1, targets[:, None])[:, 0] - true


def _without(labels: Tensor, scores: Tensor) -> Tensor:
    """The scores, with minus infinity for the true classes."""
    return scores.scatter(1, labels[:, None], -torch.inf)
