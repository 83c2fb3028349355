"""How far members share distilled features: sentences by hand, figures against a plain loop."""

from __future__ import annotations

from dataclasses import replace
from math import isnan, sqrt
from statistics import mean, stdev

import pytest
import torch

from dverge.attacks import AttackConfig, Norm, distill
from dverge.data import Split, load
from dverge.errors import ConfigError
from dverge.evaluation.diversity import Diversity, Pairs, draw_pairs
from dverge.exploration.distilled import Distilled, distilled, one_pair
from dverge.exploration.overlap import Mean, Overlap, overlap, overlap_in_words
from dverge.models import Ensemble, compiled
from tests.exploration.test_distilled import CAT, DOG, FROG, SHIP, image, made

Z95 = 1.959964  # the normal distribution's
QUICK = AttackConfig(Norm.LINF, 0.1, 0.05, 3)


@pytest.fixture
def pair() -> Pairs:
    return one_pair(image(FROG), image(CAT))


def vanilla(pair: Pairs) -> Distilled:
    """Both members take all but layer 1 of the other for the target, and all of their own."""
    return made(pair, lambda i, layer, j: SHIP if i != j and layer == 1 else CAT)


def driven(pair: Pairs) -> Distilled:
    """Each takes only its own for the target, and of these only layer 5."""
    return made(pair, lambda i, layer, j: CAT if i == j and layer == 5 else FROG)


def test_two_ensembles_in_words(pair: Pairs) -> None:
    assert overlap_in_words([("vanilla", vanilla(pair)), ("driven", driven(pair))]) == (
        "Asked about a feature distilled on another submodel, submodels say cat, the target, "
        "8 of 10 times in vanilla and 0 of 10 times in driven; asked about their own, "
        "10 of 10 times in vanilla and 2 of 10 times in driven."
    )


def test_one_ensemble_in_words_and_at_a_step(pair: Pairs) -> None:
    assert overlap_in_words([("vanilla", vanilla(pair))], 1) == (
        "After 1 of 2 steps, asked about a feature distilled on another submodel, submodels say "
        "cat, the target, 0 of 10 times; asked about their own, 0 of 10 times."
    )


def test_one_member_in_words(pair: Pairs) -> None:
    alone = made(pair, lambda i, layer, j: CAT if layer > 3 else DOG, members=1)
    assert overlap_in_words([("alone", alone)]) == (
        "Asked about its own features, a submodel says cat, the target, 2 of 5 times."
    )
    both = overlap_in_words([("vanilla", vanilla(pair)), ("alone", alone)])
    assert "cat, the target, 8 of 10 times in vanilla; asked about their own" in both
    assert both.endswith("10 of 10 times in vanilla and 2 of 5 times in alone.")


def test_what_does_not_go_together_is_refused(pair: Pairs) -> None:
    first = vanilla(pair)
    other = made(one_pair(image(FROG), image(SHIP)), lambda i, layer, j: SHIP)
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


def as_tuple(figure: Mean) -> tuple[float, float, float]:
    return figure.value, figure.low, figure.high


