"""One image under one attack: what each member and the mixture say before and after."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from dverge.attacks import MIXTURE, AttackConfig, Victim, all_probabilities, attack
from dverge.data import CLASSES
from dverge.errors import ConfigError
from dverge.models import Ensemble


class Verdict(enum.StrEnum):
    """How one model fares on one attacked image."""

    HOLDS = "holds"
    FOOLED = "fooled"
    WRONG_BEFORE = "wrong before the attack"


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
    target: int | None = None

    @property
    def members(self) -> tuple[Verdict, ...]:
        return self.verdicts[:-1]

    @property
    def mixture(self) -> Verdict:
        return self.verdicts[-1]

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
    adversarial = attack(ensemble, image, aim, config, victim).images
    before, after = (all_probabilities(ensemble, x)[:, 0] for x in (image, adversarial))
    verdicts = tuple(
        judge(label, int(b), int(a)) for b, a in zip(before.argmax(1), after.argmax(1), strict=True)
    )
    return Examination(image, adversarial, label, before, after, verdicts, config, victim, target)


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
    ending = {
        Verdict.HOLDS: "the mixture holds",
        Verdict.FOOLED: "the mixture is fooled",
        Verdict.WRONG_BEFORE: "the mixture was wrong before the attack",
    }[mixture]
    return f"{', '.join(parts)}; {ending}." if wrong else f"{parts[0]}, {ending}."
