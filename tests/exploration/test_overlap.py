"""How far members share distilled features: sentences by hand, figures against a plain loop."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import astuple, replace
from math import isnan, sqrt
from statistics import mean, stdev

import pytest
import torch

from dverge.attacks import AttackConfig, Norm, distill
from dverge.data import Split, load
from dverge.errors import ConfigError
from dverge.evaluation.diversity import Diversity, draw_pairs
from dverge.exploration.distilled import Distilled, distilled, one_pair
from dverge.exploration.overlap import Overlap, overlap, overlap_in_words
from dverge.models import Conv, Ensemble
from tests.exploration.examples import CAT, DOG, FROG, SHIP, distilled_by_hand, sample_image

Z95 = 1.959964  # the normal distribution's
QUICK = AttackConfig(Norm.LINF, 0.1, 0.05, 3)


@pytest.fixture(scope="module")
def by_hand() -> dict[str, Distilled]:
    """Vanilla: all their own features are the target, and the other's but on layer 1.

    Diverse: only a member's own feature of layer 5 is. Alone: one member, on layers 4 and 5.
    """
    return {
        "vanilla": distilled_by_hand(lambda i, layer, j: SHIP if i != j and layer == 1 else CAT),
        "diverse": distilled_by_hand(lambda i, layer, j: CAT if i == j and layer == 5 else FROG),
        "alone": distilled_by_hand(lambda i, layer, j: CAT if layer > 3 else DOG, members=1),
    }


@pytest.mark.parametrize(
    ("names", "step", "sentence"),
    [
        (
            ["vanilla", "diverse"],
            None,
            "Asked about a feature distilled on another submodel, submodels say cat, the target, "
            "8 of 10 times in vanilla and 0 of 10 times in diverse; asked about their own, "
            "10 of 10 times in vanilla and 2 of 10 times in diverse.",
        ),
        (
            ["vanilla"],
            1,
            "After 1 of 2 steps, asked about a feature distilled on another submodel, submodels "
            "say cat, the target, 0 of 10 times; asked about their own, 0 of 10 times.",
        ),
        (
            ["alone"],
            None,
            "Asked about its own features, a submodel says cat, the target, 2 of 5 times.",
        ),
        (
            ["vanilla", "diverse", "alone"],
            None,
            "Asked about a feature distilled on another submodel, submodels say cat, the target, "
            "8 of 10 times in vanilla and 0 of 10 times in diverse; asked about their own, "
            "10 of 10 times in vanilla, 2 of 10 times in diverse and 2 of 5 times in alone.",
        ),
    ],
)
def test_sentences(
    by_hand: dict[str, Distilled], names: list[str], step: int | None, sentence: str
) -> None:
    assert overlap_in_words([(name, by_hand[name]) for name in names], step) == sentence


def test_what_does_not_go_together_is_refused(by_hand: dict[str, Distilled]) -> None:
    first = by_hand["vanilla"]
    other = replace(first, pair=one_pair(sample_image(FROG), sample_image(SHIP)))
    longer = replace(first, config=AttackConfig(Norm.LINF, 0.1, 0.05, 3))
    for second in (other, longer):
        with pytest.raises(ConfigError, match="different pairs or steps is 2; it must be 1"):
            overlap_in_words([("a", first), ("b", second)])
    with pytest.raises(ConfigError, match="the number of ensembles is 0"):
        overlap_in_words([])
    with pytest.raises(ConfigError, match="step is 3"):
        overlap_in_words([("a", first)], 3)


def interval(values: list[float]) -> tuple[float, float, float]:
    half = Z95 * stdev(values) / sqrt(len(values))
    return mean(values), mean(values) - half, mean(values) + half


def test_a_batch_is_its_pairs_in_a_plain_loop(either: Ensemble) -> None:
    pairs = draw_pairs(load(Split.SAMPLE), 12, 5)
    result = overlap(either, pairs, QUICK)
    own, others, baseline, loss, counts = [], [], [], [], []
    for k in range(12):
        source, target = (each.subset([k]) for each in (pairs.sources, pairs.targets))
        label = int(target.labels)
        mine: list[float] = []
        theirs: list[float] = []
        nats: list[float] = []
        for i, member in enumerate(either.members):
            for layer in range(1, 6):
                x = distill(member, source.pixels(), target.pixels(), layer, QUICK)  # type: ignore[arg-type]
                for j, other in enumerate(either.members):
                    with torch.no_grad():
                        logits = other(x)[0].double()
                    (mine if i == j else theirs).append(float(logits.argmax() == label))
                    if i != j:
                        nats.append(-logits.log_softmax(0)[label].item())
        with torch.no_grad():
            as_is = [float(m(source.pixels())[0].argmax() == label) for m in either.members]
        own.append(100 * mean(mine))
        others.append(100 * mean(theirs))
        baseline.append(100 * mean(as_is))
        loss.append(mean(nats))
        counts.append(sum(theirs))
    # A batch is distilled at once, so its sums differ in the last bits; few predictions, if any.
    assert astuple(result.own()) == pytest.approx(interval(own), abs=0.6)
    assert astuple(result.others()) == pytest.approx(interval(others), abs=0.6)
    assert astuple(result.ground()) == pytest.approx(interval(baseline))
    assert astuple(result.loss()) == pytest.approx(interval(loss), rel=0.02)
    assert result.n == 12
    assert result.as_many(0) == 100 and result.as_many(int(max(counts)) + 3) == 0


def test_figures_by_hand() -> None:
    """Two members, two pairs: member 2 sees layer 5 of member 1 in the first pair only."""
    sees = torch.zeros(5, 2, 2, 2, dtype=torch.bool)
    sees[4, 0, 1, 0] = True  # [layer, distilled on, evaluated, pair]
    sees[:, 0, 0] = True
    loss = torch.zeros(5, 2, 2, 2, dtype=torch.float64)
    loss[:, 0, 1], loss[:, 1, 0], loss[:, 0, 0] = 4, 2, 100
    loss[4, 1, 0] = 7
    result = Overlap(Diversity(loss, sees, (1, 2, 3, 4, 5)), torch.tensor([[True, False]] * 2))
    assert result.others().value == pytest.approx(100 / 20)  # of 2 pairs × 5 layers × 2 predictions
    assert result.others(5).value == pytest.approx(25)
    assert result.others(1).value == 0
    assert result.own().value == pytest.approx(50)
    assert result.loss().value == pytest.approx((4 + 2 * 0.8 + 7 * 0.2) / 2)
    assert result.loss(5).value == pytest.approx(5.5)
    assert result.ground().value == pytest.approx(50)
    assert astuple(result.others()) == pytest.approx(interval([10, 0]))
    assert [result.as_many(n) for n in (0, 1, 2)] == [100, 50, 0]


def test_a_pair_in_the_batch_counts_as_the_pair_alone(ensemble: Ensemble) -> None:
    pairs = draw_pairs(load(Split.SAMPLE), 1, 3)
    alone, batch = distilled(ensemble, pairs, QUICK), overlap(ensemble, pairs, QUICK)
    counts = alone.counts()
    assert batch.others().value == pytest.approx(100 * counts.others / counts.others_of)
    assert batch.loss().value == pytest.approx(alone.loss())
    assert isnan(batch.others().low) and isnan(batch.others().high)
    assert batch.as_many(counts.others) == 100 and batch.as_many(counts.others + 1) == 0


def test_larger_logits_leave_the_overlap_and_raise_eq_2(ensemble: Ensemble) -> None:
    """A power of two is exact: every distilled feature and prediction stays the same to the bit."""
    pairs = draw_pairs(load(Split.SAMPLE), 12, 5)
    before = overlap(ensemble, pairs, QUICK)
    for factor in (2, 4):
        scaled = deepcopy(ensemble)
        for member in scaled.members:
            assert isinstance(member, Conv)
            member.fc3.weight.data *= factor
            member.fc3.bias.data *= factor
        after = overlap(scaled, pairs, QUICK)
        for layer in (None, 1, 5):
            assert after.others(layer) == before.others(layer)
            assert after.loss(layer).low > before.loss(layer).high
        assert after.crossed.overlap().equal(before.crossed.overlap())
        assert after.own() == before.own() and after.ground() == before.ground()
    assert before.others().value > 0


def test_one_member_has_no_others(ensemble: Ensemble) -> None:
    pairs = draw_pairs(load(Split.SAMPLE), 4, 3)
    result = overlap(Ensemble(list(ensemble.members)[:1]), pairs, QUICK)
    assert isnan(result.others().value) and isnan(result.loss().value)
    assert 0 <= result.own().value <= 100


def test_progress_and_other_layers(ensemble: Ensemble) -> None:
    reported: list[float] = []
    result = overlap(ensemble, draw_pairs(load(Split.SAMPLE), 2, 3), QUICK, reported.append)
    assert reported[-1] == 1 and all(0 < each <= 1 for each in reported)
    for layer in (0, 6):
        with pytest.raises(ConfigError, match="layer is"):
            result.others(layer)
