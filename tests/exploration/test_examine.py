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


def test_an_examination_is_the_attack_and_what_the_models_say(
    ensemble: Ensemble, images: Tensor, labels: Tensor
) -> None:
    image, label = images[:1], int(labels[0])
    config = AttackConfig(Norm.L2, 1.0, 0.3, 5)
    found = examine(ensemble, image, label, config, Victim(1))
    adversarial = attack(ensemble, image, labels[:1], config, Victim(1)).images
    assert found.adversarial.equal(adversarial)
    assert found.clean.equal(image)
    for x, probabilities in ((image, found.before), (adversarial, found.after)):
        with torch.no_grad():
            each = torch.stack([member(x).softmax(1)[0] for member in ensemble.members])
        torch.testing.assert_close(probabilities, torch.cat([each, each.mean(0, keepdim=True)]))
    delta = (adversarial - image).double().flatten()
    assert found.sizes()["l2"] == pytest.approx(delta.square().sum().sqrt().item(), rel=1e-5)
    assert found.sizes()["linf"] == pytest.approx(delta.abs().max().item())
    assert found.mixture is found.verdicts[3]
    assert found.members == found.verdicts[:3]


def test_a_targeted_examination_judges_by_the_true_class(
    ensemble: Ensemble, images: Tensor, labels: Tensor
) -> None:
    target = (int(labels[0]) + 5) % 10
    config = AttackConfig(Norm.L2, 10.0, 1.0, 30, targeted=True)
    found = examine(ensemble, images[:1], int(labels[0]), config, target=target)
    assert int(found.after[-1].argmax()) == target
    assert found.mixture is FOOLED
    assert found.target == target


def test_it_is_plain_json(ensemble: Ensemble, images: Tensor) -> None:
    found = examine(ensemble, images[:1], 3, fgsm(0.03), Victim(0))
    again = json.loads(json.dumps(found.to_dict()))
    assert again["victim"] == "member-1"
    assert again["true_class"] == "cat"
    assert again["target_class"] is None
    assert [row["model"] for row in again["models"]] == model_names(3)
    assert sum(again["models"][3]["after"].values()) == pytest.approx(1, abs=1e-5)


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
def test_classes_that_will_not_do(
    ensemble: Ensemble,
    images: Tensor,
    label: int,
    targeted: bool,
    target: int | None,
    message: str,
) -> None:
    with pytest.raises(ConfigError, match=message):
        examine(ensemble, images[:1], label, fgsm(0.03, targeted=targeted), target=target)


STEPS = AttackConfig(Norm.LINF, 0.02, 0.01, 4, random_start=True, seed=3)


def test_at_a_step_is_the_attack_that_ends_there(
    ensemble: Ensemble, images: Tensor, labels: Tensor
) -> None:
    whole = examine(ensemble, images[:1], int(labels[0]), STEPS)
    assert len(whole.course.images) == 5
    for step in (1, 3, 4):
        shorter = examine(ensemble, images[:1], int(labels[0]), replace(STEPS, steps=step))
        found = whole.at(step)
        assert found.adversarial.equal(shorter.adversarial)
        torch.testing.assert_close(found.after, shorter.after)
        assert found.verdicts == shorter.verdicts
        assert found.before.equal(whole.before) and found.clean.equal(whole.clean)
    assert whole.at(4).adversarial.equal(whole.adversarial)
    assert 0 < (whole.at(0).adversarial - images[:1]).abs().max() <= 0.02  # the random start


def test_without_its_course_it_is_the_same_outcome(ensemble: Ensemble, images: Tensor) -> None:
    whole = examine(ensemble, images[:1], 3, STEPS)
    small = whole.without_course()
    assert small.course.images.equal(whole.adversarial.unsqueeze(0))
    assert small.course.images.untyped_storage().nbytes() == whole.adversarial.numel() * 4
    assert small.to_dict() == whole.to_dict() and small.verdicts == whole.verdicts


@pytest.mark.parametrize("step", [-1, 5, True])
def test_a_step_that_is_none_is_refused(ensemble: Ensemble, images: Tensor, step: int) -> None:
    with pytest.raises(ConfigError, match=r"step is .*; it must be a whole number from 0 to 4"):
        examine(ensemble, images[:1], 3, STEPS).at(step)


def test_every_victim_in_turn(ensemble: Ensemble, images: Tensor, labels: Tensor) -> None:
    found = every_victim(ensemble, images[:1], int(labels[0]), STEPS)
    assert [str(each.victim) for each in found] == ["member-1", "member-2", "member-3", "mixture"]
    for each in found:
        alone = examine(ensemble, images[:1], int(labels[0]), STEPS, each.victim)
        assert each.adversarial.equal(alone.adversarial)


def with_verdicts(example: Examination, *verdicts: Verdict) -> Examination:
    return replace(example, verdicts=verdicts)


@pytest.fixture
def example(ensemble: Ensemble, images: Tensor) -> Examination:
    return examine(ensemble, images[:1], 3, fgsm(0.01))


def test_success_counts_what_was_right_before(example: Examination) -> None:
    three = [
        with_verdicts(example, FOOLED, WRONG, HOLDS),
        with_verdicts(example, HOLDS, WRONG, FOOLED),
        with_verdicts(example, WRONG, WRONG, FOOLED),
    ]
    assert [success(three, model) for model in (0, 1, -1)] == [(1, 2), (0, 0), (2, 3)]


def test_what_carries_over_leaves_out_the_victim_the_mixture_and_wrong_answers(
    example: Examination,
) -> None:
    by_victim = [
        with_verdicts(example, FOOLED, FOOLED, WRONG, FOOLED),
        with_verdicts(example, HOLDS, FOOLED, WRONG, FOOLED),
        with_verdicts(example, HOLDS, FOOLED, WRONG, HOLDS),
        with_verdicts(example, FOOLED, FOOLED, FOOLED, FOOLED),
    ]
    assert carried_over(by_victim) == (2, 4)
    assert carried_over([with_verdicts(example, FOOLED, FOOLED)] * 2) == (0, 0)
