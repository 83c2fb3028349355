"""One image examined under attack."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from dverge import checkpoints
from dverge.attacks import (
    MIXTURE,
    AttackConfig,
    Norm,
    StrongConfig,
    Through,
    Victim,
    attack,
    fgsm,
    pgd,
)
from dverge.attacks.gradient import victim_logits
from dverge.attacks.strong import strong_attack, strong_attempt
from dverge.data import Split, load
from dverge.errors import ConfigError
from dverge.exploration.examine import (
    OWN_PICTURE,
    Examination,
    carried_over,
    examine,
    model_names,
    success,
    victims_of,
)
from dverge.exploration.verdicts import Verdict
from dverge.models import Ensemble
from tests.exploration.examples import SHIP

HOLDS, FOOLED, WRONG = Verdict.HOLDS, Verdict.FOOLED, Verdict.WRONG_BEFORE
REACHED, MISSED, BEFORE = Verdict.REACHED, Verdict.MISSED, Verdict.TARGET_BEFORE
STEPS = AttackConfig(Norm.LINF, 0.02, 0.01, 4, random_start=True, seed=3)


@pytest.fixture(scope="module")
def whole(ensemble: Ensemble, images: Tensor, labels: Tensor) -> Examination:
    return examine(ensemble, images[:1], int(labels[0]), STEPS)


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


def test_a_targeted_attack_is_judged_by_its_target(
    ensemble: Ensemble, images: Tensor, labels: Tensor
) -> None:
    label, config = int(labels[0]), AttackConfig(Norm.L2, 10.0, 1.0, 30, targeted=True)
    target = (label + 5) % 10
    result = examine(ensemble, images[:1], label, config, target=target)
    assert int(result.after[-1].argmax()) == target and result.target == target
    assert result.mixture is REACHED and result.says_target
    said = (label + 3) % 10  # not the class that the mixture predicts
    wrong = examine(ensemble, images[:1], said, config, target=target)
    assert wrong.mixture is WRONG
    assert wrong.summary().endswith("the mixture, wrong before, says the target.")
    begins_there = examine(ensemble, images[:1], said, config, target=label)
    assert begins_there.mixture is BEFORE
    course = [result.at(step).mixture for step in range(31)]
    assert course[0] is HOLDS and course[-1] is REACHED and FOOLED not in course


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


def test_every_victim_in_turn() -> None:
    assert [str(each) for each in victims_of(2)] == ["member-1", "member-2", "mixture"]
    mean_logit = Victim(through=Through.LOGIT)
    assert victims_of(1, mean_logit) == [Victim(0), mean_logit]


@pytest.mark.parametrize("number", [7, None])
@pytest.mark.parametrize(("victim", "eps"), [(MIXTURE, 0.003), (Victim(2), 0.001)], ids=str)
def test_the_strong_attacks_course_is_that_of_its_last_attempt(
    victim: Victim, eps: float, number: int | None, ensemble: Ensemble, images: Tensor
) -> None:
    config, seen = StrongConfig(Norm.LINF, eps, seed=1), set()
    for image in images[:4].split(1):
        with torch.no_grad():
            label = victim_logits(ensemble, image, victim).argmax(1)
        result = examine(ensemble, image, int(label), config, victim, number=number)
        numbers = [OWN_PICTURE if number is None else number]
        strong = strong_attack(ensemble, image, label, numbers, config, victim)
        assert result.adversarial.equal(strong.images) and result.attempt == int(strong.attempt)
        course = strong_attempt(
            ensemble, image, label, numbers, config, victim, int(strong.attempt), record=True
        ).trace
        assert course is not None and result.course.images.equal(course.images)
        verdict = result.verdicts[-1 if victim.member is None else victim.member]
        assert verdict is (FOOLED if strong.success else HOLDS)
        record = result.to_dict()
        settings = {"name": "strong-linf", "norm": "linf", "eps": eps, "seed": 1}
        assert record["attack"] == settings
        assert record["attempt"] == int(strong.attempt) + 1
        seen.add(verdict)
    assert len(seen) > 1


def test_the_strong_attack_has_no_target(ensemble: Ensemble, images: Tensor) -> None:
    with pytest.raises(ConfigError, match="only a targeted one has it"):
        examine(ensemble, images[:1], 3, StrongConfig(Norm.LINF, 0.01), target=4)


def examinations(whole: Examination, *rows: list[Verdict]) -> list[Examination]:
    return [replace(whole, verdicts=tuple(row)) for row in rows]


def test_success_counts_what_was_correct_before(whole: Examination) -> None:
    three = examinations(
        whole, [FOOLED, WRONG, HOLDS], [HOLDS, WRONG, FOOLED], [WRONG, WRONG, FOOLED]
    )
    assert [success(three, model) for model in (0, 1, -1)] == [(1, 2), (0, 0), (2, 3)]
    targeted = examinations(whole, [REACHED, MISSED], [BEFORE, HOLDS], [WRONG, REACHED])
    assert [success(targeted, model) for model in (0, 1)] == [(1, 1), (1, 3)]


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
    targeted = examinations(
        whole, [REACHED, MISSED, HOLDS], [REACHED, REACHED, REACHED], [HOLDS, HOLDS, HOLDS]
    )
    assert carried_over(targeted) == (1, 2)
    assert carried_over(examinations(whole, [FOOLED, FOOLED], [FOOLED, FOOLED])) == (0, 0)


def test_a_target_counts_as_reached_only_where_it_is() -> None:
    """On the first 150 bundled images without ships: 43 of 94, where 48 change their class."""
    vanilla, images = checkpoints.load("vanilla-3xconv-s0"), load(Split.SAMPLE)
    config, outcomes = pgd(Norm.LINF, 8 / 255, targeted=True), []
    for at in range(150):
        if (label := int(images.labels[at])) != SHIP:
            outcomes.append(examine(vanilla, images.pixels(at), label, config, target=SHIP))
    assert success(outcomes, -1) == (43, 94)
    mixtures = [each.mixture for each in outcomes]
    assert mixtures.count(REACHED) == 43 and mixtures.count(MISSED) == 48 - 43
    assert mixtures.count(BEFORE) == 3
