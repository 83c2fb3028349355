"""The one attack loop: projected gradient ascent on an image batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from dverge.attacks.config import MIXTURE, AttackConfig, Through, Victim
from dverge.attacks.geometry import ascent, l1_normalised, project, random_point
from dverge.errors import ConfigError
from dverge.models import IMAGE_SHAPE, Ensemble, mix

Objective = Callable[[Tensor], Tensor]
"""Images N×3×32×32 to the N values that the attack raises."""


@dataclass(frozen=True)
class Trace:
    """The course of an attack; index 0 is where it began.

    Attributes:
        images: (steps+1)×N×3×32×32, every iterate.
        objective: (steps+1)×N, what the attack raises (the victim's loss, negated if targeted).
        probabilities: (steps+1)×(M+1)×N×10, the members' and last the mixture's.
    """

    images: Tensor
    objective: Tensor
    probabilities: Tensor

    def end(self) -> Trace:
        """The last iterate alone, in memory of its own."""
        last = (self.images[-1:], self.objective[-1:], self.probabilities[-1:])
        return Trace(*(each.clone() for each in last))


@dataclass(frozen=True)
class AttackResult:
    """What an attack found.

    Attributes:
        images: N×3×32×32 in [0, 1], the adversarial images.
        objective: N, the objective there.
        success: N booleans: the victim is fooled (untargeted) or says the class (targeted).
        trace: the course of the kept restart of each image, if asked for.
    """

    images: Tensor
    objective: Tensor
    success: Tensor
    trace: Trace | None = None


def attack(
    ensemble: Ensemble,
    images: Tensor,
    labels: Tensor,
    config: AttackConfig,
    victim: Victim = MIXTURE,
    record: bool = False,
) -> AttackResult:
    """Attack a batch; each image keeps the worst of its restarts.

    The objective is the cross-entropy of the victim (Eq. in Madry et al. 2018), negated when
    targeted. The ensemble's weights, gradients and modes are left as they are.

    Args:
        ensemble: members on the same device as the images.
        images: N×3×32×32 in [0, 1].
        labels: N true classes, or the classes to reach when config.targeted.
        config: norm, budget and steps.
        victim: the member or mixture whose gradient is followed.
        record: keep every iterate with its objective and probabilities.

    Raises:
        ConfigError: wrong shapes, pixels or labels out of range, or no such member.
    """
    check_batch(images, labels)
    victim.check(ensemble)
    images = images.detach()
    objective = victim_objective(ensemble, labels, config, victim)
    generator = torch.Generator().manual_seed(config.seed)
    best: AttackResult | None = None
    for _ in range(config.restarts):
        start = random_point(images, config, generator) if config.random_start else images
        path = ascend(objective, start, images, config, keep_all=record)
        outcome = _outcome(ensemble, labels, config, victim, path, record)
        best = outcome if best is None else _worse_of(best, outcome)
    assert best is not None
    return best


def victim_logits(ensemble: Ensemble, images: Tensor, victim: Victim) -> Tensor:
    """N×10 logits of a member, or log-probabilities of the mixture."""
    if victim.member is None:
        return ensemble(images)
    return ensemble.members[victim.member](images)


def victim_objective(
    ensemble: Ensemble, labels: Tensor, config: AttackConfig, victim: Victim
) -> Objective:
    """The victim's cross-entropy per image, negated for a targeted attack."""
    sign = -1.0 if config.targeted else 1.0

    def objective(images: Tensor) -> Tensor:
        return sign * victim_loss(ensemble, images, labels, victim)

    return objective


def victim_loss(ensemble: Ensemble, images: Tensor, labels: Tensor, victim: Victim) -> Tensor:
    """N cross-entropies in nats of what the attack on a victim follows; see Through."""
    if victim.member is not None or victim.through is Through.PROBABILITY:
        return F.cross_entropy(victim_logits(ensemble, images, victim), labels, reduction="none")
    if victim.through is Through.LOGIT:
        logits = torch.stack([member(images) for member in ensemble.members]).mean(0)
        return F.cross_entropy(logits, labels, reduction="none")
    truth = ensemble.member_log_probs(images)[:, torch.arange(len(labels)), labels]
    return -truth.mean(0)


@dataclass(frozen=True)
class Path:
    """Iterates (one, or all of them) with their objectives; the last is the one to return."""

    images: list[Tensor]
    objective: list[Tensor]


def ascend(
    objective: Objective,
    start: Tensor,
    origin: Tensor,
    config: AttackConfig,
    keep_all: bool,
    evaluate_end: bool = True,
) -> Path:
    """Raise the objective from start by projected gradient steps within the ball about origin.

    Images may be …×3×32×32 with as many values, unless the best iterate is asked for. Without
    evaluate_end, the objective of the last iterate is left out, which saves a forward pass.
    """
    x = start
    path = Path([], [])
    best_x, best_value = x, torch.full((len(x),), -torch.inf, device=x.device, dtype=x.dtype)
    velocity = torch.zeros_like(x)
    for _ in range(config.steps):
        value, gradient = value_and_gradient(objective, x)
        if keep_all:
            path.images.append(x)
            path.objective.append(value)
        if config.best_iterate:
            best_x, best_value = _keep_higher(best_x, best_value, x, value)
        if config.momentum:
            gradient = velocity = config.momentum * velocity + l1_normalised(gradient)
        x = project(x + config.step_size * ascent(gradient, config.norm), origin, config)
    if evaluate_end or config.best_iterate:
        with torch.no_grad():
            value = objective(x)
        if config.best_iterate:
            x, value = _keep_higher(best_x, best_value, x, value)
        path.objective.append(value)
    path.images.append(x)
    return path


def value_and_gradient(objective: Objective, images: Tensor) -> tuple[Tensor, Tensor]:
    """Objective per image and its gradient in the images; no parameter gradient is made."""
    with torch.enable_grad():
        x = images.detach().requires_grad_()
        value = objective(x)
        (gradient,) = torch.autograd.grad(value.sum(), x)
    return value.detach(), gradient


@torch.no_grad()
def all_probabilities(ensemble: Ensemble, images: Tensor) -> Tensor:
    """(M+1)×N×10: the members' probabilities and last the mixture's."""
    members = ensemble.member_log_probs(images)
    return torch.cat([members, mix(members).unsqueeze(0)]).exp()


def check_images(images: Tensor) -> None:
    """Raise ConfigError unless images are N×3×32×32 in [0, 1]."""
    if images.dim() != 4 or tuple(images.shape[1:]) != IMAGE_SHAPE:
        raise ConfigError(f"images have shape {tuple(images.shape)}; it must be N×3×32×32.")
    if not bool(((images >= 0) & (images <= 1)).all()):
        raise ConfigError("images hold values outside [0, 1]; divide 0–255 pixels by 255.")


def check_batch(images: Tensor, labels: Tensor) -> None:
    """Raise ConfigError unless images are N×3×32×32 in [0, 1] with N labels in 0–9."""
    check_images(images)
    if labels.shape != (len(images),):
        raise ConfigError(f"labels have shape {tuple(labels.shape)} for {len(images)} images.")
    if not bool(((labels >= 0) & (labels < 10)).all()):
        raise ConfigError(f"labels hold {sorted(set(labels.tolist()))}; classes are 0 to 9.")


def _keep_higher(
    images: Tensor, value: Tensor, new_images: Tensor, new_value: Tensor
) -> tuple[Tensor, Tensor]:
    higher = new_value > value
    kept = torch.where(higher.view(-1, 1, 1, 1), new_images, images)
    return kept, torch.where(higher, new_value, value)


@torch.no_grad()
def _outcome(
    ensemble: Ensemble,
    labels: Tensor,
    config: AttackConfig,
    victim: Victim,
    path: Path,
    record: bool,
) -> AttackResult:
    images, objective = path.images[-1], path.objective[-1]
    says_label = victim_logits(ensemble, images, victim).argmax(1) == labels
    success = says_label if config.targeted else ~says_label
    trace = None
    if record:
        probabilities = [all_probabilities(ensemble, x) for x in path.images]
        trace = Trace(
            torch.stack(path.images), torch.stack(path.objective), torch.stack(probabilities)
        )
    return AttackResult(images, objective, success, trace)


def _worse_of(first: AttackResult, second: AttackResult) -> AttackResult:
    """Per image the successful result, and among equals the one with the higher objective."""
    higher = second.objective > first.objective
    take = (second.success & ~first.success) | ((second.success == first.success) & higher)

    def choose(new: Tensor, old: Tensor, image_dimension: int) -> Tensor:
        shape = [1] * new.dim()
        shape[image_dimension] = -1
        return torch.where(take.view(shape), new, old)

    trace = None
    if first.trace is not None and second.trace is not None:
        trace = Trace(
            choose(second.trace.images, first.trace.images, 1),
            choose(second.trace.objective, first.trace.objective, 1),
            choose(second.trace.probabilities, first.trace.probabilities, 2),
        )
    return AttackResult(
        choose(second.images, first.images, 0),
        choose(second.objective, first.objective, 0),
        choose(second.success, first.success, 0),
        trace,
    )
