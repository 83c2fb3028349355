"""Transfer matrices against a plain loop over single images, and their properties."""

from __future__ import annotations

import copy
import importlib
import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from scipy.stats import binomtest  # type: ignore[import-untyped]  # comes with foolbox
from torch import Tensor, nn

from dverge.attacks import AttackConfig, Norm, Victim, attack, fgsm, image_starts, pgd
from dverge.data import ImageSet, Split, load
from dverge.errors import ConfigError
from dverge.evaluation.transfer import Transfer, transfer
from dverge.models import Conv, Ensemble, seeded_conv
from tests.evaluation.plain import attacked, correct, models

MODULE = importlib.import_module("dverge.evaluation.transfer")  # its function has that name too

STEPS = AttackConfig(Norm.LINF, eps=0.003, step_size=0.0015, steps=3)
STARTS = AttackConfig(Norm.LINF, 0.003, 0.0015, 3, random_start=True, seed=4)
L2 = AttackConfig(Norm.L2, eps=0.1, step_size=0.05, steps=3, random_start=True)
MOMENTUM = AttackConfig(Norm.LINF, 0.003, 0.0015, 4, best_iterate=True, momentum=0.9)


def ancestor() -> Conv:
    """An untrained network with enlarged weights: its answers depend on the image."""
    network = seeded_conv(2)
    with torch.no_grad():
        for name, weights in network.named_parameters():
            weights.mul_(2.5 if name.endswith("weight") else 1)
    return network


def relatives(seed: int, members: int) -> Ensemble:
    """Disturbed copies of the ancestor, in float64: they often agree, and not always."""
    generator = torch.Generator().manual_seed(seed)
    copies = [ancestor().double() for _ in range(members)]
    with torch.no_grad():
        for each in copies:
            for weights in each.parameters():
                noise = torch.randn(weights.shape, generator=generator, dtype=torch.float64)
                weights.add_(0.05 * weights.std() * noise)
    return Ensemble(copies)


@pytest.fixture(scope="module")
def source() -> Ensemble:
    return relatives(1, 3)


@pytest.fixture(scope="module")
def target() -> Ensemble:
    return relatives(2, 2)


@pytest.fixture(scope="module")
def candidates() -> ImageSet:
    """Forty images, labelled by the ancestor."""
    some = load(Split.SAMPLE).subset(slice(3, None, 25))
    with torch.no_grad():
        labels = ancestor()(some.pixels()).argmax(1)
    return ImageSet(some.split, some.images, labels, some.indices)


def answer(model: nn.Module, image: Tensor) -> int:
    with torch.no_grad():
        return int(model(image[None]).argmax())


def loss_of(model: nn.Module, label: int, image: Tensor) -> Tensor:
    return -model(image[None]).log_softmax(1)[0, label]


def counted(
    source: Ensemble, target: Ensemble, candidates: ImageSet, config: AttackConfig
) -> tuple[list[list[int]], int]:
    """The images fooled and n, counted one image after the other."""
    rows, columns = models(source), models(target)
    fooled, n = [[0] * len(columns) for _ in rows], 0
    for pixels, label, number in zip(
        candidates.images, candidates.labels.tolist(), candidates.indices.tolist(), strict=True
    ):
        image = (pixels.float() / 255).double()
        if any(answer(model, image) != label for model in rows + columns):
            continue
        n += 1
        for r, victim in enumerate(rows):
            start = image
            if config.random_start:
                start = image_starts(image[None], [number], config, 0)[0]
            loss = partial(loss_of, victim, label)
            end = attacked(loss, image, start, config)
            for c, model in enumerate(columns):
                fooled[r][c] += answer(model, end) != label
    return fooled, n


