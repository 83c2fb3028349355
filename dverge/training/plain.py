"""Every method written plainly: one member after the other, with autograd.

This is Algorithm 1 as the report prints it. No ensemble is trained with it: the tests compare the
fast engines with it, and `python -m dverge bench` times them against it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import SGD

from dverge.attacks import AttackConfig
from dverge.models import Conv, Ensemble
from dverge.training.config import (
    AdversarialConfig,
    AdvtConfig,
    Attacked,
    Diversity,
    DvergeAdvtConfig,
    DvergeConfig,
    TrainingConfig,
)

Batch = tuple[Tensor, Tensor]
"""Images N×3×32×32 in [0, 1], and labels."""

Terms = list[tuple[float, Tensor]]
"""A member's loss: the weight and the value of each term."""

Start = Callable[[str, int, Tensor], Tensor]
"""Where "distill" or "attack" starts for member i, instead of at the images."""


def start_at_images(attack: str, i: int, images: Tensor) -> Tensor:
    """Start without noise."""
    return images


class PlainLoop:
    """Trains members by the method of a config.

    Args:
        members: changed in place.
        config: its learning rate and batch size are not used; see step.
    """

    def __init__(self, members: Sequence[Conv], config: TrainingConfig) -> None:
        self.members = [member.requires_grad_() for member in members]
        self.config = config
        self.optimizers = [
            SGD(member.parameters(), momentum=config.momentum, weight_decay=config.weight_decay)
            for member in self.members
        ]

    def step(
        self,
        batches: Sequence[Batch],
        layer: int,
        learning_rate: float,
        start: Start = start_at_images,
    ) -> list[list[float]]:
        """One iteration; returns the unweighted values of each member's terms.

        Args:
            batches: one of each stream, in the order of dverge.training.objective.stream_names.
            layer: the layer whose features are distilled.
            learning_rate: of SGD.
            start: where distillations and attacks start.
        """
        losses = self._losses(batches, layer, start)  # of all members, before any member changes
        for optimizer, terms in zip(self.optimizers, losses, strict=True):
            optimizer.param_groups[0]["lr"] = learning_rate
            optimizer.zero_grad()
            torch.stack([weight * value for weight, value in terms]).sum().backward()
            optimizer.step()
        return [[value.item() for _, value in terms] for terms in losses]

    def _losses(self, batches: Sequence[Batch], layer: int, start: Start) -> list[Terms]:
        if isinstance(self.config, DvergeConfig):
            return self._dverge(self.config, batches, layer, start)
        if isinstance(self.config, AdvtConfig):
            return self._adversarial_training(self.config, batches, start)
        return [
            [(1.0, F.cross_entropy(member(images), labels))]
            for member, (images, labels) in zip(self.members, batches, strict=True)
        ]

    def _dverge(
        self, config: DvergeConfig, batches: Sequence[Batch], layer: int, start: Start
    ) -> list[Terms]:
        (sources, source_labels), (targets, target_labels) = batches
        distilled = [
            descend(
                partial(feature_distance, member, targets=targets, layer=layer),
                member,
                start("distill", i, sources),
                sources,
                config.distillation,
            )
            for i, member in enumerate(self.members)
        ]
        losses = []
        for i, member in enumerate(self.members):
            others = [images for j, images in enumerate(distilled) if j != i]
            if config.diversity is Diversity.EQ4:
                weight = config.alpha
                values = [F.cross_entropy(member(images), source_labels) for images in others]
            else:
                weight, cap = -config.alpha / 2, config.cap or None
                values = [capped_cross_entropy(member(x), target_labels, cap) for x in others]
            terms = [(weight, torch.stack(values).sum())]
            if config.clean_weight:
                terms.append((config.clean_weight, F.cross_entropy(member(targets), target_labels)))
            if isinstance(config, DvergeAdvtConfig):
                begin = start("attack", i, sources)
                examples = pgd_examples(member, begin, sources, source_labels, config)
                terms.append((config.adv_weight, F.cross_entropy(member(examples), source_labels)))
            losses.append(terms)
        return losses

    def _adversarial_training(
        self, config: AdvtConfig, batches: Sequence[Batch], start: Start
    ) -> list[Terms]:
        if config.attacked is Attacked.MIXTURE:
            ((images, labels),) = batches
            mixture = Ensemble(self.members)
            examples = pgd_examples(mixture, start("attack", 0, images), images, labels, config)
            learned = [(images, examples, labels)] * len(self.members)
        else:
            learned = []
            for i, (member, (images, labels)) in enumerate(zip(self.members, batches, strict=True)):
                examples = pgd_examples(member, start("attack", i, images), images, labels, config)
                learned.append((images, examples, labels))
        loss = self._joint_cross_entropy if config.joint else self._cross_entropy
        losses = []
        for i, (images, examples, labels) in enumerate(learned):
            terms = [(1.0, loss(i, examples, labels))]
            if config.clean_weight:
                terms.append((config.clean_weight, loss(i, images, labels)))
            losses.append(terms)
        return losses

    def _cross_entropy(self, i: int, images: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(self.members[i](images), labels)

    def _joint_cross_entropy(self, i: int, images: Tensor, labels: Tensor) -> Tensor:
        """The mixture's cross-entropy, whose gradient is taken in member i's weights alone."""
        probabilities = [member(images).softmax(1) for member in self.members]
        fixed = [each if j == i else each.detach() for j, each in enumerate(probabilities)]
        return F.nll_loss(torch.stack(fixed).mean(0).log(), labels)


def feature_distance(member: Conv, images: Tensor, targets: Tensor, layer: int) -> Tensor:
    """The sum of ‖f^l(z) - f^l(x)‖² over pairs of an image z and a target x (Eq. 1)."""
    return (member.features(images, layer) - member.features(targets, layer)).square().sum()


def capped_cross_entropy(logits: Tensor, labels: Tensor, cap: float | None) -> Tensor:
    """The mean of each image's cross-entropy, or of the cap where that is lower."""
    each = F.cross_entropy(logits, labels, reduction="none")
    return (each if cap is None else each.clamp(max=cap)).mean()


def pgd_examples(
    network: Conv | Ensemble,
    start: Tensor,
    images: Tensor,
    labels: Tensor,
    config: AdversarialConfig,
) -> Tensor:
    """L-inf PGD examples of the images (Madry et al. 2018)."""

    def negative_loss(examples: Tensor) -> Tensor:
        return -F.cross_entropy(network(examples), labels, reduction="sum")

    return descend(negative_loss, network, start, images, config.pgd)


def descend(
    objective: Callable[[Tensor], Tensor],
    network: torch.nn.Module,
    start: Tensor,
    origin: Tensor,
    config: AttackConfig,
) -> Tensor:
    """Lower the objective by signed steps within the ball about the origin and the pixel box."""
    x, velocity = start.clone(), torch.zeros_like(start)
    for _ in range(config.steps):
        x = x.detach().requires_grad_()
        network.zero_grad()
        objective(x).backward()
        assert x.grad is not None
        direction = x.grad
        if config.momentum:
            lengths = direction.abs().sum((1, 2, 3), keepdim=True).clamp_min(1e-12)
            direction = velocity = config.momentum * velocity + direction / lengths
        x = x - config.step_size * direction.sign()
        x = torch.maximum(torch.minimum(x, origin + config.eps), origin - config.eps).clamp(0, 1)
    return x.detach()
