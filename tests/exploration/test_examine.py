"""One image examined under attack."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from dverge.attacks import AttackConfig, Norm, Victim, attack, fgsm
from dverge.errors import ConfigError
from dverge.exploration.examine import (
    Examination,
    Verdict,
    carried_over,
    every_victim,
    examine,
    judge,
    model_names,
    success,
    summarise,
)
from dverge.models import Ensemble

HOLDS, FOOLED, WRONG = Verdict.HOLDS, Verdict.FOOLED, Verdict.WRONG_BEFORE
STEPS = AttackConfig(Norm.LINF, 0.02, 0.01, 4, random_start=True, seed=3)


@pytest.fixture(scope="module")
def whole(ensemble: Ensemble, images: Tensor, labels: Tensor) -> Examination:
    return examine(ensemble, images[:1], int(labels[0]), STEPS)


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [(3, 3, HOLDS), (3, 5, FOOLED), (5, 5, WRONG), (5, 3, WRONG), (5, 7, WRONG)],
)
def test_verdicts_for_true_class_3(before: int, after: int, verdict: Verdict) -> None:
    assert judge(3, before, after) is verdict


@pytest.mark.parametrize(
    ("verdicts", "sentence"),
    [
        ([FOOLED, FOOLED, HOLDS, HOLDS], "2 of 3 submodels fooled, the mixture holds."),
        ([FOOLED, FOOLED], "1 of 1 submodel fooled, the mixture is fooled."),
        (
            [WRONG, FOOLED, HOLDS, WRONG],
            "1 of 3 submodels fooled, 1 wrong before the attack; "
            "the mixture was wrong before the attack.",
        ),
    ],
)
def test_summaries(verdicts: list[Verdict], sentence: str) -> None:
    assert summarise(verdicts) == sentence


def test_the_result_is_the_attacks_and_every_models_probabilities(
    ensemble: Ensemble, images: Tensor, labels: Tensor
) -> None:
    image, label = images[:1], int(labels[0])
    config = AttackConfig(Norm.L2, 1.0, 0.3, 5)
    result = examine(ensemble, image, label, config, Victim(1))
    adversarial = attack(ensemble, image, labels[:1], config, Victim(1)).images
    assert result.adversarial.equal(adversarial)
    assert result.clean.equal(image)
    for x, probabilities in ((image, result.before), (adversarial, result.after)):
        with torch.no_grad():
            each = torch.stack([member(x).softmax(1)[0] for member in ensemble.members])
        torch.testing.assert_close(probabilities, torch.cat([each, each.mean(0, keepdim=True)]))
    delta = (adversarial - image).double().flatten()
    assert result.sizes()["l2"] == pytest.approx(delta.square().sum().sqrt().item(), rel=1e-5)
    assert result.sizes()["linf"] == pytest.approx(delta.abs().max().item())
    assert result.mixture is result.verdicts[3]
    assert result.members == result.verdicts[:3]


def test_a_targeted_attack_is_judged_by_the_true_class(
    ensemble: Ensemble, images: Tensor, labels: Tensor
) -> None:
    target = (int(labels[0]) + 5) % 10
    config = AttackConfig(Norm.L2, 10.0, 1.0, 30, targeted=True)
    result = examine(ensemble, images[:1], int(labels[0]), config, target=target)
    assert int(result.after[-1].argmax()) == target
    assert result.mixture is FOOLED
    assert result.target == target


def test_it_is_plain_json(ensemble: Ensemble, images: Tensor) -> None:
    result = examine(ensemble, images[:1], 3, fgsm(0.03), Victim(0))
    record = json.loads(json.dumps(result.to_dict()))
    assert record["victim"] == "member-1"
    assert record["true_class"] == "cat"
    assert record["target_class"] is None
    assert [row["model"] for row in record["models"]] == model_names(3)
    assert sum(record["models"][3]["after"].values()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("label", "targeted", "target", "message"),
    [
        (10, False, None, "true class is 10; classes are 0 to 9"),
        (-1, False, None, "true class is -1"),
        (3, True, 10, "target class is 10"),
        (3, True, None, "a targeted attack needs a target class"),
        (3, False, 4, "only a targeted one has it"),
        (3, True, 3, "the target class is the true class, cat; choose another target"),
    ],
)
def test_classes_that_are_refused(
    ensemble: Ensemble, images: Tensor, label: int, targeted: bool, target: int | None, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        examine(ensemble, images[:1], label, fgsm(0.03, targeted=targeted), target=target)


def test_at_a_step_is_the_attack_that_ends_there(
    ensemble: Ensemble, images: Tensor, whole: Examination
) -> None:
    assert len(whole.course.images) == 5
    for step in (1, 3, 4):
        shorter = examine(ensemble, images[:1], whole.label, replace(STEPS, steps=step))
        result = whole.at(step)
        assert result.adversarial.equal(shorter.adversarial)
        torch.testing.assert_close(result.after, shorter.after)
        assert result.verdicts == shorter.verdicts
        assert result.before.equal(whole.before) and result.clean.equal(whole.clean)
    assert whole.at(4).adversarial.equal(whole.adversarial)
    assert 0 < (whole.at(0).adversarial - images[:1]).abs().max() <= 0.02  # the random start


def test_without_its_course_it_is_the_same_result(whole: Examination) -> None:
    small = whole.without_course()
    assert small.course.images.equal(whole.adversarial.unsqueeze(0))
    assert small.course.images.untyped_storage().nbytes() == whole.adversarial.numel() * 4
    assert small.to_dict() == whole.to_dict() and small.verdicts == whole.verdicts


@pytest.mark.parametrize("step", [-1, 5, True])
def test_other_steps_are_refused(whole: Examination, step: int) -> None:
    with pytest.raises(ConfigError, match=r"step is .*; it must be a whole number from 0 to 4"):
        whole.at(step)


def test_every_victim_in_turn(ensemble: Ensemble, images: Tensor, labels: Tensor) -> None:
    results = every_victim(ensemble, images[:1], int(labels[0]), STEPS)
    assert [str(each.victim) for each in results] == ["member-1", "member-2", "member-3", "mixture"]
    for each in results:
        alone = examine(ensemble, images[:1], int(labels[0]), STEPS, each.victim)
        assert each.adversarial.equal(alone.adversarial)


def examinations(whole: Examination, *rows: list[Verdict]) -> list[Examination]:
    return [replace(whole, verdicts=tuple(row)) for row in rows]


def test_success_counts_what_was_correct_before(whole: Examination) -> None:
    three = examinations(
        whole, [FOOLED, WRONG, HOLDS], [HOLDS, WRONG, FOOLED], [WRONG, WRONG, FOOLED]
    )
    assert [success(three, model) for model in (0, 1, -1)] == [(1, 2), (0, 0), (2, 3)]


def test_what_carries_over_leaves_out_the_victim_the_mixture_and_wrong_answers(
    whole: Examination,
) -> None:
    by_victim = examinations(
        whole,
        [FOOLED, FOOLED, WRONG, FOOLED],
        [HOLDS, FOOLED, WRONG, FOOLED],
        [HOLDS, FOOLED, WRONG, HOLDS],
        [FOOLED, FOOLED, FOOLED, FOOLED],
    )
    assert carried_over(by_victim) == (2, 4)
    assert carried_over(examinations(whole, [FOOLED, FOOLED], [FOOLED, FOOLED])) == (0, 0)
