"""One image under one attack: what each member and the mixture predict before and after."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from dverge.attacks import MIXTURE, AttackConfig, Trace, Victim, all_probabilities, attack
from dverge.data import CLASSES
from dverge.errors import ConfigError, require_integer
from dverge.models import Ensemble


class Verdict(enum.StrEnum):
    """What an attack does to one model's answer on one image."""

    HOLDS = "holds"
    FOOLED = "fooled"
    WRONG_BEFORE = "wrong before the attack"


MIXTURE_WORDS = {
    Verdict.HOLDS: "the mixture holds",
    Verdict.FOOLED: "the mixture is fooled",
    Verdict.WRONG_BEFORE: "the mixture was wrong before the attack",
}


@dataclass(frozen=True)
class Examination:
    """The result on one ensemble; models are the members in order, then the mixture.

    Attributes:
        clean, adversarial: the image before and after the attack, 1×3×32×32 in [0, 1].
        label: its true class, 0–9.
        before, after: (M+1)×10 probabilities.
        verdicts: M+1, one for each model.
        config: the attack.
        victim: what its gradient was taken of.
        course: every iterate of the attack; the last is the adversarial image.
        target: the class that a targeted attack aims at, else None.
    """

    clean: Tensor
    adversarial: Tensor
    label: int
    before: Tensor
    after: Tensor
    verdicts: tuple[Verdict, ...]
    config: AttackConfig
    victim: Victim
    course: Trace
    target: int | None = None

    @property
    def members(self) -> tuple[Verdict, ...]:
        return self.verdicts[:-1]

    @property
    def mixture(self) -> Verdict:
        return self.verdicts[-1]

    def at(self, step: int) -> Examination:
        """The result if the attack had ended after `step` steps; 0 is where it began.

        Raises:
            ConfigError: the attack has no such step.
        """
        require_integer("step", step, 0, len(self.course.images) - 1)
        after = self.course.probabilities[step, :, 0]
        return replace(
            self,
            adversarial=self.course.images[step],
            after=after,
            verdicts=_verdicts(self.label, self.before, after),
        )

    def without_course(self) -> Examination:
        """The same result with only the end of the course, so that it takes little memory."""
        return replace(self, course=self.course.end())

    def sizes(self) -> dict[str, float]:
        """The perturbation's L-inf and L2 length."""
        delta = (self.adversarial - self.clean).flatten()
        return {"linf": delta.abs().max().item(), "l2": delta.norm().item()}

    def to_dict(self) -> dict[str, Any]:
        """Settings and result as plain JSON values."""
        names = model_names(len(self.members))
        models = zip(names, self.verdicts, self.before, self.after, strict=True)
        return {
            **attack_record(self.config, self.victim, self.label, self.target),
            "perturbation": self.sizes(),
            "models": [
                {
                    "model": name,
                    "verdict": verdict,
                    "before": by_class(before),
                    "after": by_class(after),
                }
                for name, verdict, before, after in models
            ],
        }


def examine(
    ensemble: Ensemble,
    image: Tensor,
    label: int,
    config: AttackConfig,
    victim: Victim = MIXTURE,
    target: int | None = None,
) -> Examination:
    """Attack one image, and evaluate every member and the mixture before and after.

    Args:
        ensemble: the members.
        image: 1×3×32×32 in [0, 1].
        label: true class, 0–9.
        config: the attack.
        victim: what its gradient is taken of.
        target: class to reach; needed if config.targeted, and only then.

    Raises:
        ConfigError: a class or the victim does not exist, or a target class is missing or not
            allowed.
    """
    aim = attack_label(image, label, config, target)
    result = attack(ensemble, image, aim, config, victim, record=True)
    assert result.trace is not None
    before, after = (all_probabilities(ensemble, x)[:, 0] for x in (image, result.images))
    verdicts = _verdicts(label, before, after)
    return Examination(
        image, result.images, label, before, after, verdicts, config, victim, result.trace, target
    )


def every_victim(
    ensemble: Ensemble, image: Tensor, label: int, config: AttackConfig, target: int | None = None
) -> list[Examination]:
    """The same attack on each member in turn, then on the mixture; see examine."""
    return [
        examine(ensemble, image, label, config, victim, target)
        for victim in victims_of(len(ensemble))
    ]


