"""A training from its first batch to its last figure, against the plain loop on the same images."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from scipy.stats import chisquare  # type: ignore[import-untyped]  # comes with foolbox
from torch import Tensor

from dverge.data import ImageSet, Stream
from dverge.models import Conv, Ensemble, seeded_conv
from dverge.seeds import derive_seed
from dverge.training import EpochMetrics, Method, Schedule, Training, TrainingConfig
from dverge.training.engine import BatchInputs
from dverge.training.plain import PlainLoop
from tests.training.small import PER_EPOCH, MakeTraining, epochs

OWN = ["member-0", "member-1"]
PAIR = ["source", "target"]
SLOW = {"learning_rate": 0.01}  # so that roundings have no time to grow

RECIPES: dict[str, tuple[dict[str, Any], list[str], dict[str, float]]] = {
    # Settings, the streams of images, and the loss's terms with their weights.
    "vanilla": ({"momentum": 0.9}, OWN, {"clean": 1}),
    "no momentum": ({"momentum": 0}, OWN, {"clean": 1}),
    "decay": ({"weight_decay": 0.01}, OWN, {"clean": 1}),
    "cosine": ({"schedule": Schedule.COSINE}, OWN, {"clean": 1}),
    "steps": ({"schedule": Schedule.STEPS, "epochs": 4}, OWN, {"clean": 1}),
    "augmented": ({"augmentation": "crop-flip"}, OWN, {"clean": 1}),
    "three": (
        {
            "members": 3,
            "momentum": 0.5,
            "weight_decay": 1e-3,
            "schedule": Schedule.COSINE,
            "augmentation": "crop-flip",
            "batch_size": 17,
        },
        [*OWN, "member-2"],
        {"clean": 1},
    ),
    "dverge": ({"method": Method.DVERGE}, PAIR, {"diversity": 1}),
    "dverge, all of it": (
        {
            "method": Method.DVERGE,
            "members": 3,
            "alpha": 0.6,
            "clean_weight": 0.7,
            "distill_momentum": 1,
            "layer": "2",
            "augmentation": "crop-flip",
            "schedule": Schedule.COSINE,
            "weight_decay": 1e-3,
        },
        PAIR,
        {"diversity": 0.6, "clean": 0.7},
    ),
    "layer a batch": ({"method": Method.DVERGE, "layer": "batch"}, PAIR, {"diversity": 1}),
    "random starts": (
        {"method": Method.DVERGE, "distill_random_start": True},
        PAIR,
        {"diversity": 1},
    ),
    "eq3": (
        {"method": Method.DVERGE, "diversity": "eq3", "alpha": 0.5, "clean_weight": 1, "cap": 2.31},
        PAIR,
        {"diversity": -0.25, "clean": 1},
    ),
    "dverge-advt": (
        {"method": Method.DVERGE_ADVT, "clean_weight": 0.4, "adv_weight": 0.8},
        PAIR,
        {"diversity": 1, "clean": 0.4, "adversarial": 0.8},
    ),
    "advt": ({"method": Method.ADVT}, OWN, {"adversarial": 1}),
    "advt and clean": (
        {"method": Method.ADVT, "clean_weight": 0.4, "adv_random_start": False},
        OWN,
        {"adversarial": 1, "clean": 0.4},
    ),
    "advt on the mixture": (
        {"method": Method.ADVT, "attacked": "mixture", "clean_weight": 0.4},
        ["source"],
        {"adversarial": 1, "clean": 0.4},
    ),
    "advt as one": (
        {"method": Method.ADVT, "attacked": "mixture", "joint": True, "clean_weight": 0.4},
        ["source"],
        {"adversarial": 1, "clean": 0.4},
    ),
}


@dataclass
class Seen:
    """What an iteration of the training was asked to do."""

    given: BatchInputs
    layer: int
    learning_rate: float


def watched(training: Training, monkeypatch: pytest.MonkeyPatch) -> list[Seen]:
    """What the training asks of its engine, as it goes."""
    seen: list[Seen] = []
    iterate = training.engine.iterate

    def record(terms: Any, given: BatchInputs, layer: int, learning_rate: float) -> Tensor:
        seen.append(Seen(given, layer, learning_rate))
        return iterate(terms, given, layer, learning_rate)

    monkeypatch.setattr(training.engine, "iterate", record)
    return seen


def rate(config: TrainingConfig, done: int, total: int) -> float:
    """The learning rate after so many of all batches, from the schedule's definition."""
    if config.schedule is Schedule.COSINE:
        return config.learning_rate * 0.5 * (1 + math.cos(math.pi * done / total))
    if config.schedule is Schedule.STEPS:
        tenths = (done >= total / 2) + (done >= total * 3 / 4)
        return config.learning_rate * 0.1**tenths
    return config.learning_rate


class Plain:
    """The plain loop on the streams of a training, with its layers and its noise."""

    def __init__(self, training: Training, images: ImageSet, names: list[str]) -> None:
        config = training.config
        self.training, self.config = training, config
        self.members = [
            seeded_conv(derive_seed(config.seed, "weights", i)) for i in range(config.members)
        ]
        self.loop = PlainLoop(self.members, config)
        used = images.subset(slice(config.training_images))
        self.streams = [
            Stream(used, config.batch_size, config.seed, name, config.augmentation)
            for name in names
        ]
        self.total = config.epochs * math.ceil(config.training_images / config.batch_size)

    def epoch(self, number: int, seen: list[Seen]) -> Tensor:
        """Train for an epoch; each member's terms, means over the batches, M×T."""
        values = []
        batches = zip(*(stream.epoch(number) for stream in self.streams), strict=True)
        for i, (batch, asked) in enumerate(zip(batches, seen, strict=True)):
            due = rate(self.config, number * len(seen) + i, self.total)
            assert asked.learning_rate == pytest.approx(due)
            values.append(self.step(batch, asked, due))
        return torch.tensor(values).mean(0)

    def step(
        self, batch: tuple[tuple[Tensor, Tensor], ...], asked: Seen, learning_rate: float
    ) -> list[list[float]]:
        def start(term: str, i: int, images: Tensor) -> Tensor:
            noise = {"distill": asked.given.distill_noise, "attack": asked.given.attack_noise}[term]
            if not len(noise):
                return images
            eps = getattr(self.config, {"distill": "distill_eps", "attack": "adv_eps"}[term])
            drawn = self.training.engine.decode(noise, len(images))[i]
            return (images + eps * drawn).clamp(0, 1)

        return self.loop.step(batch, asked.layer, learning_rate, start)