@pytest.mark.parametrize("config", [STEPS, STARTS, L2, MOMENTUM], ids=["linf", "start", "l2", "mi"])
def test_it_is_what_a_plain_loop_counts(
    source: Ensemble, target: Ensemble, candidates: ImageSet, config: AttackConfig
) -> None:
    fooled, n = counted(source, target, candidates, config)
    found = transfer(source, target, candidates, config)
    assert found.fooled.tolist() == fooled
    assert found.n == n
    assert 0 < n < len(candidates)
    assert len({count for row in fooled for count in row}) > 2  # else cells could be mixed up
    assert found.rows == ("member-1", "member-2", "member-3", "mixture")
    assert found.columns == ("member-1", "member-2", "mixture")
    assert found.fooled.dtype == torch.int64 and found.config == config


def test_rows_are_the_source_and_columns_the_target(
    source: Ensemble, target: Ensemble, candidates: ImageSet
) -> None:
    """With roles swapped it is another attack, on the same images; a copy is the source itself."""
    there = transfer(source, target, candidates, STEPS)
    back = transfer(target, source, candidates, STEPS)
    assert back.fooled.shape == (3, 4) and back.n == there.n
    assert back.fooled.tolist() == counted(target, source, candidates, STEPS)[0]
    assert not back.fooled.T.equal(there.fooled)
    itself = transfer(source, source, candidates, STARTS)
    other = transfer(source, copy.deepcopy(source), candidates, STARTS)
    assert itself.fooled.equal(other.fooled) and itself.n == other.n


def test_the_diagonal_is_the_white_box_attack(source: Ensemble, candidates: ImageSet) -> None:
    found = transfer(source, source, candidates, STEPS)
    pixels, labels = candidates.pixels().double(), candidates.labels
    right = correct(source, pixels, labels).all(0)
    for i, victim in enumerate([Victim(0), Victim(1), Victim(2), Victim()]):
        success = attack(source, pixels[right], labels[right], STEPS, victim).success
        assert found.fooled[i, i] == success.sum()


def test_n_counts_what_all_models_of_both_get_right(
    source: Ensemble, target: Ensemble, candidates: ImageSet
) -> None:
    no_attack = fgsm(0.0)
    alone, other, both, back = (
        transfer(one, two, candidates, no_attack)
        for one, two in ((source, source), (target, target), (source, target), (target, source))
    )
    assert both.n == back.n < min(alone.n, other.n)
    assert both.fooled.sum() == 0


