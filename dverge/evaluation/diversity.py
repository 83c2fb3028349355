"""Vulnerability diversity (report, Eq. 2): whether members see each other's distilled features.

    d(f_i, f_j) = ½ E_{(x,y),(x_s,y_s),l} [ L_{f_i}(x'_{f_j^l}(x, x_s), y)
                                          + L_{f_j}(x'_{f_i^l}(x, x_s), y) ]

The report prints each member's loss on its *own* features, L_{f_i}(x'_{f_i^l}). Its text below the
equation, and Eq. 2 of the DVERGE paper (arXiv:2009.14720), mean the crossed losses, as here. L is
cross-entropy towards the target's class y: it is small where one member takes the other's feature
for the target too, that is, where they share a weakness. The higher d, the more diverse.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from dverge.attacks import REPORT_DISTILLATION, AttackConfig, distill
from dverge.data import ImageSet
from dverge.errors import ConfigError, require, require_integer
from dverge.evaluation.transfer import batches_of, pixels_for
from dverge.models import LAYERS, Conv, Ensemble
from dverge.results import Z95
from dverge.seeds import derive_seed

BATCH = 256
ALL_LAYERS = tuple(range(1, LAYERS + 1))


@dataclass(frozen=True, eq=False)
class Pairs:
    """Sources and targets of distilled features, each pair of two classes.

    Attributes:
        sources: N images, what the features look like.
        targets: N images, what they are to be taken for.

    Raises:
        ConfigError: there is no pair, the lengths differ, or a pair is of one class.
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


def draw_pairs(images: ImageSet, n: int, seed: int) -> Pairs:
    """Pairs drawn by a seed alone, the same on every device.

    Sources go through the images in a shuffled order, again and again; the target of each is drawn
    uniformly from the images of other classes, so a pair is never of one image.

    Args:
        images: of at least two classes.
        n: how many pairs, from 1.
        seed: from 0 to 2^63 - 1.

    Raises:
        ConfigError: n or the seed is out of range, or the images are of fewer than two classes.
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
    own = labels[sources]
    drawn = torch.randint(2**62, (n,), generator=generator) % (len(images) - counts[own])
    by_class = labels.argsort(stable=True)
    first = counts.cumsum(0) - counts  # where each class begins in by_class
    beyond = drawn >= first[own]
    targets = by_class[drawn + counts[own] * beyond]  # skips the source's class
    return Pairs(images.subset(sources), images.subset(targets))


@dataclass(frozen=True, eq=False)
class Diversity:
    """What each member says of each member's distilled features.

    Attributes:
        loss: float64, L×M×M×N on the CPU; [l, j, i, pair] is the cross-entropy in nats of member i
            on the feature distilled from layer layers[l] of member j, towards the target's class.
        sees_target: bool, of the same shape: member i says the target's class.
        layers: what was distilled, each 1–5.
    """

    loss: Tensor
    sees_target: Tensor
    layers: tuple[int, ...]

    @property
    def n(self) -> int:
        """How many pairs."""
        return self.loss.shape[-1]

    def matrix(self, layer: int | None = None) -> Tensor:
        """M×M symmetric d(f_i, f_j) in nats, over all layers alike or one of them.

        The diagonal is what the formula gives for i = j: a member's loss on its own features.

        Raises:
            ConfigError: the layer was not measured.
        """
        return self._by_pair(layer).mean(2)

    def interval(self, layer: int | None = None) -> Tensor:
        """2×M×M, low and high ends of about 95 %: the mean ± 1.96 standard errors over pairs.

        Layers are averaged within a pair first, for they share its images. NaN for one pair.

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
        """M×M per cent: features of member j (row) that member i (column) takes for the target.

        Raises:
            ConfigError: the layer was not measured.
        """
        return 100 * self._chosen(self.sees_target, layer).double().mean((0, 3))

    def _by_pair(self, layer: int | None) -> Tensor:
        """M×M×N, Eq. 2 of each pair alone."""
        crossed = self._chosen(self.loss, layer).mean(0)
        return (crossed + crossed.transpose(0, 1)) / 2

    def _chosen(self, values: Tensor, layer: int | None) -> Tensor:
        """All layers' values, or one layer's as 1×M×M×N."""
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
    """Distil every pair from each layer of each member, and ask every member (Eq. 2).

    The ensemble is left as it is.

    Args:
        ensemble: members with features(images, layer), on the pairs' device.
        pairs: sources and targets.
        config: budget and steps about the sources, of one restart. A random start is the same for
            all members and layers.
        layers: at least one of 1 to 5, none of them twice.
        on_progress: told the share done, above 0 to 1, after each batch of a layer of a member.

    Raises:
        ConfigError: no such layers, or more than one restart.
    """
    require_integer("restarts", config.restarts, 1, 1)
    require(0 < len(layers) == len(set(layers)), "layers", layers, "different layers, at least one")
    for layer in layers:
        require_integer("layer", layer, 1, LAYERS)
    members = len(ensemble)
    shape = (len(layers), members, members, len(pairs))
    loss, sees = torch.zeros(shape, dtype=torch.float64), torch.zeros(shape, dtype=torch.bool)
    sources, targets = (batches_of(each, BATCH) for each in (pairs.sources, pairs.targets))
    done, total = 0, len(layers) * members * len(sources)
    for at, (some, aims) in enumerate(zip(sources, targets, strict=True)):
        where = slice(at * BATCH, at * BATCH + len(some))
        given = pixels_for(ensemble, some), pixels_for(ensemble, aims)
        settings = _of_batch(config, at)
        for j, member in enumerate(ensemble.members):
            for k, layer in enumerate(layers):
                found = distill(cast(Conv, member), *given, layer, settings)
                loss[k, j, :, where], sees[k, j, :, where] = _judged(ensemble, found, aims.labels)
                done += 1
                if on_progress:
                    on_progress(done / total)
    return Diversity(loss, sees, tuple(layers))


def _of_batch(config: AttackConfig, batch: int) -> AttackConfig:
    """The same settings with a seed of the batch's own, lest all batches start with one noise."""
    return replace(config, seed=derive_seed(config.seed, "pairs", batch) % 2**31)


@torch.no_grad()
def _judged(ensemble: Ensemble, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """M×N cross-entropies of the members in float64, and whether each says the label."""
    logits = torch.stack([member(images).double() for member in ensemble.members])
    losses = [F.cross_entropy(each, labels, reduction="none") for each in logits]
    return torch.stack(losses).cpu(), (logits.argmax(2) == labels).cpu()
