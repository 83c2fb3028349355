"""The one attack loop: projected gradient ascent on an image batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor

from dverge.attacks.config import MIXTURE, AttackConfig, Through, Victim
from dverge.attacks.geometry import TINY, ascent, l1_normalised, project, random_point
from dverge.errors import ConfigError
from dverge.models import IMAGE_SHAPE, Ensemble, mix

Objective = Callable[[Tensor], Tensor]
"""Maps images N×3×32×32 to the N values that an attack maximises."""
TEMPERED_SPREAD = 7.0  # chosen on the shipped ensembles; 5 and 10 are about as strong


@dataclass(frozen=True)
class Trace:
    """Every iterate of an attack; index 0 is its start.

    Attributes:
        images: (steps+1)×N×3×32×32.
        objective: (steps+1)×N, the victim's loss, negated if targeted.
        probabilities: (steps+1)×(M+1)×N×10, of the members and, last, the mixture.
    """

    images: Tensor
    objective: Tensor
    probabilities: Tensor

    def end(self) -> Trace:
        """A trace of the last iterate alone, which keeps none of the others in memory."""
        last = (self.images[-1:], self.objective[-1:], self.probabilities[-1:])
        return Trace(*(tensor.clone() for tensor in last))


@dataclass(frozen=True)
class AttackResult:
    """The result of an attack on a batch.

    Attributes:
        images: N×3×32×32 in [0, 1], the adversarial images.
        objective: N, the objective at these images.
        success: N booleans: whether the victim's answer is wrong, or the target if targeted.
        trace: the iterates of the restart that each image keeps, if recorded.
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
    """Attack a batch of images; each image keeps the worst of its restarts.

    The objective is the victim's cross-entropy (Madry et al. 2018), negated when targeted. The
    ensemble's weights, gradients and modes stay as they are.

    Args:
        ensemble: members on the same device as the images.
        images: N×3×32×32 in [0, 1].
        labels: N true classes, or N target classes when config.targeted.
        config: norm, budget and steps.
        victim: the member or mixture that is attacked.
        record: keep every iterate with its objective and probabilities, as a Trace.

    Raises:
        ConfigError: wrong shapes, pixels or labels out of range, or no such member.
    """
    check_batch(images, labels)
    victim.check(ensemble)
    images = images.detach()
    objective = victim_objective(ensemble, labels, config, victim)
    generator = torch.Generator().manual_seed(config.seed)

    def restart() -> AttackResult:
        start = random_point(images, config, generator) if config.random_start else images
        trajectory = ascend(objective, start, images, config, keep_all=record)
        return _result(ensemble, labels, config, victim, trajectory, record)

    return reduce(_worse, (restart() for _ in range(config.restarts)))


def victim_logits(ensemble: Ensemble, images: Tensor, victim: Victim) -> Tensor:
    """N×10 logits of a member, or log-probabilities of the mixture (also logits)."""
    if victim.member is None:
        return ensemble(images)
    return ensemble.members[victim.member](images)


def member_logits(ensemble: Ensemble, images: Tensor, victim: Victim) -> Tensor:
    """M×N×10 logits of the members that an attack on the victim follows."""
    followed = victim.followed(len(ensemble))
    return torch.stack([ensemble.members[i](images) for i in followed])


def victim_scores(logits: Tensor, victim: Victim) -> Tensor:
    """N×10 scores of the classes that an attack on the victim compares, from member_logits.

    They are logits of a member, also of the only one, or of the mixture, as victim.through says.
    """
    if len(logits) == 1:
        return logits[0]
    if victim.through is Through.LOGIT:
        return logits.mean(0)
    if victim.through is Through.TEMPERED:
        return tempered(logits)
    return mix(logits.log_softmax(2))


def tempered(logits: Tensor) -> Tensor:
    """N×10 log-probabilities of a mixture whose members' logits all have the same spread."""
    return mix((TEMPERED_SPREAD * scaled(logits)).log_softmax(2))


def scaled(logits: Tensor) -> Tensor:
    """M×N×10 logits divided by their spread, the highest minus the mean, which counts as fixed."""
    spread = logits.amax(2, keepdim=True) - logits.mean(2, keepdim=True)
    return logits / spread.detach().clamp_min(TINY)


def victim_objective(
    ensemble: Ensemble, labels: Tensor, config: AttackConfig, victim: Victim
) -> Objective:
    """The objective of an attack: the victim's cross-entropy, negated if targeted."""
    sign = -1.0 if config.targeted else 1.0

    def objective(images: Tensor) -> Tensor:
        return sign * victim_loss(ensemble, images, labels, victim)

    return objective


