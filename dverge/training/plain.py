"""All methods written plainly: one member after the other, autograd, nothing clever.

This is Algorithm 1 as one reads it. The fast engines are held against it by the tests, and
timed against it by `python -m dverge bench`; nothing is trained with it.
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


class PlainLoop:
    """Steps members by a config's method.

    Args:
        members: changed in place.
        config: its method, momentum and so on.
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
        starts: Callable[[str, int, Tensor], Tensor] = lambda term, i, images: images,
    ) -> list[list[float]]:
        """One iteration; the unweighted values of each member's terms.

        Args:
            batches: of each stream, as dverge.training.objective.streams names them.
            layer: to distil from.
            learning_rate: of SGD.
            starts: where the descent ("distill" or "attack") of member i begins.
        """
        losses = self._losses(batches, layer, starts)
        values = []
        for optimizer, terms in zip(self.optimizers, losses, strict=True):
            optimizer.param_groups[0]["lr"] = learning_rate
            optimizer.zero_grad()
            sum((weight * value for weight, value in terms), torch.zeros(())).backward()
            optimizer.step()
            values.append([value.item() for _, value in terms])
        return values

    def _losses(
        self,
        batches: Sequence[Batch],
        layer: int,
        starts: Callable[[str, int, Tensor], Tensor],
    ) -> list[list[tuple[float, Tensor]]]:
        """Each member's terms as (weight, value)."""
        config = self.config
        if isinstance(config, DvergeConfig):
            return self._dverge(config, batches, layer, starts)
        if isinstance(config, AdvtConfig):
            return self._advt(config, batches, starts)
        return [
            [(1.0, F.cross_entropy(member(x), y))]
            for member, (x, y) in zip(self.members, batches, strict=True)
        ]

    def _dverge(
        self,
        config: DvergeConfig,
        batches: Sequence[Batch],
        layer: int,
        starts: Callable[[str, int, Tensor], Tensor],
    ) -> list[list[tuple[float, Tensor]]]:
        (sources, source_labels), (targets, target_labels) = batches
        distilled = [
            descend(
                partial(feature_distance, member, targets=targets, layer=layer),
                member,
                starts("distill", i, sources),
                sources,
                config.distillation,
            )
            for i, member in enumerate(self.members)
        ]
        losses = []
        for i, member in enumerate(self.members):
            terms = []
            total = torch.zeros(())
            for j, images in enumerate(distilled):
                if j == i:
                    continue
                if config.diversity is Diversity.EQ4:
                    total = total + F.cross_entropy(member(images), source_labels)
                else:
                    each = F.cross_entropy(member(images), target_labels, reduction="none")
                    total = total + (each.clamp(max=config.cap) if config.cap else each).mean()
            eq3 = config.diversity is Diversity.EQ3
            terms.append((-config.alpha / 2 if eq3 else config.alpha, total))
            if config.clean_weight:
                terms.append((config.clean_weight, F.cross_entropy(member(targets), target_labels)))
            if isinstance(config, DvergeAdvtConfig):
                examples = self._examples(config, member, i, sources, source_labels, starts)
                value = F.cross_entropy(member(examples), source_labels)
                terms.append((config.adv_weight, value))
            losses.append(terms)
        return losses

    def _advt(
        self,
        config: AdvtConfig,
        batches: Sequence[Batch],
        starts: Callable[[str, int, Tensor], Tensor],
    ) -> list[list[tuple[float, Tensor]]]:
        if config.attacked is Attacked.MIXTURE:
            images, labels = batches[0]
            mixture = Ensemble(self.members)
            examples = self._examples(config, mixture, 0, images, labels, starts)
            work = [(images, labels, examples)] * len(self.members)
        else:
            work = [
                (images, labels, self._examples(config, member, i, images, labels, starts))
                for i, (member, (images, labels)) in enumerate(
                    zip(self.members, batches, strict=True)
                )
            ]
        losses = []
        for i, (images, labels, examples) in enumerate(work):
            terms = [(1.0, self._of(i, examples, labels, config.joint))]
            if config.clean_weight:
                terms.append((config.clean_weight, self._of(i, images, labels, config.joint)))
            losses.append(terms)
        return losses

    def _of(self, i: int, images: Tensor, labels: Tensor, joint: bool) -> Tensor:
        """Member i's cross-entropy; or the mixture's, in which the others are constants to it."""
        if not joint:
            return F.cross_entropy(self.members[i](images), labels)
        probabilities = [
            member(images).softmax(1) if j == i else member(images).softmax(1).detach()
            for j, member in enumerate(self.members)
        ]
        return F.nll_loss(torch.stack(probabilities).mean(0).log(), labels)

    @staticmethod
    def _examples(
        config: AdversarialConfig,
        network: Conv | Ensemble,
        i: int,
        images: Tensor,
        labels: Tensor,
        starts: Callable[[str, int, Tensor], Tensor],
    ) -> Tensor:
        return descend(
            lambda z: -F.cross_entropy(network(z), labels, reduction="sum"),
            network,
            starts("attack", i, images),
            images,
            config.pgd,
        )


def feature_distance(member: Conv, images: Tensor, targets: Tensor, layer: int) -> Tensor:
    """The sum of ‖f^l(z) - f^l(x)‖² over pairs of images z and targets x (Eq. 1)."""
    return (member.features(images, layer) - member.features(targets, layer)).square().sum()


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
