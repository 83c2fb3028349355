"""The strong attack as a measurement, against a loop over its attempts and against AutoAttack."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from dverge import checkpoints
from dverge.attacks import MIXTURE, AttackConfig, Norm, Through, Victim, image_starts
from dverge.attacks.margins import margin_attack, members_attack
from dverge.attacks.strong import MEMBER_WAYS, MIXTURE_WAYS
from dverge.data import Split, load
from dverge.evaluation.counting import MEAN_LOSS, RobustCount
from dverge.evaluation.measurements import Batch
from dverge.evaluation.predictions import answers as predicted
from dverge.evaluation.protocols import EPS, L2_EPS, REPORT_EPS
from dverge.evaluation.store import all_results
from dverge.evaluation.strong import StrongAttack
from dverge.models import Ensemble
from dverge.results import Result
from tests.evaluation.plain import correct

SHIPPED = Path(__file__).parents[2] / "checkpoints"


def test_members_by_their_logits_the_mixture_through_two_scores_and_all_members_at_once() -> None:
    strong = StrongAttack(Norm.LINF, EPS)
    assert strong.victims(2) == [Victim(0), Victim(1), MIXTURE, MEAN_LOSS]
    assert [strong.attempts(victim) for victim in strong.victims(2)] == [7, 7, 10, 2]
    assert {way.through for way in MIXTURE_WAYS} == {Through.TEMPERED, Through.PROBABILITY}
    assert {way.rank for way in MEMBER_WAYS} == set(range(7))


@pytest.mark.parametrize(("norm", "eps"), [(Norm.LINF, 0.01), (Norm.L2, 0.25)])
def test_the_results_are_those_of_a_loop(norm: Norm, eps: float, trained: Ensemble) -> None:
    """Which attacks every image by every attempt, also those that have fallen."""
    images = load(Split.SAMPLE).balanced(20)
    pixels, labels = images.pixels().double(), images.labels
    strong, clean = StrongAttack(norm, eps, seed=3), correct(trained, pixels, labels)
    count = RobustCount(strong, labels, predicted(trained, pixels))
    while not count.done:
        victim, restart, at = count.next(7)
        batch = Batch(pixels[at], labels[at], images.indices[at].tolist(), count.warnings)
        count.add(at, strong.answers(trained, batch, victim, restart), 1.0)
    *results, random_member = count.results(Split.SAMPLE)
    found = {(each.model, each.parameters["victim"]): each for each in results}

    after: dict[str, Tensor] = {}
    share = clean[:-1].double().mean(0)
    for row, victim in enumerate(strong.victims(3)[:-1]):
        stands = clean[row].clone()
        for number, way in enumerate(MIXTURE_WAYS if victim == MIXTURE else MEMBER_WAYS):
            config = AttackConfig(norm, eps, 0.0, way.steps, random_start=True, seed=3)
            start = image_starts(pixels, images.indices.tolist(), config, number)
            through = Victim(victim.member, way.through)
            changed = margin_attack(trained, pixels, labels, config, through, way.rank, start)
            answers = correct(trained, changed.images, labels)
            share = torch.where(stands, share.minimum(answers[:-1].double().mean(0)), share)
            stands &= answers[row]
        after[str(victim)] = stands
    for name, stands in after.items():
        assert found[name, name].right().equal(stands), name
    worst = found["mixture", "worst"].right()
    assert not (worst & ~after["mixture"]).any()
    assert found.keys() == {("mixture", "worst")} | {(name, name) for name in after}
    assert 0 < worst.sum() < clean[-1].sum()

    on_images = share.mean().item()
    least = torch.stack([after[str(Victim(i))] for i in range(3)]).double().mean(0)
    for number, clipped in enumerate((False, True)):
        config = AttackConfig(norm, eps, 0.0, 60, random_start=True, seed=3)
        start = image_starts(pixels, images.indices.tolist(), config, number)
        on_all = members_attack(trained, pixels, labels, config, clipped, start)
        answers = correct(trained, on_all.images, labels)[:-1].double().mean(0)
        share = torch.where(share > least, share.minimum(answers), share)
    assert random_member.parameters["victim"] == "worst"
    assert random_member.accuracy == pytest.approx(100 * share.mean().item())
    assert 100 * least.mean().item() <= random_member.accuracy < 100 * on_images


def cells() -> dict[tuple[str, str, float], tuple[Result, Result]]:
    """Of each shipped checkpoint and budget, what both attacks on the mixture alone leave."""
    found = {}
    for info in checkpoints.list_all(SHIPPED)[0]:
        kept = {
            (each.attack, each.parameters["eps"]): each
            for file in all_results(info)
            for each in file.results
            if (each.model, each.parameters.get("victim"), each.n) == ("mixture", "mixture", 1000)
        }
        for norm, eps in ((Norm.LINF, REPORT_EPS), (Norm.LINF, EPS), (Norm.L2, L2_EPS)):
            if reference := kept.get((f"aa-{norm}", eps)):
                found[info.name, str(norm), eps] = (kept[f"strong-{norm}", eps], reference)
    return found


def test_the_shipped_results_are_at_most_four_images_above_autoattacks() -> None:
    counted = {
        cell: tuple(int(each.right().sum()) for each in pair) for cell, pair in cells().items()
    }
    assert len(counted) == 24
    assert {cell: pair for cell, pair in counted.items() if pair[0] > pair[1] + 4} == {}
    strong, autoattack = torch.tensor(list(counted.values())).sum(0).tolist()
    assert strong <= autoattack