def victim_loss(ensemble: Ensemble, images: Tensor, labels: Tensor, victim: Victim) -> Tensor:
    """The victim's N cross-entropies in nats; for the mixture, as victim.through says."""
    if victim.through is Through.LOSS and victim.member is None:
        log_probs = ensemble.member_log_probs(images)[:, torch.arange(len(labels)), labels]
        return -log_probs.mean(0)
    scores = victim_scores(member_logits(ensemble, images, victim), victim)
    return F.cross_entropy(scores, labels, reduction="none")


@dataclass(frozen=True)
class Trajectory:
    """Iterates of an ascent (all, or the result alone) with their objectives; the result is last.

    Attributes:
        images: each N×3×32×32 in [0, 1].
        objective: each N.
    """

    images: list[Tensor]
    objective: list[Tensor]


def ascend(
    objective: Objective,
    start: Tensor,
    origin: Tensor,
    config: AttackConfig,
    keep_all: bool,
    evaluate_end: bool = True,
) -> Trajectory:
    """Maximise the objective by projected gradient steps: the one loop of all attacks.

    Args:
        objective: what to maximise.
        start: N×3×32×32, the first iterate. More leading dimensions are allowed, with as many
            values of the objective, unless config.best_iterate is set.
        origin: N×3×32×32, the centres of the eps balls that all later iterates stay in.
        config: norm, eps, step size, steps, momentum and best_iterate; the rest is not used.
        keep_all: return all steps+1 iterates instead of the last (or best) one.
        evaluate_end: compute the objective of the last iterate, too; False saves a forward pass.
    """
    x = start
    path = Trajectory([], [])
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
    """The objective of each image and its gradient in the images; no parameter gets a gradient."""
    with torch.enable_grad():
        x = images.detach().requires_grad_()
        value = objective(x)
        (gradient,) = torch.autograd.grad(value.sum(), x)
    return value.detach(), gradient


@torch.no_grad()
def all_probabilities(ensemble: Ensemble, images: Tensor) -> Tensor:
    """(M+1)×N×10: the probabilities of the members and, last, the mixture."""
    members = ensemble.member_log_probs(images)
    return torch.cat([members, mix(members).unsqueeze(0)]).exp()


def check_images(images: Tensor) -> None:
    """Raise ConfigError unless the images are N×3×32×32 in [0, 1]."""
    if images.dim() != 4 or tuple(images.shape[1:]) != IMAGE_SHAPE:
        raise ConfigError(f"images have shape {tuple(images.shape)}; it must be N×3×32×32.")
    if not bool(((images >= 0) & (images <= 1)).all()):
        raise ConfigError("images have values outside [0, 1]; divide 0–255 pixels by 255.")


def check_batch(images: Tensor, labels: Tensor) -> None:
    """Raise ConfigError unless the images are N×3×32×32 in [0, 1] with N labels in 0–9."""
    check_images(images)
    if labels.shape != (len(images),):
        raise ConfigError(f"labels have shape {tuple(labels.shape)} for {len(images)} images.")
    if not bool(((labels >= 0) & (labels < 10)).all()):
        raise ConfigError(f"labels are {sorted(set(labels.tolist()))}; classes are 0 to 9.")


def _keep_higher(
    images: Tensor, value: Tensor, new_images: Tensor, new_value: Tensor
) -> tuple[Tensor, Tensor]:
    """Of each image, the version with the higher value."""
    higher = new_value > value
    kept = torch.where(higher.view(-1, 1, 1, 1), new_images, images)
    return kept, torch.where(higher, new_value, value)


@torch.no_grad()
def _result(
    ensemble: Ensemble,
    labels: Tensor,
    config: AttackConfig,
    victim: Victim,
    trajectory: Trajectory,
    record: bool,
) -> AttackResult:
    images, objective = trajectory.images[-1], trajectory.objective[-1]
    is_label = victim_logits(ensemble, images, victim).argmax(1) == labels
    success = is_label if config.targeted else ~is_label
    trace = None
    if record:
        probabilities = [all_probabilities(ensemble, x) for x in trajectory.images]
        trace = Trace(
            torch.stack(trajectory.images),
            torch.stack(trajectory.objective),
            torch.stack(probabilities),
        )
    return AttackResult(images, objective, success, trace)


def _worse(first: AttackResult, second: AttackResult) -> AttackResult:
    """Of each image, the successful result; among equals the one with the higher objective."""
    higher = second.objective > first.objective
    take = (second.success & ~first.success) | ((second.success == first.success) & higher)

    def choose(new: Tensor, old: Tensor, image_dimension: int = 0) -> Tensor:
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
        choose(second.images, first.images),
        choose(second.objective, first.objective),
        choose(second.success, first.success),
        trace,
    )
