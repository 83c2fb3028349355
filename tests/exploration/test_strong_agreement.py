"""The strong attack on one image says what the Robustness tables count for it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dverge import checkpoints
from dverge.attacks import MIXTURE, Norm, StrongConfig, Victim
from dverge.data import Split, load
from dverge.evaluation.counting import RobustCount
from dverge.evaluation.measurements import Batch
from dverge.evaluation.predictions import answers
from dverge.evaluation.store import all_results
from dverge.evaluation.strong import StrongAttack
from dverge.exploration.examine import examine
from dverge.exploration.verdicts import Verdict
from dverge.models import compiled

SHIPPED = Path(__file__).parents[2] / "checkpoints"
VANILLA = "vanilla-3xconv-s0"
CASES = [
    ("dverge-advt-3xconv-s0", MIXTURE, StrongConfig(Norm.LINF, 8 / 255)),
    ("dverge-3xconv-s0", MIXTURE, StrongConfig(Norm.L2, 0.25, seed=3)),
    (VANILLA, Victim(1), StrongConfig(Norm.LINF, 0.008, seed=3)),
]


@pytest.mark.parametrize(("name", "victim", "config"), CASES)
def test_each_image_alone_is_as_in_a_measurement_of_many(
    name: str, victim: Victim, config: StrongConfig
) -> None:
    ensemble = compiled(checkpoints.load(SHIPPED / name))
    images = load(Split.SAMPLE).balanced(10)
    pixels, labels, numbers = images.pixels(), images.labels, images.indices.tolist()
    measured = StrongAttack(config.norm, config.eps, config.seed)
    count = RobustCount(measured, labels, answers(ensemble, pixels))
    while not count.done:
        attacked, attempt, at = count.next(128)
        said = torch.full((4, len(at)), -1)
        if attacked == victim:  # the others are not looked at
            batch = Batch(pixels[at], labels[at], [numbers[i] for i in at.tolist()], [])
            said = measured.answers(ensemble, batch, attacked, attempt)
        count.add(at, said, 0.0)
    results = {
        (each.model, each.parameters["victim"]): each for each in count.results(Split.SAMPLE)
    }
    expected = results[str(victim), str(victim)].right().tolist()

    model = -1 if victim.member is None else victim.member
    alone = [
        examine(ensemble, pixels[i : i + 1], int(labels[i]), config, victim, number=numbers[i])
        for i in range(len(labels))
    ]
    assert [each.verdicts[model] is Verdict.HOLDS for each in alone] == expected
    assert 0 < sum(expected) < len(expected)


@pytest.mark.parametrize(("name", "gap"), [(VANILLA, 80), ("dverge-advt-3xconv-s0", 250)])
def test_each_image_alone_is_as_in_the_shipped_results(name: str, gap: int) -> None:
    info = checkpoints.read(SHIPPED / name)
    (kept,) = [
        each
        for file in all_results(info)
        for each in file.results
        if (each.model, each.attack, each.n) == ("mixture", "strong-l2", 1000)
        and (each.parameters["victim"], each.parameters["seed"]) == ("mixture", 0)
    ]
    ensemble, images = compiled(checkpoints.load(info)), load(Split.SAMPLE)
    config, right = StrongConfig(Norm.L2, kept.parameters["eps"]), kept.right()
    for at in range(0, 1000, gap):
        pixels, label = images.pixels(at), int(images.labels[at])
        outcome = examine(ensemble, pixels, label, config, number=int(images.indices[at]))
        assert (outcome.mixture is Verdict.HOLDS) is bool(right[at]), at