def flat(members: list[Conv]) -> Tensor:
    each = [parameter.detach().flatten() for member in members for parameter in member.parameters()]
    return torch.cat(each)


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_figures_are_the_plain_loops(
    recipe: str,
    training: MakeTraining,
    train_images: ImageSet,
    few: ImageSet,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fields, names, weights = RECIPES[recipe]
    trained = training(**{**SLOW, **fields})
    fresh = flat(trained.members)
    seen = watched(trained, monkeypatch)
    found = epochs(trained)
    plain = Plain(trained, train_images, names)
    assert len(found) == trained.config.epochs
    per_epoch = len(seen) // len(found)
    for number, metrics in enumerate(found):
        assert metrics.epoch == number + 1
        terms = plain.epoch(number, seen[number * per_epoch : (number + 1) * per_epoch])
        assert_terms(metrics, terms, weights)
        assert_validation(metrics, plain.members, few)
    moved, apart = flat(plain.members) - fresh, flat(trained.members) - flat(plain.members)
    assert moved.abs().max() > 1e-3
    assert apart.norm() / moved.norm() < 1e-2


def assert_terms(metrics: EpochMetrics, terms: Tensor, weights: dict[str, float]) -> None:
    """Terms M×T, in the order of their weights."""
    assert list(metrics.terms) == list(weights)
    for values, due in zip(metrics.terms.values(), terms.T.tolist(), strict=True):
        assert values == pytest.approx(due, abs=1e-4)
    loss = (terms * torch.tensor(list(weights.values()))).sum(1)
    assert metrics.train_loss == pytest.approx(loss.tolist(), abs=1e-4)


@torch.no_grad()
def assert_validation(metrics: EpochMetrics, members: list[Conv], few: ImageSet) -> None:
    x, y = few.pixels(), few.labels
    assert metrics.val_loss == pytest.approx(
        [F.cross_entropy(member(x), y).item() for member in members], abs=1e-4
    )
    mixture = F.nll_loss(Ensemble(members)(x), y).item()
    assert metrics.mixture_val_loss == pytest.approx(mixture, abs=1e-4)


# --- the layer ---


def layers_of(training: Training, monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The layers distilled from in each epoch, batch by batch."""
    seen = watched(training, monkeypatch)
    list(training.run())
    layers = [each.layer for each in seen]
    return [layers[i : i + PER_EPOCH] for i in range(0, len(layers), PER_EPOCH)]


def test_a_layer_an_epoch(training: MakeTraining, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = layers_of(training(Method.DVERGE, epochs=12), monkeypatch)
    assert all(len(set(epoch)) == 1 for epoch in drawn)
    assert len({epoch[0] for epoch in drawn}) > 2
    logged = [metrics.layer for metrics in epochs(training(Method.DVERGE, epochs=12))]
    assert logged == [epoch[0] for epoch in drawn]


def test_a_layer_a_batch(training: MakeTraining, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = training(Method.DVERGE, layer="batch", epochs=6)
    drawn = layers_of(trained, monkeypatch)
    assert all(len(set(epoch)) > 1 for epoch in drawn)
    assert len({tuple(epoch) for epoch in drawn}) == len(drawn)
    logged = epochs(training(Method.DVERGE, layer="batch", epochs=6))
    assert [metrics.layer for metrics in logged] == [None] * 6


@pytest.mark.parametrize("method", [Method.DVERGE, Method.DVERGE_ADVT])
def test_a_fixed_layer(
    method: Method, training: MakeTraining, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert layers_of(training(method, layer="4"), monkeypatch) == [[4] * PER_EPOCH] * 3
    assert [metrics.layer for metrics in epochs(training(method, layer="4"))] == [4] * 3


@pytest.mark.parametrize("method", [Method.VANILLA, Method.ADVT])
def test_no_layer_where_nothing_is_distilled(method: Method, training: MakeTraining) -> None:
    assert [metrics.layer for metrics in epochs(training(method))] == [None] * 3


@pytest.mark.parametrize(("choice", "number", "batches"), [("epoch", 200, 1), ("batch", 40, 5)])
def test_layers_are_drawn_uniformly(
    choice: str, number: int, batches: int, training: MakeTraining
) -> None:
    """And differently from seed to seed."""
    drawn: list[tuple[int, ...]] = []
    for seed in range(5):
        trained = training(Method.DVERGE, layer=choice, seed=seed, epochs=number)
        places = itertools.product(range(number), range(batches))
        drawn.append(tuple(layer_at(trained, *place) for place in places))
    counts = Counter(itertools.chain(*drawn))
    assert sorted(counts) == [1, 2, 3, 4, 5]
    assert chisquare(list(counts.values())).pvalue > 1e-3  # the seeds are fixed
    assert len(set(drawn)) == 5


def layer_at(training: Training, epoch: int, batch: int) -> int:
    training.epoch, training.batch = epoch, batch
    return training.layer()
