"""How far members share weaknesses: one pair in words, a batch of pairs in figures.

A feature distilled on one member shows a weakness of that member. The share of such features that
the *other* members take for the target, too, is the overlap of their weaknesses; Eq. 2 is their
mean loss towards it. What the members say of the sources themselves is the ground level of both.
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
    """What submodels say of each other's features and of their own, at a step.

    Args:
        named: each ensemble's name and what was found of it; of the same classes and steps.
        step: 0 to the number of steps; the last if None.

    Raises:
        ConfigError: there is no ensemble, they do not go together, or there is no such step.
    """
    require(len(named) > 0, "the number of ensembles", len(named), "at least 1")
    first = named[0][1]
    kinds = {(each.source, each.target, each.steps) for _, each in named}
    require(len(kinds) == 1, "the number of different pairs or steps", len(kinds), "1")
    at, what = first.at(step), f"{CLASSES[first.target]}, the target,"
    asked = "Asked" if at == first.steps else f"After {at} of {first.steps} steps, asked"
    counts = [(name, each.counts(step)) for name, each in named]
    others = [(f"{c.others} of {c.others_of} times", name) for name, c in counts if c.others_of]
    own = [(f"{c.own} of {c.own_of} times", name) for name, c in counts]
    alone = len(named) == 1
    if not others:
        return f"{asked} about its own features, a submodel says {what} {_listed(own, alone)}."
    return (
        f"{asked} about a feature distilled on another submodel, submodels say {what} "
        f"{_listed(others, alone)}; asked about their own, {_listed(own, alone)}."
    )


def _listed(counts: Sequence[tuple[str, str]], alone: bool) -> str:
    """Counts with the ensembles they are of, unless there is but one."""
    *most, last = (count if alone else f"{count} in {name}" for count, name in counts)
    return f"{', '.join(most)} and {last}" if most else last


@dataclass(frozen=True)
class Mean:
    """A mean over pairs with its 95 % interval, ± 1.96 standard errors; NaN for one pair."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Overlap:
    """A batch of N pairs on one ensemble of M members.

    Means are over pairs; the layers and members of a pair are averaged first, for they share its
    images. A layer is 1–5, or all of them alike if None. Of one member, the others' figures are
    NaN.

    Attributes:
        crossed: what each member says of each member's features.
        unchanged: bool, M×N, members that take the source itself for the target.
    """

    crossed: Diversity
    unchanged: Tensor

    @property
    def n(self) -> int:
        """How many pairs."""
        return self.crossed.n

    def own(self, layer: int | None = None) -> Mean:
        """Features that the member they were distilled on takes for the target, per cent."""
        return _mean(100 * self._sees(layer).diagonal(dim1=1, dim2=2).mean((0, 2)))

    def others(self, layer: int | None = None) -> Mean:
        """Features that the other members take for the target, per cent of their answers."""
        return _mean(100 * _between(self._sees(layer)))

    def ground(self) -> Mean:
        """Sources that members take for the target as they are, per cent of the answers."""
        return _mean(100 * self.unchanged.double().mean(0))

    def loss(self, layer: int | None = None) -> Mean:
        """Eq. 2, in nats, the mean over pairs of different members."""
        return _mean(_between(_of_layer(self.crossed.loss, layer)))

    def as_many(self, others: int) -> float:
        """Pairs whose features the others take for the target at least so often, per cent."""
        times = self.crossed.sees_target.sum((0, 1, 2))
        times -= self.crossed.sees_target.diagonal(dim1=1, dim2=2).sum((0, 2))
        return 100 * (times >= others).double().mean().item()

    def _sees(self, layer: int | None) -> Tensor:
        return _of_layer(self.crossed.sees_target, layer).double()


def overlap(
    ensemble: Ensemble,
    pairs: Pairs,
    config: AttackConfig = REPORT_DISTILLATION,
    on_progress: Callable[[float], None] | None = None,
) -> Overlap:
    """Distil every pair from every layer of each member, and ask every member.

    Args:
        ensemble: members with features(images, layer), on the pairs' device; left as they are.
        pairs: sources and targets.
        config: budget and steps about the sources, of one restart.
        on_progress: told the share done, above 0 to 1.

    Raises:
        ConfigError: more than one restart.
    """
    crossed = diversity(ensemble, pairs, config, on_progress=on_progress)
    said = answers(ensemble, input_pixels(ensemble, pairs.sources))[:-1]
    return Overlap(crossed, (said == pairs.targets.labels).cpu())


def _of_layer(values: Tensor, layer: int | None) -> Tensor:
    """All of L×M×M×N, or one layer's as 1×M×M×N."""
    if layer is None:
        return values
    require_integer("layer", layer, 1, LAYERS)
    return values[[layer - 1]]


def _between(values: Tensor) -> Tensor:
    """N means of L×M×M×N over layers and pairs of different members; NaN of one member."""
    others = ~torch.eye(values.shape[1], dtype=torch.bool)
    return values[:, others].mean((0, 1))


def _mean(by_pair: Tensor) -> Mean:
    value = by_pair.mean().item()
    half = (Z95 * by_pair.std() / len(by_pair) ** 0.5).item() if len(by_pair) > 1 else float("nan")
    return Mean(value, value - half, value + half)
