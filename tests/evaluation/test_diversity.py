"""Vulnerability diversity (Eq. 2) against a plain loop of the formula, and the pairs it is over."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dverge.attacks import REPORT_DISTILLATION, AttackConfig, Norm, pgd
from dverge.data import ImageSet, Split, load
from dverge.errors import ConfigError
from dverge.evaluation.diversity import (
    Diversity,
    Pairs,
    correct_pairs,
    diversity,
    draw_pairs,
)
from dverge.models import Conv, Ensemble

MODULE = importlib.import_module("dverge.evaluation.diversity")  # its function has that name too

SHORT = AttackConfig(Norm.LINF, eps=0.05, step_size=0.02, steps=3)
STARTS = replace(SHORT, random_start=True)


@pytest.fixture
def sample() -> ImageSet:
    return load(Split.SAMPLE)


@pytest.fixture
def pairs(sample: ImageSet) -> Pairs:
    return draw_pairs(sample, 5, seed=0)


@pytest.fixture
def precise(ensemble: Ensemble) -> Ensemble:
    return ensemble.double()


# --- Eq. 2 ---


def distilled(
    member: nn.Module, source: Tensor, target: Tensor, layer: int, config: AttackConfig
) -> Tensor:
    """Eq. 1 of one pair."""
    assert isinstance(member, Conv)
    z, goal = source, member.features(target[None], layer).detach()
    for _ in range(config.steps):
        z = z.detach().requires_grad_()
        distance = ((member.features(z[None], layer) - goal) ** 2).sum()
        (gradient,) = torch.autograd.grad(distance, z)
        z = z.detach() - config.step_size * gradient.sign()
        z = torch.maximum(torch.minimum(z, source + config.eps), source - config.eps).clip(0, 1)
    return z


def plain_losses(
    members: Sequence[nn.Module], pairs: Pairs, config: AttackConfig, layers: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """The cross-entropy of each member on each feature, and whether it predicts the target."""
    shape = (len(layers), len(members), len(members), len(pairs))
    loss, sees_target = np.zeros(shape), np.zeros(shape, dtype=bool)
    for p in range(len(pairs)):
        source, target = (each.images[p].double() / 255 for each in (pairs.sources, pairs.targets))
        label = int(pairs.targets.labels[p])
        for k, layer in enumerate(layers):
            for j, distilled_of in enumerate(members):
                feature = distilled(distilled_of, source, target, layer, config)
                for i, member in enumerate(members):
                    with torch.no_grad():
                        logits = member(feature[None])[0].numpy()
                    loss[k, j, i, p] = np.log(np.exp(logits).sum()) - logits[label]
                    sees_target[k, j, i, p] = logits.argmax() == label
    return loss, sees_target


@pytest.mark.parametrize("layers", [[1, 2, 3, 4, 5], [4, 2]])
def test_losses_are_a_plain_loops(precise: Ensemble, pairs: Pairs, layers: list[int]) -> None:
    loss, sees_target = plain_losses(list(precise.members), pairs, SHORT, layers)
    found = diversity(precise, pairs, SHORT, layers)
    assert found.layers == tuple(layers) and found.n == 5
    np.testing.assert_allclose(found.loss.numpy(), loss, rtol=1e-6)
    np.testing.assert_array_equal(found.sees_target.numpy(), sees_target)
    assert 0 < sees_target.mean() < 1


def test_the_reports_settings_and_all_layers_are_the_default(
    precise: Ensemble, pairs: Pairs
) -> None:
    expected = diversity(precise, pairs, REPORT_DISTILLATION, [1, 2, 3, 4, 5])
    assert diversity(precise, pairs).loss.equal(expected.loss)


@pytest.mark.parametrize("batch", [1, 2])
def test_batches_do_not_matter(
    precise: Ensemble, pairs: Pairs, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    whole = diversity(precise, pairs, SHORT, [2, 5])
    monkeypatch.setattr(MODULE, "BATCH", batch)
    shares: list[float] = []
    parts = diversity(precise, pairs, SHORT, [2, 5], shares.append)
    torch.testing.assert_close(parts.loss, whole.loss, rtol=1e-9, atol=0)
    assert parts.sees_target.equal(whole.sees_target)
    calls = 2 * 3 * -(-5 // batch)
    assert shares == pytest.approx([(i + 1) / calls for i in range(calls)])
    assert shares[-1] == 1


def test_the_seed_decides_a_random_start_which_differs_between_batches(
    precise: Ensemble, pairs: Pairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = diversity(precise, pairs, STARTS, [3]).loss
    assert first.equal(diversity(precise, pairs, STARTS, [3]).loss)
    assert not first.equal(diversity(precise, pairs, replace(STARTS, seed=1), [3]).loss)
    twice = Pairs(*(each.subset([0, 0]) for each in (pairs.sources, pairs.targets)))
    monkeypatch.setattr(MODULE, "BATCH", 1)
    found = diversity(precise, twice, STARTS, [3]).loss
    assert (found[..., 0] != found[..., 1]).all()


def test_members_need_not_be_conv(precise: Ensemble, pairs: Pairs) -> None:
    class Wrapped(nn.Module):
        def __init__(self, inner: Conv) -> None:
            super().__init__()
            self.inner = inner

        def features(self, images: Tensor, layer: int) -> Tensor:
            return self.inner.features(images, layer)

        def forward(self, images: Tensor) -> Tensor:
            return self.inner(images)

    wrapped = Ensemble([Wrapped(each) for each in precise.members if isinstance(each, Conv)])
    assert len(wrapped) == 3
    assert diversity(wrapped, pairs, SHORT).loss.equal(diversity(precise, pairs, SHORT).loss)


def test_it_changes_nothing(precise: Ensemble, pairs: Pairs) -> None:
    precise.train()
    before, state = [p.clone() for p in precise.parameters()], torch.get_rng_state()
    diversity(precise, pairs, STARTS, [1, 5])
    assert precise.training
    assert all(p.grad is None for p in precise.parameters())
    assert all(a.equal(b) for a, b in zip(before, precise.parameters(), strict=True))
    assert torch.get_rng_state().equal(state)


@pytest.mark.parametrize(
    ("layers", "restarts", "message"),
    [
        ([], 1, r"layers is \[\]; it must be different layers, at least one"),
        ([2, 2], 1, r"layers is \[2, 2\]; it must be different layers"),
        ([0], 1, "layer is 0; it must be a whole number from 1 to 5"),
        ([3, 6], 1, "layer is 6"),
        (["1"], 1, "layer is '1'"),
        ([1], 2, "restarts is 2; it must be a whole number from 1 to 1"),
    ],
)
def test_layers_and_restarts_that_are_refused(
    ensemble: Ensemble, pairs: Pairs, layers: list[Any], restarts: int, message: str
) -> None:
    config = pgd(Norm.LINF, 0.05, restarts=restarts)
    with pytest.raises(ConfigError, match=message):
        diversity(ensemble, pairs, config, layers)


# --- matrix, interval and overlap ---


@pytest.fixture
def result() -> Diversity:
    """Two layers, three members, four pairs, drawn."""
    generator = np.random.default_rng(0)
    loss = torch.from_numpy(generator.exponential(3, (2, 3, 3, 4)))
    return Diversity(loss, torch.from_numpy(generator.random((2, 3, 3, 4)) < 0.4), (2, 5))


@pytest.mark.parametrize(("layer", "which"), [(None, [0, 1]), (2, [0]), (5, [1])])
def test_matrix_interval_and_overlap_by_hand(
    result: Diversity, layer: int | None, which: list[int]
) -> None:
    loss, sees = result.loss.numpy(), result.sees_target.numpy()
    matrix, interval, overlap = (
        each(layer).numpy() for each in (result.matrix, result.interval, result.overlap)
    )
    assert matrix.shape == overlap.shape == (3, 3) and interval.shape == (2, 3, 3)
    for i in range(3):
        for j in range(3):
            pairs = [
                np.mean([(loss[k, j, i, p] + loss[k, i, j, p]) / 2 for k in which])
                for p in range(4)
            ]
            error = np.std(pairs, ddof=1) / 2  # √4 pairs
            assert matrix[i, j] == pytest.approx(np.mean(pairs))
            ends = (np.mean(pairs) - 1.959964 * error, np.mean(pairs) + 1.959964 * error)
            assert interval[:, i, j] == pytest.approx(ends, abs=1e-5)
            share = np.mean([sees[k, j, i, p] for k in which for p in range(4)])
            assert overlap[j, i] == pytest.approx(100 * share)
    for part in (matrix, *interval):
        assert (part == part.T).all()  # though the losses are not symmetric
    assert (overlap != overlap.T).any()
    own = [loss[which, m, m].mean() for m in range(3)]  # a member's loss on its own features
    assert matrix.diagonal().tolist() == pytest.approx(own)


def test_one_pair_has_no_spread(result: Diversity) -> None:
    one = Diversity(result.loss[..., :1], result.sees_target[..., :1], result.layers)
    assert one.n == 1
    assert one.interval().shape == (2, 3, 3) and one.interval().isnan().all()
    assert not one.matrix().isnan().any()


@pytest.mark.parametrize("what", ["matrix", "interval", "overlap"])
def test_a_layer_that_was_not_measured_is_refused(result: Diversity, what: str) -> None:
    with pytest.raises(ConfigError, match="layer is 3; it must be one of 2, 5"):
        getattr(result, what)(3)


# --- the pairs ---


@pytest.mark.parametrize("n", [1, 7, 1000, 2500])
def test_pairs_are_of_two_classes(sample: ImageSet, n: int) -> None:
    pairs = draw_pairs(sample, n, seed=3)
    assert len(pairs) == len(pairs.sources) == len(pairs.targets) == n
    assert (pairs.sources.labels != pairs.targets.labels).all()
    known = {int(k): int(label) for k, label in zip(sample.indices, sample.labels, strict=True)}
    for side in (pairs.sources, pairs.targets):  # each image still has its own label
        assert [known[int(k)] for k in side.indices] == side.labels.tolist()


def test_sources_repeat_evenly_and_targets_are_uniform_over_other_classes(sample: ImageSet) -> None:
    some = sample.subset(slice(0, 1000, 50))  # twenty images
    pairs = draw_pairs(some, 40_000, seed=0)
    assert (torch.unique(pairs.sources.indices, return_counts=True)[1] == 2000).all()
    for number, label in zip(some.indices, some.labels, strict=True):
        mine = pairs.targets.indices[pairs.sources.indices == number]
        found, counts = torch.unique(mine, return_counts=True)
        assert found.tolist() == sorted(some.indices[some.labels != label].tolist())
        even = 2000 / len(found)
        chi2 = ((counts - even) ** 2 / even).sum().item()
        assert chi2 < 60  # about 18 degrees of freedom; beyond 60 about once in a million


@pytest.mark.parametrize("count", [1, 5])
def test_a_rare_class_is_a_source_and_a_target(sample: ImageSet, count: int) -> None:
    labels = torch.zeros(200, dtype=torch.int64)
    labels[100 : 100 + count] = 9
    some = ImageSet(sample.split, sample.images[:200], labels, sample.indices[:200])
    pairs = draw_pairs(some, 200, seed=0)
    assert sorted(pairs.sources.indices.tolist()) == sorted(some.indices.tolist())
    assert ((pairs.targets.labels == 9) == (pairs.sources.labels == 0)).all()


def test_the_seed_alone_decides_the_pairs(sample: ImageSet) -> None:
    def drawn(seed: int) -> tuple[list[int], list[int]]:
        pairs = draw_pairs(sample, 50, seed)
        return pairs.sources.indices.tolist(), pairs.targets.indices.tolist()

    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = drawn(7)
    assert torch.get_rng_state().equal(state)  # the global generator is never drawn from
    torch.manual_seed(2)
    assert drawn(7) == first
    assert drawn(8) != first


def test_correct_pairs_are_those_of_a_plain_loop(trained: Ensemble, sample: ImageSet) -> None:
    pairs, members = draw_pairs(sample, 100, seed=0), list(trained.members)
    expected = []
    for k in range(len(pairs)):
        ends = [each.subset(k) for each in (pairs.sources, pairs.targets)]
        with torch.no_grad():
            expected.append(
                all(
                    (m(end.pixels().double()).argmax(1) == end.labels).all()
                    for end in ends
                    for m in members
                )
            )
    first, others = Ensemble(members[:1]), Ensemble(members[1:])
    correct = correct_pairs(pairs, [first, others])
    assert correct.tolist() == expected
    assert 0 < correct.sum() < correct_pairs(pairs, [first]).sum() < 100
    left = pairs.subset(correct)
    assert len(left) == correct.sum()
    assert left.sources.indices.equal(pairs.sources.indices[correct])
    assert left.targets.labels.equal(pairs.targets.labels[correct])
    with pytest.raises(ConfigError, match="pairs is 0; it must be at least one"):
        pairs.subset(correct & ~correct)


@pytest.mark.parametrize(
    ("n", "seed", "message"),
    [
        (0, 0, "n is 0; it must be a whole number from 1"),
        (-3, 0, "n is -3"),
        (2.0, 0, "n is 2.0"),
        (5, -1, "seed is -1; it must be a whole number from 0"),
    ],
)
def test_draws_that_are_refused(sample: ImageSet, n: Any, seed: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        draw_pairs(sample, n, seed)


@pytest.mark.parametrize(("count", "classes"), [(100, 1), (1, 1), (0, 0)])
def test_pairs_of_one_class_are_refused(sample: ImageSet, count: int, classes: int) -> None:
    of_one = sample.subset(sample.labels == 3).subset(slice(count))
    message = rf"the images have {classes} class(es)?; a pair needs two"
    with pytest.raises(ConfigError, match=message):
        draw_pairs(of_one, 4, 0)


def test_pairs_that_are_refused(sample: ImageSet) -> None:
    cats, dogs = (sample.subset(sample.labels == label) for label in (3, 5))
    with pytest.raises(ConfigError, match="there are 100 sources for 99 targets"):
        Pairs(cats, dogs.subset(slice(1, None)))
    with pytest.raises(ConfigError, match="100 of 100 pairs are of one class; each must be of two"):
        Pairs(cats, cats)
    with pytest.raises(ConfigError, match="pairs is 0; it must be at least one"):
        Pairs(cats.subset(slice(0)), dogs.subset(slice(0)))