def victims_of(members: int) -> list[Victim]:
    """Each of so many members in order, then the mixture."""
    return [*map(Victim, range(members)), MIXTURE]


def attack_label(image: Tensor, label: int, config: AttackConfig, target: int | None) -> Tensor:
    """The one label that `attack` needs for an image: the target if there is one, else its class.

    Raises:
        ConfigError: a class does not exist, or a target class is missing or not allowed.
    """
    for name, value in (("true class", label), ("target class", target)):
        if value is not None and not 0 <= value < len(CLASSES):
            raise ConfigError(f"{name} is {value}; classes are 0 to {len(CLASSES) - 1}.")
    if config.targeted != (target is not None):
        raise ConfigError("a targeted attack needs a target class, and only a targeted one has it.")
    if target == label:
        raise ConfigError(
            f"the target class is the true class, {CLASSES[label]}; choose another target."
        )
    return torch.tensor([label if target is None else target], device=image.device)


def _verdicts(label: int, before: Tensor, after: Tensor) -> tuple[Verdict, ...]:
    """The verdict on each model, from its probabilities before and after, (M+1)×10."""
    predicted = zip(before.argmax(1).tolist(), after.argmax(1).tolist(), strict=True)
    return tuple(judge(label, *classes) for classes in predicted)


def judge(label: int, before: int, after: int) -> Verdict:
    """The verdict on a model that predicts class `before`, and `after` on the attacked image."""
    if before != label:
        return Verdict.WRONG_BEFORE
    return Verdict.HOLDS if after == label else Verdict.FOOLED


def model_names(members: int) -> list[str]:
    """The models' names on screen and in files: the submodels, then the mixture."""
    return [f"submodel {i}" for i in range(1, members + 1)] + ["mixture"]


def attack_record(
    config: AttackConfig, victim: Victim, label: int, target: int | None
) -> dict[str, Any]:
    """An attack on one image as plain JSON values."""
    return {
        "attack": asdict(config),
        "victim": str(victim),
        "true_class": CLASSES[label],
        "target_class": None if target is None else CLASSES[target],
    }


def by_class(probabilities: Tensor) -> dict[str, float]:
    """Ten probabilities by the name of their class."""
    return dict(zip(CLASSES, probabilities.tolist(), strict=True))


def summarise(verdicts: Sequence[Verdict]) -> str:
    """The result in a sentence, such as "2 of 3 submodels fooled, the mixture holds."."""
    *members, mixture = verdicts
    noun = "submodel" if len(members) == 1 else "submodels"
    fooled = f"{members.count(Verdict.FOOLED)} of {len(members)} {noun} fooled"
    if wrong := members.count(Verdict.WRONG_BEFORE):
        return f"{fooled}, {wrong} wrong before the attack; {MIXTURE_WORDS[mixture]}."
    return f"{fooled}, {MIXTURE_WORDS[mixture]}."


def success(examinations: Sequence[Examination], model: int) -> tuple[int, int]:
    """How many attacked images fool a model, and how many it classified correctly before.

    Args:
        examinations: one for each image, all of one ensemble.
        model: 0 is the first member, -1 the mixture.
    """
    return _fooled([each.verdicts[model] for each in examinations])


def carried_over(by_victim: Sequence[Examination]) -> tuple[int, int]:
    """How many answers of the other members the attacks on single members change.

    Args:
        by_victim: an attack on each member in turn, then on the mixture; see every_victim.

    Returns:
        The answers changed, and all those that could be: every attack on a member is counted on
        each other member that was correct before it.
    """
    return _fooled(
        [
            verdict
            for i, attacked in enumerate(by_victim[:-1])
            for j, verdict in enumerate(attacked.members)
            if i != j
        ]
    )


def _fooled(verdicts: Sequence[Verdict]) -> tuple[int, int]:
    """How many are fooled, and how many were correct before the attack."""
    correct_before = len(verdicts) - verdicts.count(Verdict.WRONG_BEFORE)
    return verdicts.count(Verdict.FOOLED), correct_before
