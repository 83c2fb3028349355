"""One image under one attack: what each member and the mixture predict before and after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from dverge.attacks import (
    MIXTURE,
    AnyConfig,
    AttackResult,
    StrongConfig,
    Trace,
    Victim,
    all_probabilities,
    attack,
    strong_attack,
)
from dverge.attacks.strong import strong_attempt
from dverge.data import CLASSES
from dverge.errors import ConfigError, require_integer
from dverge.exploration.kinds import kind_of
from dverge.exploration.verdicts import Verdict, judge, mixture_words, succeeded, summarise
from dverge.models import Ensemble

OWN_PICTURE = -1  # the number of an image that is in no file of CIFAR-10


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
        course: every iterate of the attack; the last is the adversarial image. Of the strong
            attack, those of the attempt that fooled the victim, or else of the last one.
        target: the class that a targeted attack aims at, else None.
        attempt: the number of that attempt of the strong attack, from 0; else None.
    """

    clean: Tensor
    adversarial: Tensor
    label: int
    before: Tensor
    after: Tensor
    verdicts: tuple[Verdict, ...]
    config: AnyConfig
    victim: Victim
    course: Trace
    target: int | None = None
    attempt: int | None = None

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
            verdicts=_verdicts(self.label, self.before, after, self.target),
        )

    def without_course(self) -> Examination:
        """The same result with only the end of the course, so that it takes little memory."""
        return replace(self, course=self.course.end())

    @property
    def says_target(self) -> bool:
        """Whether the mixture predicts the target after the attack, whatever it did before."""
        return int(self.after[-1].argmax()) == self.target

    def summary(self) -> str:
        """The result in a sentence; see summarise."""
        return summarise(self.verdicts, self.target is not None, self.says_target)

    def mixture_words(self) -> str:
        """The verdict on the mixture in words."""
        return mixture_words(self.mixture, self.says_target)

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
            **({} if self.attempt is None else {"attempt": self.attempt + 1}),
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
    config: AnyConfig,
    victim: Victim = MIXTURE,
    target: int | None = None,
    number: int | None = None,
    attempt: int | None = None,
) -> Examination:
    """Attack one image, and evaluate every member and the mixture before and after.

    Args:
        ensemble: the members.
        image: 1×3×32×32 in [0, 1].
        label: true class, 0–9.
        config: the attack.
        victim: what its gradient is taken of.
        target: class to reach; needed if config.targeted, and only then.
        number: the image's position in the official file, which the strong attack's random starts
            depend on; None for any other image.
        attempt: of the strong attack to run alone, where strong_attack has found it before.

    Raises:
        ConfigError: a class or the victim does not exist, or a target class is missing or not
            allowed.
    """
    aim = attack_label(image, label, config, target)
    result, attempt = _attacked(ensemble, image, aim, config, victim, number, attempt)
    assert result.trace is not None
    before, after = (all_probabilities(ensemble, x)[:, 0] for x in (image, result.images))
    return Examination(
        image,
        result.images,
        label,
        before,
        after,
        _verdicts(label, before, after, target),
        config,
        victim,
        result.trace,
        target,
        attempt,
    )


def _attacked(
    ensemble: Ensemble,
    image: Tensor,
    aim: Tensor,
    config: AnyConfig,
    victim: Victim,
    number: int | None,
    attempt: int | None,
) -> tuple[AttackResult, int | None]:
    """The attack with its course, and the strong attack's attempt that it is of."""
    if not isinstance(config, StrongConfig):
        return attack(ensemble, image, aim, config, victim, record=True), None
    numbers = [OWN_PICTURE if number is None else number]
    if attempt is None:
        attempt = int(strong_attack(ensemble, image, aim, numbers, config, victim).attempt)
    course = strong_attempt(ensemble, image, aim, numbers, config, victim, attempt, record=True)
    return course, attempt


def victims_of(members: int, mixture: Victim = MIXTURE) -> list[Victim]:
    """Each of so many members in order, then the mixture, as it is attacked."""
    return [*map(Victim, range(members)), mixture]


def attack_label(image: Tensor, label: int, config: AnyConfig, target: int | None) -> Tensor:
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


def _verdicts(label: int, before: Tensor, after: Tensor, target: int | None) -> tuple[Verdict, ...]:
    """The verdict on each model, from its probabilities before and after, (M+1)×10."""
    predicted = zip(before.argmax(1).tolist(), after.argmax(1).tolist(), strict=True)
    return tuple(judge(label, *classes, target) for classes in predicted)


def model_names(members: int) -> list[str]:
    """The models' names on screen and in files: the submodels, then the mixture."""
    return [f"submodel {i}" for i in range(1, members + 1)] + ["mixture"]


def attack_record(
    config: AnyConfig, victim: Victim, label: int, target: int | None
) -> dict[str, Any]:
    """An attack on one image as plain JSON values."""
    return {
        "attack": {"name": str(kind_of(config)), **asdict(config)},
        "victim": str(victim),
        "true_class": CLASSES[label],
        "target_class": None if target is None else CLASSES[target],
    }


def by_class(probabilities: Tensor) -> dict[str, float]:
    """Ten probabilities by the name of their class."""
    return dict(zip(CLASSES, probabilities.tolist(), strict=True))


def success(examinations: Sequence[Examination], model: int) -> tuple[int, int]:
    """How many attacks succeed on a model, and how many images it classified correctly before.

    Args:
        examinations: one for each image, all of one ensemble.
        model: 0 is the first member, -1 the mixture.
    """
    return succeeded([each.verdicts[model] for each in examinations])


def carried_over(by_victim: Sequence[Examination]) -> tuple[int, int]:
    """How often attacks on single members also succeed on another member.

    Args:
        by_victim: an attack on each member in turn, then on the mixture.

    Returns:
        The successes, and all that were possible: every attack on a member is counted on each
        other member that was correct before it.
    """
    return succeeded(
        [
            verdict
            for i, attacked in enumerate(by_victim[:-1])
            for j, verdict in enumerate(attacked.members)
            if i != j
        ]
    )
