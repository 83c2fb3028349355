"""How far members share weaknesses: one pair in a sentence, a batch of pairs in figures.

A feature distilled on one member shows a weakness of that member. The share of such features that
the *other* members also classify as the target is the overlap of their weaknesses; Eq. 2 is their
mean loss towards the target, which also rises with the scale of their logits. The members'
predictions on the sources are the baseline of both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dverge.attacks import REPORT_DISTILLATION, AttackConfig
from dverge.data import CLASSES
from dverge.errors import require, require_integer
from dverge.evaluation.diversity import Diversity, Pairs, diversity
from dverge.evaluation.predictions import answers, input_pixels
from dverge.exploration.distilled import Distilled
from dverge.models import LAYERS, Ensemble
from dverge.results import Z95


def overlap_in_words(named: Sequence[tuple[str, Distilled]], step: int | None = None) -> str:
    """What submodels predict on each other's features and on their own, in a sentence.

    Args:
        named: each ensemble's name and its distilled features; all of the same classes and steps.
        step: 0 to the number of steps; the last if None.

    Raises:
        ConfigError: there is no ensemble, classes or steps differ, or there is no such step.
    """
    require(len(named) > 0, "the number of ensembles", len(named), "at least 1")
    first = named[0][1]
    kinds = {(each.source, each.target, each.steps) for _, each in named}
    require(len(kinds) == 1, "the number of different pairs or steps", len(kinds), "1")
    at, target = first.at(step), f"{CLASSES[first.target]}, the target,"
    asked = "Asked" if at == first.steps else f"After {at} of {first.steps} steps, asked"
    counts = [(f" in {name}" if len(named) > 1 else "", each.counts(step)) for name, each in named]
    others = _listed([f"{c.others} of {c.others_of} times{of}" for of, c in counts if c.others_of])
    own = _listed([f"{c.own} of {c.own_of} times{of}" for of, c in counts])
    if not others:
        return f"{asked} about its own features, a submodel says {target} {own}."
    return (
        f"{asked} about a feature distilled on another submodel, submodels say {target} "
        f"{others}; asked about their own, {own}."
    )


def _listed(parts: Sequence[str]) -> str:
    """The parts as "a, b and c"."""
    return " and ".join(filter(None, (", ".join(parts[:-1]), *parts[-1:])))


@dataclass(frozen=True)
class Mean:
    """A mean over pairs with its 95 % interval, ± 1.96 standard errors (NaN for one pair)."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Overlap:
    """A batch of N pairs on one ensemble of M members.

    Means are over pairs. Within a pair, layers and members are averaged first, because they share
    its images. A layer is 1–5, or None for all. With one member, the others' figures are NaN.

    Attributes:
        crossed: each member's loss and prediction on each member's features.
        unchanged: bool, M×N, the member classifies the source itself as the target.
    """

    crossed: Diversity
    unchanged: Tensor

    @property
    def n(self) -> int:
        """The number of pairs."""
        return self.crossed.n

    def own(self, layer: int | None = None) -> Mean:
        """Features that the member they were distilled on classifies as the target, in per cent."""
        return _mean(100 * self._is_target(layer).diagonal(dim1=1, dim2=2).mean((0, 2)))

    def others(self, layer: int | None = None) -> Mean:
        """Predictions of the other members that are the target, in per cent: the overlap."""
        return _mean(100 * _between(self._is_target(layer)))

    def ground(self) -> Mean:
        """Predictions on the unchanged sources that are the target, in per cent: the baseline."""
        return _mean(100 * self.unchanged.double().mean(0))

    def loss(self, layer: int | None = None) -> Mean:
        """Eq. 2 in nats, the mean over pairs of different members."""
        return _mean(_between(_select_layer(self.crossed.loss, layer)))

    def as_many(self, others: int) -> float:
        """Pairs with at least so many target predictions by the other members, in per cent."""
        sees = self.crossed.sees_target
        counts = sees.sum((0, 1, 2)) - sees.diagonal(dim1=1, dim2=2).sum((0, 2))
        return 100 * (counts >= others).double().mean().item()

    def _is_target(self, layer: int | None) -> Tensor:
        return _select_layer(self.crossed.sees_target, layer).double()


def overlap(
    ensemble: Ensemble,
    pairs: Pairs,
    config: AttackConfig = REPORT_DISTILLATION,
    on_progress: Callable[[float], None] | None = None,
) -> Overlap:
    """Distil every pair from every layer of each member, and evaluate every member.

    Args:
        ensemble: members with features(images, layer), on the pairs' device; left as they are.
        pairs: sources and targets.
        config: budget and steps about the sources, of one restart.
        on_progress: called with the share done, above 0 to 1.

    Raises:
        ConfigError: more than one restart.
    """
    crossed = diversity(ensemble, pairs, config, on_progress=on_progress)
    predicted = answers(ensemble, input_pixels(ensemble, pairs.sources))[:-1]
    return Overlap(crossed, (predicted == pairs.targets.labels).cpu())


def _select_layer(values: Tensor, layer: int | None) -> Tensor:
    """All of L×M×M×N, or one layer's values as 1×M×M×N."""
    if layer is None:
        return values
    require_integer("layer", layer, 1, LAYERS)
    return values[[layer - 1]]


def _between(values: Tensor) -> Tensor:
    """N means of L×M×M×N over layers and pairs of different members; NaN for one member."""
    others = ~torch.eye(values.shape[1], dtype=torch.bool)
    return values[:, others].mean((0, 1))


def _mean(by_pair: Tensor) -> Mean:
    value = by_pair.mean().item()
    half = (Z95 * by_pair.std() / len(by_pair) ** 0.5).item() if len(by_pair) > 1 else float("nan")
    return Mean(value, value - half, value + half)
