"""The shipped tour is true of the shipped checkpoints, and chosen by its own rules."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dverge import checkpoints
from dverge.attacks import MIXTURE, Victim
from dverge.data import ImageSet, Split, load
from dverge.errors import CheckpointError
from dverge.evaluation.diversity import Diversity, Pairs, correct_pairs, diversity, draw_pairs
from dverge.evaluation.predictions import all_correct
from dverge.evaluation.transfer import transfer
from dverge.exploration.distilled import distilled
from dverge.exploration.examine import Verdict, examine
from dverge.exploration.noise import noise_test
from dverge.exploration.tour import (
    ATTACK,
    DRAWS,
    LAYER,
    PAIRS,
    SEED,
    SHOWN,
    Tour,
    _suitable_images,
    _suitable_pairs,
    checkpoints_of,
    choose_tour,
    read_tour,
    write_tour,
)
from dverge.models import Ensemble, compiled


def image_set(number: int) -> ImageSet:
    images = load(Split.SAMPLE)
    return images.subset((images.indices == number).nonzero().flatten())


@pytest.fixture(scope="module")
def tour() -> Tour:
    return read_tour()


@pytest.fixture(scope="module")
def ensembles(tour: Tour) -> list[Ensemble]:
    return [checkpoints.load(info) for info in checkpoints_of(tour)]


def test_the_image_shows_every_step_of_the_tour(tour: Tour, ensembles: list[Ensemble]) -> None:
    images = image_set(tour.image)
    image, label = images.pixels(), int(images.labels[0])
    holds, fooled = Verdict.HOLDS, Verdict.FOOLED
    for ensemble in ensembles:
        with torch.no_grad():
            predicted = [int(each(image).argmax()) for each in (*ensemble.members, ensemble)]
        assert predicted == [label] * 4
    for i, j in itertools.permutations(range(3), 2):
        assert examine(ensembles[0], image, label, ATTACK, Victim(i)).verdicts[j] is fooled
        assert examine(ensembles[1], image, label, ATTACK, Victim(i)).verdicts[j] is holds
    ends = [examine(each, image, label, ATTACK, MIXTURE) for each in ensembles]
    assert [each.mixture for each in ends] == [fooled, fooled, holds]
    assert noise_test(ensembles[0], ends[0], DRAWS, SEED).fooled[-1] == 0


def test_the_pair_shows_what_the_tour_says(tour: Tour, ensembles: list[Ensemble]) -> None:
    pair = Pairs(image_set(tour.source), image_set(tour.target))
    vanilla, diverse = (distilled(each, pair).classes()[:, LAYER - 1] for each in ensembles[:2])
    target = int(pair.targets.labels[0])
    for i, j in itertools.product(range(3), range(3)):
        if i == j:
            assert int(vanilla[i, j]) == int(diverse[i, j]) == target
        else:
            assert int(diverse[i, j]) != target
    others = sum(int(vanilla[i, j]) == target for i, j in itertools.permutations(range(3), 2))
    assert others > 3
    assert correct_pairs(pair, ensembles[:2]).all()


def test_the_overlap_is_measured_again_on_correct_pairs(
    tour: Tour, ensembles: list[Ensemble]
) -> None:
    vanilla, diverse = ensembles[0], compiled(ensembles[1])
    drawn = draw_pairs(load(Split.SAMPLE), PAIRS, SEED)
    pairs = drawn.subset(correct_pairs(drawn, [vanilla, diverse]))
    assert len(pairs) == tour.pairs
    sees = diversity(diverse, pairs, layers=[LAYER]).sees_target[0]
    others = sum(int(sees[i, j].sum()) for i, j in itertools.permutations(range(3), 2))
    seen, predictions = tour.overlap[SHOWN[1]]
    assert predictions == 6 * len(pairs)
    assert others == pytest.approx(seen, abs=2)  # another processor may round otherwise


def test_transfer_is_measured_again(tour: Tour, ensembles: list[Ensemble]) -> None:
    fast = compiled(ensembles[1])
    result = transfer(fast, fast, load(Split.SAMPLE).balanced(500), ATTACK)
    between = sum(int(result.fooled[i, j]) for i, j in itertools.permutations(range(3), 2))
    fooled, attacks = tour.transfer[SHOWN[1]]
    assert attacks == 6 * result.n
    assert between == pytest.approx(fooled, abs=2)  # another processor may round otherwise


def test_the_image_is_chosen_among_others(tour: Tour, ensembles: list[Ensemble]) -> None:
    images = load(Split.SAMPLE)
    place = images.indices.tolist().index(tour.image)
    some = images.subset(sorted({place, *range(0, 1000, 25)}))
    fast = [compiled(each) for each in ensembles]
    candidates = some.subset(all_correct(fast, some))
    assert 1 < len(candidates) < len(some)
    chosen = _suitable_images(fast, candidates)
    assert chosen.indices.tolist() == [tour.image]
    vanilla, diverse, trained = fast
    for others in (
        [diverse, diverse, trained],
        [vanilla, vanilla, trained],
        [vanilla, trained, trained],
        [vanilla, diverse, diverse],
    ):
        assert len(_suitable_images(others, chosen)) == 0


def test_which_pairs_are_suitable() -> None:
    """By how many features are the target's to their own member, and to others of each ensemble."""
    cases = [(3, 4, 0, True), (3, 3, 0, False), (2, 4, 0, False), (3, 6, 1, False)]
    vanilla, diverse = (torch.zeros(1, 3, 3, len(cases), dtype=torch.bool) for _ in range(2))
    different = list(itertools.permutations(range(3), 2))
    for k, (own, most, none, _) in enumerate(cases):
        for i in range(3):
            vanilla[0, i, i, k], diverse[0, i, i, k] = i < own, True
        for sees, count in ((vanilla, most), (diverse, none)):
            for i, j in different[:count]:
                sees[0, i, j, k] = True
    features = (Diversity(sees.double(), sees, (LAYER,)) for sees in (vanilla, diverse))
    assert _suitable_pairs(*features).tolist() == [suitable for *_, suitable in cases]


def test_without_a_suitable_image_there_is_no_tour() -> None:
    with pytest.raises(CheckpointError, match="none of 1 images shows all"):
        choose_tour(images=image_set(0))


def test_it_is_written_and_read(tour: Tour, tmp_path: Path) -> None:
    write_tour(tour, tmp_path / "tour.json")
    assert read_tour(tmp_path / "tour.json") == tour
    assert json.loads((tmp_path / "tour.json").read_text())["image"] == tour.image


def test_other_weights_are_refused_by_name(tour: Tour) -> None:
    digests = tour.ensembles | {SHOWN[1]: "0" * 64}
    with pytest.raises(CheckpointError, match=r"'dverge-3xconv-s0' has other weights.*dverge tour"):
        checkpoints_of(replace(tour, ensembles=digests))
