"""What each method minimises: a sum of named terms, each a cross-entropy on made or clean images.

A loss is described twice: `weights` says which terms there are, and `make_terms` makes them for a
batch. Both depend on the config alone, so that a training knows its terms before it has begun.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from dverge.training.config import (
    AdvtConfig,
    Attacked,
    Diversity,
    DvergeAdvtConfig,
    DvergeConfig,
    TrainingConfig,
)
from dverge.training.engine import Engine, Given, Term

CLEAN, DIVERSITY, ADVERSARIAL = "clean", "diversity", "adversarial"
SOURCE, TARGET = 0, 1  # the streams of a DVERGE training


def streams(config: TrainingConfig) -> list[str]:
    """Names of the streams of images; a batch has a set of images from each."""
    if isinstance(config, DvergeConfig):
        return ["source", "target"]
    if _on_the_mixture(config):
        return ["source"]
    return [f"member-{i}" for i in range(config.members)]  # so that members are independent


def weights(config: TrainingConfig) -> dict[str, float]:
    """The loss's terms with their weights; a clean term of weight 0 is left out.

    Eq. 3 takes away α/2 · CE(f_i(x'_j), y) for each other member: Eq. 2 is half the sum of two
    losses, of which one has a gradient in member i's weights.
    """
    if isinstance(config, DvergeConfig):
        eq3 = config.diversity is Diversity.EQ3
        found = {DIVERSITY: -config.alpha / 2 if eq3 else config.alpha, CLEAN: config.clean_weight}
        if isinstance(config, DvergeAdvtConfig):
            found[ADVERSARIAL] = config.adv_weight
    elif isinstance(config, AdvtConfig):
        found = {ADVERSARIAL: 1.0, CLEAN: config.clean_weight}
    else:
        found = {CLEAN: 1.0}
    return {name: weight for name, weight in found.items() if name != CLEAN or weight}


def noises(config: TrainingConfig) -> tuple[int, int]:
    """How many sets of noise the distillation and the attack begin with."""
    distills = isinstance(config, DvergeConfig) and config.distill_random_start
    attacks = isinstance(config, DvergeAdvtConfig | AdvtConfig) and config.adv_random_start
    attacked = 1 if _on_the_mixture(config) else config.members
    return config.members * distills, attacked * attacks


def make_terms(config: TrainingConfig, engine: Engine, given: Given, layer: int) -> list[Term]:
    """The terms for a batch, in the order of `weights`; layer is the one to distil from."""
    makers = {DIVERSITY: _diversity, CLEAN: _clean, ADVERSARIAL: _adversarial}
    found = weights(config)
    return [makers[name](config, found[name], engine, given, layer) for name in found]


def objective(config: TrainingConfig) -> partial[list[Term]]:
    """make_terms of a config."""
    return partial(make_terms, config)


def _diversity(
    config: TrainingConfig, weight: float, engine: Engine, given: Given, layer: int
) -> Term:
    """Each member learns the others' distilled features: Algorithm 1, or Eq. 3."""
    assert isinstance(config, DvergeConfig)
    images, descent = given.images, config.distillation
    source = images[SOURCE : SOURCE + 1]
    start = _start(source, given.distill_noise, descent.eps, engine.count)
    distilled = engine.distill(source, images[TARGET : TARGET + 1], start, layer, descent)
    eq3 = config.diversity is Diversity.EQ3
    labels = given.labels[TARGET if eq3 else SOURCE].expand(engine.count, -1)
    members = range(engine.count)
    others = tuple(tuple(j for j in members if j != i) for i in members)
    return Term(weight, distilled, labels, others, config.cap if eq3 and config.cap else None)


def _clean(
    config: TrainingConfig, weight: float, engine: Engine, given: Given, _layer: int
) -> Term:
    """Each member learns clean images: of its own stream, or the one or the targets' for all."""
    sets = range(engine.count)
    if isinstance(config, DvergeConfig):
        learners = tuple((TARGET,) for _ in sets)
    elif _on_the_mixture(config):
        learners = tuple((SOURCE,) for _ in sets)
    else:
        learners = tuple((i,) for i in sets)
    return Term(weight, given.images, given.labels, learners, joint=_jointly(config))


def _adversarial(
    config: TrainingConfig, weight: float, engine: Engine, given: Given, _layer: int
) -> Term:
    """Each member learns examples made against itself, or those made against the mixture."""
    assert isinstance(config, DvergeAdvtConfig | AdvtConfig)
    images, labels, pgd = given.images, given.labels, config.pgd
    if isinstance(config, DvergeAdvtConfig):
        images = images[SOURCE].expand(engine.count, *images.shape[1:])
        labels = labels[SOURCE].expand(engine.count, -1)
    start = _start(images, given.attack_noise, pgd.eps, len(images))
    mixture = _on_the_mixture(config)
    examples = engine.attack(images, labels, start, pgd, mixture)
    learners = tuple((0 if mixture else i,) for i in range(engine.count))
    return Term(weight, examples, labels, learners, joint=_jointly(config))


def _start(images: Tensor, noise: Tensor, eps: float, sets: int) -> Tensor:
    """Where a descent begins: at the images, or with noise at points of their eps balls."""
    images = images.expand(sets, *images.shape[1:])
    return torch.clamp(images + eps * noise, 0, 1) if len(noise) else images


def _jointly(config: TrainingConfig) -> bool:
    return isinstance(config, AdvtConfig) and config.joint


def _on_the_mixture(config: TrainingConfig) -> bool:
    return isinstance(config, AdvtConfig) and config.attacked is Attacked.MIXTURE