@pytest.mark.parametrize("fast", [False, True], ids=["plain", "compiled"])
def test_a_batch_is_its_pairs_in_a_plain_loop(fast: bool, ensemble: Ensemble) -> None:
    pairs = draw_pairs(load(Split.SAMPLE), 12, 5)
    asked = compiled(ensemble) if fast else ensemble
    found = overlap(asked, pairs, QUICK)
    own, others, ground, loss, times = [], [], [], [], []
    for k in range(12):
        source, target = pairs.sources.subset([k]), pairs.targets.subset([k])
        label = int(target.labels)
        mine: list[float] = []
        their: list[float] = []
        nats: list[float] = []
        for i, member in enumerate(asked.members):
            for layer in range(1, 6):
                x = distill(member, source.pixels(), target.pixels(), layer, QUICK)  # type: ignore[arg-type]
                for j, judge in enumerate(asked.members):
                    with torch.no_grad():
                        said = judge(x)[0].double()
                    sees = float(said.argmax() == label)
                    (mine if i == j else their).append(sees)
                    if i != j:
                        nats.append(-said.log_softmax(0)[label].item())
        with torch.no_grad():
            as_is = [float(m(source.pixels())[0].argmax() == label) for m in asked.members]
        own.append(100 * mean(mine))
        others.append(100 * mean(their))
        ground.append(100 * mean(as_is))
        loss.append(mean(nats))
        times.append(sum(their))
    # A batch is distilled at once, so its sums differ in the last bits; few answers, if any.
    assert as_tuple(found.own()) == pytest.approx(interval(own), abs=0.6)
    assert as_tuple(found.others()) == pytest.approx(interval(others), abs=0.6)
    assert as_tuple(found.ground()) == pytest.approx(interval(ground))
    assert as_tuple(found.loss()) == pytest.approx(interval(loss), rel=0.02)
    assert found.n == 12
    most = max(times)
    assert found.as_many(0) == 100 and found.as_many(int(most) + 3) == 0


def crossed() -> Overlap:
    """Two members, two pairs: member 2 sees layer 5 of member 1 in the first pair only."""
    sees = torch.zeros(5, 2, 2, 2, dtype=torch.bool)
    sees[4, 0, 1, 0] = True  # [layer, distilled on, asked, pair]
    sees[:, 0, 0] = True
    loss = torch.zeros(5, 2, 2, 2, dtype=torch.float64)
    loss[:, 0, 1], loss[:, 1, 0], loss[:, 0, 0] = 4, 2, 100
    loss[4, 1, 0] = 7
    return Overlap(Diversity(loss, sees, (1, 2, 3, 4, 5)), torch.tensor([[True, False]] * 2))


def test_figures_by_hand() -> None:
    found = crossed()
    assert found.others().value == pytest.approx(100 / 20)  # of 2 pairs × 5 layers × 2 answers
    assert found.others(5).value == pytest.approx(25)
    assert found.others(1).value == 0
    assert found.own().value == pytest.approx(50)
    assert found.loss().value == pytest.approx((4 + 2 * 0.8 + 7 * 0.2) / 2)
    assert found.loss(5).value == pytest.approx(5.5)
    assert found.ground().value == pytest.approx(50)
    low, high = found.others().low, found.others().high
    half = Z95 * stdev([10, 0]) / sqrt(2)
    assert (low, high) == pytest.approx((5 - half, 5 + half))
    assert [found.as_many(n) for n in (0, 1, 2)] == [100, 50, 0]


def test_a_pair_in_the_batch_counts_as_the_pair_alone(ensemble: Ensemble) -> None:
    pairs = draw_pairs(load(Split.SAMPLE), 1, 3)
    alone, batch = distilled(ensemble, pairs, QUICK), overlap(ensemble, pairs, QUICK)
    counts = alone.counts()
    assert batch.others().value == pytest.approx(100 * counts.others / counts.others_of)
    assert batch.loss().value == pytest.approx(alone.loss())
    assert isnan(batch.others().low) and isnan(batch.others().high)
    assert batch.as_many(counts.others) == 100 and batch.as_many(counts.others + 1) == 0


def test_one_member_has_no_others(ensemble: Ensemble) -> None:
    pairs = draw_pairs(load(Split.SAMPLE), 4, 3)
    found = overlap(Ensemble(list(ensemble.members)[:1]), pairs, QUICK)
    assert isnan(found.others().value) and isnan(found.loss().value)
    assert 0 <= found.own().value <= 100


def test_progress_and_other_layers(ensemble: Ensemble) -> None:
    told: list[float] = []
    found = overlap(ensemble, draw_pairs(load(Split.SAMPLE), 2, 3), QUICK, told.append)
    assert told[-1] == 1 and all(0 < each <= 1 for each in told)
    for layer in (0, 6):
        with pytest.raises(ConfigError, match="layer is"):
            found.others(layer)
