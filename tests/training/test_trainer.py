"""A training from its first batch to its last, against the plain loop on the same images."""

from __future__ import annotations

import gc
import itertools
import math
from collections import Counter
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from scipy.stats import chisquare  # type: ignore[import-untyped]  # comes with foolbox
from torch import Tensor

from dverge.data import ImageSet, Stream
from dverge.models import Conv, Ensemble, flat_parameters, seeded_conv
from dverge.seeds import derive_seed
from dverge.training import (
    AdvtConfig,
    Attacked,
    DvergeConfig,
    EpochMetrics,
    Method,
    Schedule,
    Training,
    TrainingConfig,
)
from dverge.training.cpu_engine import CpuEngine
from dverge.training.engine import BatchInputs, Engine
from dverge.training.gpu_engine import GpuEngine
from dverge.training.plain import PlainLoop
from tests.training.small import (
    PER_EPOCH,
    RECIPES,
    Finish,
    MakeTraining,
    finish,
    plain_start,
)

FEW: dict[str, Any] = {
    "epochs": 2,
    "training_images": 70,  # 3 batches, the last one not full
    "learning_rate": 0.01,  # so that rounding errors have no time to grow
}


class Iteration(NamedTuple):
    """What a training asks of its engine for one batch."""

    inputs: BatchInputs
    layer: int
    learning_rate: float


def watch(training: Training, monkeypatch: pytest.MonkeyPatch) -> list[Iteration]:
    """The iterations of a training, as they come."""
    iterations: list[Iteration] = []
    iterate = training.engine.iterate

    def record(make_terms: Any, *iteration: Any) -> Tensor:
        iterations.append(Iteration(*iteration))
        return iterate(make_terms, *iteration)

    monkeypatch.setattr(training.engine, "iterate", record)
    return iterations


def scheduled(config: TrainingConfig, progress: float) -> float:
    """The learning rate, from the schedule's definition."""
    if config.schedule is Schedule.COSINE:
        return config.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))
    if config.schedule is Schedule.STEPS:
        return config.learning_rate * 0.1 ** ((progress >= 1 / 2) + (progress >= 3 / 4))
    return config.learning_rate


