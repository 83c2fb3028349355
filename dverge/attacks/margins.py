"""One attempt of the strong attack: APGD on a margin until the victim is fooled.

Cross-entropy follows the wrong class that is ahead at the moment, and vanishes where a member is
sure of itself. A margin towards one chosen class does neither.

A member drawn at random is fooled the more often, the more members one image fools. Their mean loss
follows members that are fooled already (Dbouk & Shanbhag 2022); what is raised here does not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from dverge.attacks.config import MIXTURE, AttackConfig, Through, Victim
from dverge.attacks.gradient import (
    AttackResult,
    Trace,
    all_probabilities,
    check_batch,
    member_logits,
    scaled,
    tempered,
    victim_scores,
)
from dverge.attacks.stepping import AdaptiveSteps
from dverge.errors import require, require_integer
from dverge.models import Ensemble

ENOUGH = 0.02  # a member's scaled margin beyond which it no longer counts

Value = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""N values to raise, from M×N×10 logits, the N true classes, and N targets or None."""


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

    def margin(logits: Tensor, labels: Tensor, targets: Tensor | None) -> Tensor:
        return _margin(victim_scores(logits, victim), labels, targets)

    def right(logits: Tensor, labels: Tensor) -> Tensor:
        return (_answers(logits, victim) == labels).long()

    about = (ensemble, images, labels, config, victim)
    return _ascend(*about, margin, right, targets, start, record)


def members_attack(
    ensemble: Ensemble,
    images: Tensor,
    labels: Tensor,
    config: AttackConfig,
    clipped: bool = False,
    start: Tensor | None = None,
) -> AttackResult:
    """Fool as many members as possible by one image; the last iterate that fools most is returned.

    Scaling a member's logits changes nothing.

    Args:
        ensemble, images, labels, config, start: as of margin_attack.
        clipped: raise the sum of the members' scaled margins, each up to ENOUGH, towards a wrong
            class of its own; if False, lower the true class's tempered probability.

    Raises:
        ConfigError: wrong shapes, pixels or labels.
    """
    check_batch(images, labels)

    def value(logits: Tensor, labels: Tensor, targets: Tensor | None) -> Tensor:
        if not clipped:
            return -tempered(logits).gather(1, labels[:, None])[:, 0]
        margins = [_margin(scores, labels, None) for scores in scaled(logits)]
        return torch.stack(margins).clamp_max(ENOUGH).sum(0)

    def right(logits: Tensor, labels: Tensor) -> Tensor:
        return (logits.argmax(2) == labels).sum(0)

    return _ascend(ensemble, images, labels, config, MIXTURE, value, right, None, start)


def _ascend(
    ensemble: Ensemble,
    images: Tensor,
    labels: Tensor,
    config: AttackConfig,
    victim: Victim,
    value: Value,
    right: Callable[[Tensor, Tensor], Tensor],
    targets: Tensor | None,
    start: Tensor | None,
    record: bool = False,
) -> AttackResult:
    """Raise a value until no model is right; the last iterate with the fewest that are is returned.

    Args:
        right: how many models are right at each image, from M×N×10 logits and the N true classes.
    """
    x, steps = images if start is None else start, AdaptiveSteps(images, config)
    found, rows = x.clone(), torch.arange(len(images), device=images.device)
    objective, fewest = x.new_zeros(len(x)), torch.full_like(rows, len(ensemble))
    path: list[tuple[Tensor, Tensor]] = []
    for number in range(config.steps + 1):
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            logits = member_logits(ensemble, x, victim)
            raised = value(logits, labels, targets)
        left = right(logits.detach(), labels)
        kept, stands = left <= fewest[rows], left > 0
        better = rows[kept]
        found[better], objective[better] = x.detach()[kept], raised.detach()[kept]
        fewest[better] = left[kept]
        if record:
            path.append((found.clone(), objective.clone()))
        if number == config.steps or not stands.any():
            break
        (gradient,) = torch.autograd.grad(raised.sum(), x)
        x = steps.next(x.detach(), raised.detach(), gradient)
        if not stands.all():
            steps.keep(stands)
            x, rows, labels = x[stands], rows[stands], labels[stands]
            targets = None if targets is None else targets[stands]
    return AttackResult(found, objective, fewest == 0, _trace(ensemble, path) if record else None)


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
