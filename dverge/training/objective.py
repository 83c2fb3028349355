"""The loss of each method: a weighted sum of named terms, each a cross-entropy.

`term_weights` names the terms of a method and `make_terms` computes them for a batch. The names
depend on the config alone, so that they are known before the first batch.
"""

from __future__ import annotations

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
from dverge.training.engine import BatchInputs, Engine, Term

CLEAN, DIVERSITY, ADVERSARIAL = "clean", "diversity", "adversarial"
SOURCE, TARGET = 0, 1  # the streams of a DVERGE training


def stream_names(config: TrainingConfig) -> list[str]:
    """Names of the streams of images; a batch has one set of images from each."""
    if isinstance(config, DvergeConfig):
        return ["source", "target"]
    if _attacks_mixture(config):
        return ["source"]
    return [f"member-{i}" for i in range(config.members)]  # so that members are independent


def term_weights(config: TrainingConfig) -> dict[str, float]:
    """The weight of each term of the loss; a clean term of weight 0 is left out.

    Eq. 3 subtracts α/2 · CE(f_i(x'_j), y) for each other member: Eq. 2 is half the sum of two
    losses, and only one of them has a gradient in member i's weights.
    """
    if isinstance(config, DvergeConfig):
        eq3 = config.diversity is Diversity.EQ3
        weights = {DIVERSITY: -config.alpha / 2 if eq3 else config.alpha}
        weights[CLEAN] = config.clean_weight
        if isinstance(config, DvergeAdvtConfig):
            weights[ADVERSARIAL] = config.adv_weight
    elif isinstance(config, AdvtConfig):
        weights = {ADVERSARIAL: 1.0, CLEAN: config.clean_weight}
    else:
        weights = {CLEAN: 1.0}
    return {name: weight for name, weight in weights.items() if name != CLEAN or weight}


def noise_sets(config: TrainingConfig) -> dict[str, int]:
    """Number of sets of noise for the random starts of "distill" and "attack"."""
    distills = isinstance(config, DvergeConfig) and config.distill_random_start
    attacks = isinstance(config, DvergeAdvtConfig | AdvtConfig) and config.adv_random_start
    victims = 1 if _attacks_mixture(config) else config.members
    return {"distill": config.members * distills, "attack": victims * attacks}


def make_terms(
    config: TrainingConfig, engine: Engine, inputs: BatchInputs, layer: int
) -> list[Term]:
    """The terms of the loss on a batch, in the order of term_weights.

    Args:
        layer: the layer whose features are distilled.
    """
    terms = []
    for name, weight in term_weights(config).items():
        if name == DIVERSITY:
            assert isinstance(config, DvergeConfig)
            terms.append(_diversity(config, weight, engine, inputs, layer))
        elif name == CLEAN:
            terms.append(_clean(config, weight, engine, inputs))
        else:
            assert isinstance(config, DvergeAdvtConfig | AdvtConfig)
            terms.append(_adversarial(config, weight, engine, inputs))
    return terms


def _diversity(
    config: DvergeConfig, weight: float, engine: Engine, inputs: BatchInputs, layer: int
) -> Term:
    """Each member learns the others' distilled features: Algorithm 1, or Eq. 3."""
    source, target = inputs.images[SOURCE : SOURCE + 1], inputs.images[TARGET : TARGET + 1]
    start = _start(source, inputs.distill_noise, config.distill_eps, engine.count)
    distilled = engine.distill(source, target, start, layer, config.distillation)
    eq3 = config.diversity is Diversity.EQ3
    labels = inputs.labels[TARGET if eq3 else SOURCE].expand(engine.count, -1)
    members = range(engine.count)
    others = tuple(tuple(j for j in members if j != i) for i in members)
    return Term(weight, distilled, labels, others, config.cap if eq3 and config.cap else None)


def _clean(config: TrainingConfig, weight: float, engine: Engine, inputs: BatchInputs) -> Term:
    """Each member learns clean images: the targets, the only stream, or its own stream."""
    if isinstance(config, DvergeConfig):
        streams = [TARGET] * engine.count
    elif _attacks_mixture(config):
        streams = [SOURCE] * engine.count
    else:
        streams = list(range(engine.count))
    learners = tuple((stream,) for stream in streams)
    return Term(weight, inputs.images, inputs.labels, learners, joint=_is_joint(config))


def _adversarial(
    config: DvergeAdvtConfig | AdvtConfig, weight: float, engine: Engine, inputs: BatchInputs
) -> Term:
    """Each member learns the examples against itself, or those against the mixture."""
    images, labels = inputs.images, inputs.labels
    if isinstance(config, DvergeAdvtConfig):
        images = images[SOURCE].expand(engine.count, *images.shape[1:])
        labels = labels[SOURCE].expand(engine.count, -1)
    start = _start(images, inputs.attack_noise, config.adv_eps, len(images))
    mixture = _attacks_mixture(config)
    examples = engine.attack(images, labels, start, config.pgd, mixture)
    learners = tuple((0 if mixture else i,) for i in range(engine.count))
    return Term(weight, examples, labels, learners, joint=_is_joint(config))


def _start(images: Tensor, noise: Tensor, eps: float, sets: int) -> Tensor:
    """Where an attack starts: the images, or random points of their eps balls if there is noise."""
    images = images.expand(sets, *images.shape[1:])
    return torch.clamp(images + eps * noise, 0, 1) if len(noise) else images


def _is_joint(config: TrainingConfig) -> bool:
    return isinstance(config, AdvtConfig) and config.joint


def _attacks_mixture(config: TrainingConfig) -> bool:
    return isinstance(config, AdvtConfig) and config.attacked is Attacked.MIXTURE
