"""A training is the plain loop that anyone would write, and both engines are that loop."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dverge.data import Augmentation, ImageSet, Stream, derive_seed
from dverge.models import Conv, seeded_conv
from dverge.training import Schedule, VanillaConfig, VanillaTraining
from dverge.training.engines import Engine, Sequential, Stacked, engine_for

MakeTraining = Callable[..., VanillaTraining]

RECIPES: dict[str, dict[str, Any]] = {
    "plain": {"momentum": 0},
    "report": {},
    "decay": {"weight_decay": 0.01},
    "cosine": {"schedule": Schedule.COSINE},
    "steps": {"schedule": Schedule.STEPS, "epochs": 4},
    "augmented": {"augmentation": Augmentation.CROP_FLIP},
    "all": {
        "members": 3,
        "momentum": 0.5,
        "weight_decay": 1e-3,
        "schedule": Schedule.COSINE,
        "augmentation": Augmentation.CROP_FLIP,
        "batch_size": 17,
    },
}


def rate(config: VanillaConfig, done: int, total: int) -> float:
    """The learning rate after so many of all batches, from the schedule's definition."""
    if config.schedule is Schedule.COSINE:
        return config.learning_rate * 0.5 * (1 + math.cos(math.pi * done / total))
    if config.schedule is Schedule.STEPS:
        tenths = (done >= total / 2) + (done >= total * 3 / 4)
        return config.learning_rate * 0.1**tenths
    return config.learning_rate


def plain_member(config: VanillaConfig, images: ImageSet, i: int) -> tuple[Conv, list[float]]:
    """Member i trained alone by the textbook loop, and its loss on every batch."""
    member = seeded_conv(derive_seed(config.seed, "weights", i))
    optimizer = torch.optim.SGD(
        member.parameters(),
        lr=config.learning_rate,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        foreach=False,
        fused=False,
    )
    used = images.subset(slice(config.training_images))
    stream = Stream(used, config.batch_size, config.seed, f"member-{i}", config.augmentation)
    total = config.epochs * math.ceil(config.training_images / config.batch_size)
    losses: list[float] = []
    for epoch in range(config.epochs):
        for x, y in stream.epoch(epoch):
            optimizer.param_groups[0]["lr"] = rate(config, len(losses), total)
            optimizer.zero_grad()
            loss = -F.log_softmax(member(x), 1)[torch.arange(len(y)), y].mean()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return member, losses


def weights(member: Conv) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in member.parameters()])


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("engine", [Sequential, Stacked])
def test_same_weights_as_the_plain_loop(
    recipe: str,
    engine: type[Engine],
    training: MakeTraining,
    train_images: ImageSet,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dverge.training.vanilla.engine_for", lambda device: engine)
    trained = training(**RECIPES[recipe])
    yielded = list(trained.run())
    ensemble = trained.ensemble()
    assert len(ensemble) == trained.config.members
    for i, member in enumerate(ensemble.members):
        assert isinstance(member, Conv)
        expected, losses = plain_member(trained.config, train_images, i)
        assert len(yielded) == len(losses)
        start = weights(seeded_conv(derive_seed(7, "weights", i)))
        moved, apart = weights(expected) - start, weights(member) - weights(expected)
        assert moved.abs().max() > 1e-3
        # The stacked sums round otherwise, and a unit on a kink of its ReLU may go the other way.
        assert apart.norm() / moved.norm() < (1e-5 if engine is Sequential else 1e-2)


def batches(images: ImageSet, members: int, steps: int) -> list[list[tuple[Tensor, Tensor]]]:
    """Batches in float64, where two sound implementations cannot drift apart."""
    streams = [Stream(images, 32, 5, f"member-{i}").epoch(0) for i in range(members)]
    drawn = [[next(stream) for stream in streams] for _ in range(steps)]
    return [[(x.double(), y) for x, y in step] for step in drawn]


def seeded(*seeds: int) -> list[Conv]:
    return [seeded_conv(seed).double() for seed in seeds]


def test_engines_agree_with_torchs_plain_sgd(train_images: ImageSet) -> None:
    sets = [seeded(0, 1, 2) for _ in range(3)]
    engines: list[Engine] = [Sequential(sets[0], 0.9, 1e-3), Stacked(sets[1], 0.9, 1e-3)]
    plain = [torch.optim.SGD(m.parameters(), 0.02, 0.9, weight_decay=1e-3) for m in sets[2]]
    for given in batches(train_images, members=3, steps=6):
        due = [F.cross_entropy(m(x), y) for m, (x, y) in zip(sets[2], given, strict=True)]
        for engine in engines:
            found = engine.step(given, learning_rate=0.02)
            torch.testing.assert_close(found, torch.stack(due).detach(), rtol=0, atol=1e-12)
        for loss, optimizer in zip(due, plain, strict=True):
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    for engine in engines:
        engine.sync()
    for one, other, third in zip(*sets, strict=True):
        torch.testing.assert_close(weights(one), weights(third), rtol=0, atol=1e-12)
        torch.testing.assert_close(weights(other), weights(third), rtol=0, atol=1e-12)


def test_members_do_not_touch_each_other(train_images: ImageSet) -> None:
    for kind in (Sequential, Stacked):
        alone, together = seeded(1), seeded(0, 1)
        pair = kind(together, momentum=0.9, weight_decay=0)
        single = kind(alone, momentum=0.9, weight_decay=0)
        for given in batches(train_images, members=2, steps=4):
            pair.step(given, learning_rate=0.05)
            single.step(given[1:], learning_rate=0.05)
        pair.sync()
        single.sync()
        torch.testing.assert_close(weights(together[1]), weights(alone[0]), rtol=0, atol=1e-12)


def test_the_stacked_engine_is_for_gpus() -> None:
    assert engine_for(torch.device("cpu")) is Sequential
    assert engine_for(torch.device("cuda:0")) is Stacked
