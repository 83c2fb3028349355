"""Results of attacks on cross-entropy warn where that often has no gradient."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dverge import checkpoints
from dverge.attacks import Attack, Norm, Through, fgsm, pgd
from dverge.attacks.strong import Way
from dverge.data import Split, load
from dverge.evaluation.evaluation import Evaluation
from dverge.evaluation.measurements import (
    Clean,
    Measurement,
    Noise,
    ProjectedGradient,
    ReportAttack,
)
from dverge.evaluation.strong import StrongAttack
from dverge.models import Ensemble
from dverge.results import Result, models_of
from tests.evaluation.small import Patch, config_of, use_plan

COUNT = 30


def plan(seed: int) -> list[Measurement]:
    return [
        Clean(),
        Noise(0.01, seed),
        ProjectedGradient("fgsm", fgsm(0.004), thorough=True),
        ProjectedGradient("pgd-linf", pgd(Norm.LINF, 0.004, steps=2, seed=seed)),
        ReportAttack(Attack.FGSM),
        StrongAttack(Norm.LINF, 0.004, seed),
    ]


def evaluate(root: Path, ensemble: Ensemble) -> list[Result]:
    checkpoints.save("mine", ensemble, method="vanilla", root=root)
    evaluation = Evaluation(config_of("mine", images=COUNT), root=root)
    results = [each for finished in evaluation.run() for each in finished or []]
    assert evaluation.failures == []
    return results


@pytest.fixture
def members(shipped: Path, monkeypatch: Patch) -> Ensemble:
    use_plan(monkeypatch, plan)
    way = Way(Through.PROBABILITY, 0, 3)
    for ways in ("MEMBER_WAYS", "MIXTURE_WAYS"):
        monkeypatch.setattr(f"dverge.attacks.strong.{ways}", (way,))
    return checkpoints.load(shipped)


def flat_shares(ensemble: Ensemble) -> dict[str, float]:
    """Per cent of the images at which a model's cross-entropy has no gradient, one at a time."""
    images, members = load(Split.SAMPLE).balanced(COUNT), list(ensemble.members)
    flat = dict.fromkeys(models_of(len(members)), 0)
    for x, y in zip(images.pixels(), images.labels, strict=True):
        x = x[None].requires_grad_()
        scores = torch.stack([member(x).log_softmax(1)[0, y] for member in members])
        for model, value in zip(flat, [*scores, scores.logsumexp(0)], strict=True):
            (gradient,) = torch.autograd.grad(value, x, retain_graph=True)
            flat[model] += int(not gradient.any())
    return {model: 100 * count / COUNT for model, count in flat.items()}


@pytest.mark.parametrize("saturated", [0, 2, 3])
def test_rows_of_saturated_models_are_warned(
    tmp_path: Path, members: Ensemble, saturated: int
) -> None:
    """Not those of the strong attack, of noise and without attack; the mixture, if all are."""
    with torch.no_grad():
        for member in list(members.members)[:saturated]:
            for parameter in list(member.parameters())[-2:]:  # the last layer's
                parameter.mul_(1000)
    shares = flat_shares(members)
    assert [share > 10 for share in shares.values()] == [
        *(number < saturated for number in range(3)),
        saturated == 3,
    ]
    shares["random-member"] = max(shares.values())
    warned = set()
    for row in evaluate(tmp_path, members):
        share = shares[row.model] if row.attack in ("fgsm", "pgd-linf") else 0
        assert len(row.warnings) == (share > 1), row
        for text in row.warnings:
            assert text.startswith(f"at {share:.1f} % of the images the cross-entropy has no grad")
            warned.add((row.attack, row.parameters.get("projected", True), row.model))
    models = saturated + (saturated == 3) + (saturated > 0)
    assert len(warned) == 3 * models - (saturated > 0)  # the report has no random member
