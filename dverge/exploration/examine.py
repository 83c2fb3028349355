"""One image under one attack: what each member and the mixture say before and after."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from torch import Tensor

from dverge.attacks import MIXTURE, AttackConfig, Trace, Victim, all_probabilities, attack
from dverge.data import CLASSES
from dverge.errors import ConfigError, require_integer
from dverge.models import Ensemble


class Verdict(enum.StrEnum):
    """How one model fares on one attacked image."""

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
    """The outcome for one ensemble; models are its members in order and last the mixture.

    Attributes:
        clean, adversarial: the image before and after, 1×3×32×32 in [0, 1].
        label: its true class, 0–9.
        before, after: (M+1)×10 probabilities.
        verdicts: M+1.
        config: the attack.
        victim: what its gradient was taken of.
        course: of the attack, its last iterate being the adversarial image.
        target: the class a targeted attack aims at, else None.
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
        """The outcome if the attack had ended after so many steps; 0 is where it began.

        Raises:
            ConfigError: the attack has no such step.
        """
        require_integer("step", step, 0, len(self.course.images) - 1)
        after = self.course.probabilities[step, :, 0]
        return replace(
            self,
            adversarial=self.course.images[step],
            after=after,
            verdicts=_judged(self.label, self.before, after),
        )

    def without_course(self) -> Examination:
        """The same outcome, small to keep: of the course there is the end alone."""
        return replace(self, course=self.course.end())

    def sizes(self) -> dict[str, float]:
        """Largest and Euclidean length of the perturbation."""
        delta = (self.adversarial - self.clean).flatten()
        return {"linf": delta.abs().max().item(), "l2": delta.norm().item()}

    def to_dict(self) -> dict[str, Any]:
        """Settings and outcome as plain JSON values."""
        names = model_names(len(self.members))
        return {
            "attack": asdict(self.config),
            "victim": str(self.victim),
            "true_class": CLASSES[self.label],
            "target_class": None if self.target is None else CLASSES[self.target],
            "perturbation": self.sizes(),
            "models": [
                {
                    "model": name,
                    "verdict": verdict,
                    "before": dict(zip(CLASSES, before.tolist(), strict=True)),
                    "after": dict(zip(CLASSES, after.tolist(), strict=True)),
                }
                for name, verdict, before, after in zip(
                    names, self.verdicts, self.before, self.after, strict=True
                )
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
    """Attack one image and ask every member and the mixture before and after.

    Args:
        ensemble: the members.
        image: 1×3×32×32 in [0, 1].
        label: true class, 0–9.
        config: the attack.
        victim: what its gradient is taken of.
        target: class to reach; needed if config.targeted, and only then.

    Raises:
        ConfigError: a class or the victim does not exist, or target does not go with the config.
    """
    aim = image.new_tensor([aim_of(label, config, target)]).long()
    found = attack(ensemble, image, aim, config, victim, record=True)
    before, after = (all_probabilities(ensemble, x)[:, 0] for x in (image, found.images))
    verdicts = _judged(label, before, after)
    assert found.trace is not None
    return Examination(
        image, found.images, label, before, after, verdicts, config, victim, found.trace, target
    )


def every_victim(
    ensemble: Ensemble, image: Tensor, label: int, config: AttackConfig, target: int | None = None
) -> list[Examination]:
    """The same attack on each member in turn and last on the mixture; see examine."""
    victims = [*map(Victim, range(len(ensemble))), MIXTURE]
    return [examine(ensemble, image, label, config, victim, target) for victim in victims]


def aim_of(label: int, config: AttackConfig, target: int | None) -> int:
    """The class that an attack on an image of a class is given: the target, if there is one.

    Raises:
        ConfigError: a class does not exist, or target does not go with the config.
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
    return label if target is None else target


def _judged(label: int, before: Tensor, after: Tensor) -> tuple[Verdict, ...]:
    """The verdict on each of the models whose probabilities (M+1)×10 these are."""
    said = zip(before.argmax(1).tolist(), after.argmax(1).tolist(), strict=True)
    return tuple(judge(label, b, a) for b, a in said)


def judge(label: int, before: int, after: int) -> Verdict:
    """The verdict on a model that said `before`, and says `after` on the attacked image."""
    if before != label:
        return Verdict.WRONG_BEFORE
    return Verdict.HOLDS if after == label else Verdict.FOOLED


def model_names(members: int) -> list[str]:
    """What the models are called on screen and in files: the submodels, then the mixture."""
    return [f"submodel {i}" for i in range(1, members + 1)] + ["mixture"]


def summarise(verdicts: Sequence[Verdict]) -> str:
    """The outcome in a sentence, such as "2 of 3 submodels fooled, the mixture holds."."""
    *members, mixture = verdicts
    counts, total = Counter(members), len(members)
    fooled, wrong = counts[Verdict.FOOLED], counts[Verdict.WRONG_BEFORE]
    noun = "submodel" if total == 1 else "submodels"
    parts = [f"{fooled} of {total} {noun} fooled"]
    if wrong:
        parts.append(f"{wrong} wrong before the attack")
    ending = MIXTURE_WORDS[mixture]
    return f"{', '.join(parts)}; {ending}." if wrong else f"{parts[0]}, {ending}."


def success(examinations: Sequence[Examination], model: int) -> tuple[int, int]:
    """How many of several attacked images fool a model, of how many it was right on before.

    Args:
        examinations: one an image, all of one ensemble.
        model: 0 is the first member, -1 the mixture.
    """
    counts = Counter(each.verdicts[model] for each in examinations)
    return counts[Verdict.FOOLED], counts[Verdict.FOOLED] + counts[Verdict.HOLDS]


def carried_over(by_victim: Sequence[Examination]) -> tuple[int, int]:
    """How many answers of other members the attacks on single members turn, of how many.

    Args:
        by_victim: as of every_victim: an attack on each member in turn, and last on the mixture.

    Returns:
        Answers turned, and those that could be: of members that were right before, to attacks on
        each other member.
    """
    members = range(len(by_victim) - 1)
    others = [by_victim[i].verdicts[j] for i in members for j in members if i != j]
    possible = [verdict for verdict in others if verdict is not Verdict.WRONG_BEFORE]
    return possible.count(Verdict.FOOLED), len(possible)
