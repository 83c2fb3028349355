"""One attempt of the strong attack: APGD on a margin until the victim is fooled.

Cross-entropy follows the wrong class that is ahead at the moment, and vanishes where a member is
sure of itself. A margin towards one chosen class does neither; so an image is attacked in attempts,
each towards another class and, for a mixture, through other scores (Croce & Hein 2020, section 4).
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from dverge.attacks.config import MIXTURE, AttackConfig, Through, Victim
from dverge.attacks.gradient import check_batch, member_logits, victim_scores
from dverge.attacks.stepping import AdaptiveSteps
from dverge.errors import require, require_integer
from dverge.models import Ensemble


def margin_attack(
    ensemble: Ensemble,
    images: Tensor,
    labels: Tensor,
    config: AttackConfig,
    victim: Victim = MIXTURE,
    rank: int = 0,
    start: Tensor | None = None,
) -> Tensor:
    """Raise a wrong class's score above the true one's; the first iterate that fools is returned.

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

    Returns:
        N×3×32×32: where the victim was not fooled, the last iterate.

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
    for number in range(config.steps + 1):
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            logits = member_logits(ensemble, x, victim)
            value = _margin(victim_scores(logits, victim), labels, targets)
        stands = _answers(logits.detach(), victim) == labels
        found[rows] = x.detach()
        if number == config.steps or not stands.any():
            break
        (gradient,) = torch.autograd.grad(value.sum(), x)
        x = steps.next(x.detach(), value.detach(), gradient)
        if not stands.all():
            steps.keep(stands)
            x, rows, labels = x[stands], rows[stands], labels[stands]
            targets = None if targets is None else targets[stands]
    return found


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