def expected_streams(config: TrainingConfig) -> list[str]:
    if isinstance(config, DvergeConfig):
        return ["source", "target"]
    if isinstance(config, AdvtConfig) and config.attacked is Attacked.MIXTURE:
        return ["source"]
    return ["member-0", "member-1", "member-2"][: config.members]


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_metrics_are_the_plain_loops(
    recipe: str,
    training: MakeTraining,
    train_images: ImageSet,
    held_out: ImageSet,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fields, weights = RECIPES[recipe]
    trained = training(**{**FEW, **fields})
    config, iterations = trained.config, watch(trained, monkeypatch)
    epochs = finish(trained).epochs
    members = [seeded_conv(derive_seed(7, "weights", i)) for i in range(config.members)]
    fresh, plain = flat_parameters(members), PlainLoop(members, config)
    used = train_images.subset(slice(70))
    streams = [
        Stream(used, config.batch_size, 7, name, config.augmentation)
        for name in expected_streams(config)
    ]
    remaining = iter(iterations)
    for epoch, metrics in enumerate(epochs):
        values = []
        for i, batches in enumerate(zip(*(each.epoch(epoch) for each in streams), strict=True)):
            inputs, layer, rate = next(remaining)
            progress = (epoch + i / math.ceil(70 / config.batch_size)) / config.epochs
            assert rate == pytest.approx(scheduled(config, progress))
            start = plain_start(config, trained.engine, inputs)
            values.append(plain.step(batches, layer, rate, start))
        assert metrics.epoch == epoch + 1
        assert_terms(metrics, torch.tensor(values).mean(0), weights)
        assert_validation(metrics, members, held_out)
    assert len(epochs) == config.epochs and not list(remaining)
    moved = flat_parameters(members) - fresh
    apart = flat_parameters(trained.members) - flat_parameters(members)
    assert moved.abs().max() > 1e-3
    assert apart.norm() / moved.norm() < 3e-2  # signs of near-zero gradients may differ


def assert_terms(metrics: EpochMetrics, terms: Tensor, weights: dict[str, float]) -> None:
    """Terms M×T, in the order of their weights."""
    assert list(metrics.terms) == list(weights)
    for values, expected in zip(metrics.terms.values(), terms.T.tolist(), strict=True):
        assert values == pytest.approx(expected, abs=1e-4)
    loss = (terms * torch.tensor(list(weights.values()))).sum(1)
    assert metrics.train_loss == pytest.approx(loss.tolist(), abs=1e-4)


@torch.no_grad()
def assert_validation(metrics: EpochMetrics, members: list[Conv], images: ImageSet) -> None:
    x, y = images.pixels(), images.labels
    losses = [F.cross_entropy(member(x), y).item() for member in members]
    assert metrics.val_loss == pytest.approx(losses, abs=1e-4)
    mixture = F.nll_loss(Ensemble(members)(x), y).item()
    assert metrics.mixture_val_loss == pytest.approx(mixture, abs=1e-4)


def test_each_batch_has_noise_of_its_own(
    training: MakeTraining, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = training(Method.DVERGE_ADVT, distill_random_start=True, epochs=2)
    iterations = watch(trained, monkeypatch)
    finish(trained)
    full = [inputs for inputs, _, _ in iterations if inputs.labels.shape[1] == 30]
    noise = [each for inputs in full for each in (*inputs.distill_noise, *inputs.attack_noise)]
    assert len(full) == 8 and len(noise) == 8 * 4  # two members, two kinds
    assert not any(a.equal(b) for a, b in itertools.combinations(noise, 2))
    for each in noise:  # uniform: mean 0 and variance 1/3
        assert each.min() >= -1 and each.max() <= 1
        assert abs(each.mean()) < 0.01 and abs(each.var() - 1 / 3) < 0.01


def test_no_tensor_outlives_its_iteration(training: MakeTraining) -> None:
    """Also over the end of an epoch. Thousands of iterations: see test_long_trainings.py."""
    steps = training(Method.DVERGE_ADVT, epochs=20).run()
    counts = []
    for _ in range(3):
        for _ in itertools.islice(steps, PER_EPOCH):
            pass
        gc.collect()
        counts.append(sum(type(each) is Tensor for each in gc.get_objects()))
    assert counts[0] == counts[1] == counts[2]


# --- the layer ---


@pytest.mark.parametrize("choice", ["epoch", "batch", "4"])
def test_the_layer_of_each_batch(
    choice: str, training: MakeTraining, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = training(Method.DVERGE, layer=choice, epochs=8, distill_steps=1)
    iterations = watch(trained, monkeypatch)
    reported = [metrics.layer for metrics in finish(trained).epochs]
    layers = [iteration.layer for iteration in iterations]
    epochs = [layers[i : i + PER_EPOCH] for i in range(0, len(layers), PER_EPOCH)]
    if choice == "batch":
        assert all(len(set(epoch)) > 1 for epoch in epochs)
        assert len({tuple(epoch) for epoch in epochs}) == len(epochs)
        assert reported == [None] * 8
    else:
        assert all(len(set(epoch)) == 1 for epoch in epochs)
        assert reported == [epoch[0] for epoch in epochs]
        assert set(reported) == {4} if choice == "4" else len(set(reported)) > 2


@pytest.mark.parametrize(
    ("method", "fields", "layer"),
    [
        (Method.VANILLA, {}, None),
        (Method.ADVT, {}, None),
        (Method.DVERGE_ADVT, {"layer": "4"}, 4),
    ],
)
def test_the_layer_that_is_reported(
    method: Method, fields: dict[str, Any], layer: int | None, finished: Finish
) -> None:
    assert [metrics.layer for metrics in finished(method, **fields).epochs] == [layer] * 3


@pytest.mark.parametrize(("choice", "epochs", "batches"), [("epoch", 200, 1), ("batch", 40, 5)])
def test_layers_are_drawn_uniformly(
    choice: str, epochs: int, batches: int, training: MakeTraining
) -> None:
    """And differently for each seed."""
    layers: list[tuple[int, ...]] = []
    for seed in range(5):
        trained = training(Method.DVERGE, layer=choice, seed=seed, epochs=epochs)
        drawn = []
        for trained.epoch, trained.batch in itertools.product(range(epochs), range(batches)):
            drawn.append(trained.layer())
        layers.append(tuple(drawn))
    counts = Counter(itertools.chain(*layers))
    assert sorted(counts) == [1, 2, 3, 4, 5]
    assert chisquare(list(counts.values())).pvalue > 1e-3  # the seeds are fixed
    assert len(set(layers)) == 5


# --- the average of the last epochs' weights ---


def weights_by_epoch(training: Training) -> list[Tensor]:
    """The members' weights M×62,006 at the end of each epoch."""
    return [
        flat_parameters(training.members)
        for metrics in training.run()
        if isinstance(metrics, EpochMetrics)
    ]


@pytest.mark.parametrize(
    ("engine", "method"), [(CpuEngine, Method.DVERGE), (GpuEngine, Method.VANILLA)]
)
def test_the_last_weights_are_the_mean_of_the_last_epochs(
    engine: type[Engine],
    method: Method,
    training: MakeTraining,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dverge.training.trainer.engine_for", lambda device: engine)
    plain = weights_by_epoch(training(method, epochs=4))
    averaged = weights_by_epoch(training(method, epochs=4, average_last=3))
    for i in range(3):  # nothing changes before the end
        assert averaged[i].equal(plain[i])
    expected = (plain[1].double() + plain[2].double() + plain[3].double()) / 3
    assert torch.allclose(averaged[3].double(), expected, rtol=1e-6, atol=1e-9)
    assert (averaged[3] - plain[3]).abs().max() > 1e-4


def test_the_last_validation_is_of_the_averaged_weights(
    finished: Finish, held_out: ImageSet
) -> None:
    averaged, plain = finished(average_last=2), finished()
    assert averaged.epochs[:2] == plain.epochs[:2]
    assert averaged.epochs[2].train_loss == plain.epochs[2].train_loss
    assert_validation(averaged.epochs[2], averaged.training.members, held_out)
    assert averaged.epochs[2].val_loss != pytest.approx(plain.epochs[2].val_loss, abs=1e-5)


def test_the_mean_of_one_epoch_is_that_epoch(finished: Finish) -> None:
    averaged, plain = finished(average_last=1), finished()
    assert averaged.epochs == plain.epochs
    assert averaged.weights.equal(plain.weights)


def test_only_an_averaging_training_saves_a_sum_of_weights(training: MakeTraining) -> None:
    assert "averaged" not in training().state_dict()
    assert training(average_last=2).state_dict()["averaged"].dtype == torch.float64
