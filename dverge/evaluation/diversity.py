"""Vulnerability diversity (report, Eq. 2): whether members see each other's distilled features.

    d(f_i, f_j) = ½ E_{(x,y),(x_s,y_s),l} [ L_{f_i}(x'_{f_j^l}(x, x_s), y)
                                          + L_{f_j}(x'_{f_i^l}(x, x_s), y) ]

The report prints each member's loss on its *own* features, L_{f_i}(x'_{f_i^l}). Its text below the
equation, and Eq. 2 of the DVERGE paper (arXiv:2009.14720), mean the crossed losses, as here. L is
the cross-entropy towards the target's class y: it is small where one member, too, classifies the
other's feature as the target, that is, where they share a weakness. The higher d, the more diverse.

d also rises with the scale of the logits, though no prediction changes: a loss towards a class that
is not predicted grows with it. The overlap, the share of features that another member classifies as
the target, does not depend on the scale, so it is the figure to compare ensembles by.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from dverge.attacks import REPORT_DISTILLATION, AttackConfig, distill
from dverge.data import ImageSet
from dverge.errors import ConfigError, require, require_integer
from dverge.evaluation.predictions import all_correct, in_batches, input_pixels
from dverge.models import LAYERS, Conv, Ensemble
from dverge.results import Z95
from dverge.seeds import derive_seed

BATCH = 256
ALL_LAYERS = tuple(range(1, LAYERS + 1))


@dataclass(frozen=True, eq=False)
class Pairs:
    """Sources and targets of distilled features; the images of a pair differ in class.

    Attributes:
        sources: N images that the features look like.
        targets: N images that the features are to be classified as.

    Raises:
        ConfigError: there is no pair, the lengths differ, or both images of a pair have one class.
    """

    sources: ImageSet
    targets: ImageSet

    def __post_init__(self) -> None:
        sources, targets = len(self.sources), len(self.targets)
        if sources != targets:
            raise ConfigError(f"there are {sources} sources for {targets} targets.")
        require(sources > 0, "pairs", sources, "at least one")
        same = int((self.sources.labels == self.targets.labels).sum())
        if same:
            raise ConfigError(f"{same} of {sources} pairs are of one class; each must be of two.")

    def __len__(self) -> int:
        return len(self.sources)

    def subset(self, chosen: Tensor) -> Pairs:
        """The pairs at these positions, or those where a mask of N booleans is True.

        Raises:
            ConfigError: there is none.
        """
        return Pairs(self.sources.subset(chosen), self.targets.subset(chosen))


def draw_pairs(images: ImageSet, n: int, seed: int) -> Pairs:
    """Draw pairs by a seed alone, the same on every device.

    Sources repeat all images in one shuffled order; each target is drawn uniformly from the images
    of other classes.

    Args:
        images: of at least two classes.
        n: number of pairs, from 1.
        seed: from 0 to 2^63 - 1.

    Raises:
        ConfigError: n or the seed is out of range, or the images have fewer than two classes.
    """
    require_integer("n", n, 1, 1_000_000)
    require_integer("seed", seed, 0, 2**63 - 1)
    labels = images.labels.cpu()
    counts = labels.bincount(minlength=1)
    classes = int(counts.count_nonzero())
    if classes < 2:
        word = "class" if classes == 1 else "classes"
        raise ConfigError(f"the images have {classes} {word}; a pair needs two.")
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(images), generator=generator)
    sources = order.repeat(-(-n // len(images)))[:n]
    source_class = labels[sources]
    others = len(images) - counts[source_class]
    drawn = torch.randint(2**62, (n,), generator=generator) % others
    by_class = labels.argsort(stable=True)
    first = (counts.cumsum(0) - counts)[source_class]  # where the source's class begins there
    targets = by_class[drawn + counts[source_class] * (drawn >= first)]  # skips that class
    return Pairs(images.subset(sources), images.subset(targets))


def correct_pairs(pairs: Pairs, ensembles: Sequence[Ensemble]) -> Tensor:
    """Bool N: whether every member of all ensembles classifies source and target correctly.

    On these pairs the distillation alone explains why a member predicts the target's class.
    """
    ends = (pairs.sources, pairs.targets)
    return torch.stack([all_correct(ensembles, images) for images in ends]).all(0)


@dataclass(frozen=True, eq=False)
class Diversity:
    """How each member classifies the features distilled from each member.

    Attributes:
        loss: float64, L×M×M×N on the CPU; [l, j, i, pair] is the cross-entropy in nats of member i
            on the feature distilled from layer layers[l] of member j, towards the target's class.
        sees_target: bool, of the same shape: member i predicts the target's class.
        layers: the distilled layers, each 1–5.
    """

    loss: Tensor
    sees_target: Tensor
    layers: tuple[int, ...]

    @property
    def n(self) -> int:
        """The number of pairs."""
        return self.loss.shape[-1]

    def matrix(self, layer: int | None = None) -> Tensor:
        """M×M symmetric d(f_i, f_j) in nats, the mean over all layers or one of them.

        The diagonal, where i = j, is a member's loss on its own features.

        Raises:
            ConfigError: the layer was not measured.
        """
        return self._by_pair(layer).mean(2)

    def interval(self, layer: int | None = None) -> Tensor:
        """2×M×M, low and high ends of about 95 %: the mean ± 1.96 standard errors over pairs.

        Layers are averaged within a pair first, as they share its images. NaN for one pair.

        Raises:
            ConfigError: the layer was not measured.
        """
        each = self._by_pair(layer)
        mean = each.mean(2)
        if self.n < 2:
            return torch.full((2, *mean.shape), torch.nan, dtype=mean.dtype)
        half = Z95 * each.std(2) / self.n**0.5
        return torch.stack([mean - half, mean + half])

    def overlap(self, layer: int | None = None) -> Tensor:
        """M×M per cent: features of member j (row) that member i (column) classifies as the target.

        Raises:
            ConfigError: the layer was not measured.
        """
        return 100 * self._at_layer(self.sees_target, layer).double().mean((0, 3))

    def _by_pair(self, layer: int | None) -> Tensor:
        """M×M×N, Eq. 2 for each pair."""
        crossed = self._at_layer(self.loss, layer).mean(0)
        return (crossed + crossed.transpose(0, 1)) / 2

    def _at_layer(self, values: Tensor, layer: int | None) -> Tensor:
        """One layer's values, 1×M×M×N, or all layers'."""
        if layer is None:
            return values
        require(layer in self.layers, "layer", layer, f"one of {', '.join(map(str, self.layers))}")
        return values[[self.layers.index(layer)]]


def diversity(
    ensemble: Ensemble,
    pairs: Pairs,
    config: AttackConfig = REPORT_DISTILLATION,
    layers: Sequence[int] = ALL_LAYERS,
    on_progress: Callable[[float], None] | None = None,
) -> Diversity:
    """Distil every pair from each layer of each member, and evaluate every member (Eq. 2).

    The ensemble is left as it is.

    Args:
        ensemble: members with features(images, layer), on the pairs' device.
        pairs: sources and targets.
        config: budget and steps about the sources, of one restart. All members and layers share
            one random start.
        layers: at least one of 1 to 5, none of them twice.
        on_progress: called with the share done, above 0 to 1, after each batch of a layer of a
            member.

    Raises:
        ConfigError: no such layers, or more than one restart.
    """
    require_integer("restarts", config.restarts, 1, 1)
    require(0 < len(layers) == len(set(layers)), "layers", layers, "different layers, at least one")
    for layer in layers:
        require_integer("layer", layer, 1, LAYERS)
    members = len(ensemble)
    shape = (len(layers), members, members, len(pairs))
    loss = torch.zeros(shape, dtype=torch.float64)
    sees_target = torch.zeros(shape, dtype=torch.bool)
    batches = zip(in_batches(pairs.sources, BATCH), in_batches(pairs.targets, BATCH), strict=True)
    done, total = 0, len(layers) * members * math.ceil(len(pairs) / BATCH)
    for number, (sources, targets) in enumerate(batches):
        at = slice(number * BATCH, number * BATCH + len(sources))
        pixels = input_pixels(ensemble, sources), input_pixels(ensemble, targets)
        seed = derive_seed(config.seed, "pairs", number) % 2**31  # batches differ in random starts
        settings = replace(config, seed=seed)
        for j, member in enumerate(ensemble.members):
            for k, layer in enumerate(layers):
                features = distill(cast(Conv, member), *pixels, layer, settings)
                evaluated = _evaluated(ensemble, features, targets.labels)
                loss[k, j, :, at], sees_target[k, j, :, at] = evaluated
                done += 1
                if on_progress:
                    on_progress(done / total)
    return Diversity(loss, sees_target, tuple(layers))


@torch.no_grad()
def _evaluated(ensemble: Ensemble, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """M×N cross-entropies of the members in float64, and whether each predicts the label."""
    logits = torch.stack([member(images).double() for member in ensemble.members])
    losses = [F.cross_entropy(each, labels, reduction="none") for each in logits]
    return torch.stack(losses).cpu(), (logits.argmax(2) == labels).cpu()