def test_neither_batches_nor_order_nor_company_matter(
    source: Ensemble, target: Ensemble, candidates: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each image has a random start of its own: the counts of two halves add up."""
    whole = transfer(source, target, candidates, STARTS)
    halves = [
        transfer(source, target, candidates.subset(slice(at, None, 2)), STARTS) for at in (1, 0)
    ]
    assert (halves[0].fooled + halves[1].fooled).equal(whole.fooled)
    assert halves[0].n + halves[1].n == whole.n
    other = transfer(source, target, candidates, replace(STARTS, seed=5))
    assert not other.fooled.equal(whole.fooled)
    for batch in (1, 3, 7):
        monkeypatch.setattr(MODULE, "BATCH", batch)
        shares: list[float] = []
        parts = transfer(source, target, candidates, STARTS, shares.append)
        assert parts.fooled.equal(whole.fooled) and parts.n == whole.n
        steps = 4 * math.ceil(whole.n / batch)
        assert shares == pytest.approx([(i + 1) / steps for i in range(steps)])
        assert shares[-1] == 1


def test_each_ensemble_has_its_own_precision(target: Ensemble, candidates: ImageSet) -> None:
    found = transfer(relatives(1, 3).float(), target, candidates, STEPS)
    assert found.n > 0
    assert found.fooled.sum() > 0


def test_members_need_not_be_conv(candidates: ImageSet) -> None:
    """They may keep their weights in a buffer, as a compiled network does."""

    class Linear(nn.Module):
        weights: Tensor

        def __init__(self, seed: int) -> None:
            super().__init__()
            generator = torch.Generator().manual_seed(seed)
            weights = torch.randn(3072, 10, generator=generator, dtype=torch.float64)
            self.register_buffer("weights", weights)

        def forward(self, images: Tensor) -> Tensor:
            return images.flatten(1) @ self.weights

    linear = Ensemble([Linear(0), Linear(0)])
    with torch.no_grad():
        labels = linear(candidates.pixels().double()).argmax(1)
    own = replace(candidates, labels=labels)
    found = transfer(linear, linear, own, STEPS)
    assert found.n == len(own)
    assert found.fooled.tolist() == counted(linear, linear, own, STEPS)[0]


@pytest.mark.parametrize("candidates_left", [True, False])
def test_where_no_model_is_right_there_is_no_rate(
    source: Ensemble, target: Ensemble, candidates: ImageSet, candidates_left: bool
) -> None:
    never = replace(candidates, labels=(candidates.labels + 1) % 10)
    by_first = correct(source, never.pixels().double(), never.labels)[0]
    wrong = never.subset(~by_first & torch.tensor(candidates_left))
    shares: list[float] = []
    found = transfer(source, target, wrong, STARTS, shares.append)
    assert (len(wrong) > 0) is candidates_left
    assert found.n == 0 and found.fooled.sum() == 0
    assert found.rate().shape == (4, 3) and found.rate().isnan().all()
    assert found.interval(0, 0) == (0, 100)
    assert shares == [1.0]


def made(fooled: list[list[int]], n: int) -> Transfer:
    rows, columns = (
        (*(f"member-{i + 1}" for i in range(count - 1)), "mixture")
        for count in (len(fooled), len(fooled[0]))
    )
    return Transfer(rows, columns, torch.tensor(fooled), n, STEPS)


def test_rates_and_intervals() -> None:
    found = made([[7, 1, 0], [2, 8, 3], [5, 4, 6]], 8)
    assert found.rate().tolist() == [[87.5, 12.5, 0], [25, 100, 37.5], [62.5, 50, 75]]
    for row, column, count in [(0, 0, 7), (0, 2, 0), (1, 0, 2), (1, 1, 8), (1, 2, 3)]:
        wilson = binomtest(count, 8).proportion_ci(confidence_level=0.95, method="wilson")
        ends = (100 * wilson.low, 100 * wilson.high)
        assert found.interval(row, column) == pytest.approx(ends, abs=1e-9)


def test_between_members_is_the_mean_off_the_diagonal() -> None:
    two = made([[7, 1, 0], [2, 8, 3], [5, 4, 6]], 8)
    assert two.between_members() == pytest.approx((12.5 + 25) / 2)
    three = made([[9, 1, 2, 9], [3, 9, 4, 9], [5, 6, 9, 9], [9, 9, 9, 9]], 10)
    assert three.between_members() == pytest.approx(100 * (1 + 2 + 3 + 4 + 5 + 6) / 60)
    assert math.isnan(made([[0, 0, 0]] * 3, 0).between_members())
    assert math.isnan(made([[1, 1], [1, 1]], 1).between_members())
    message = "the source has 3 members and the target 2; a mean between members needs the same"
    with pytest.raises(ConfigError, match=message):
        made([[0] * 3] * 4, 1).between_members()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (fgsm(0.03, targeted=True), "the attack is targeted; transfer is measured with untargeted"),
        (pgd(Norm.LINF, 0.03, restarts=2), "restarts is 2; it must be a whole number from 1 to 1"),
    ],
)
def test_attacks_that_are_refused(
    source: Ensemble, candidates: ImageSet, config: AttackConfig, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        transfer(source, source, candidates, config)


def test_it_changes_nothing(target: Ensemble, candidates: ImageSet) -> None:
    source = relatives(1, 3).train()
    before, state = [weights.clone() for weights in source.parameters()], torch.get_rng_state()
    transfer(source, target, candidates, STARTS)
    assert source.training
    assert all(p.grad is None for e in (source, target) for p in e.parameters())
    assert all(a.equal(b) for a, b in zip(before, source.parameters(), strict=True))
    assert torch.get_rng_state().equal(state)
