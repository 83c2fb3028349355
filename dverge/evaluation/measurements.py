"""What is measured: queries, which ask every model about every image, and attacks on one victim.

A measurement says which images to show to the models; counting.py counts the answers. A new attack
is a subclass of AimedAttack in a file of its own and an entry of a list in protocols.py.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dverge.attacks import (
    MIXTURE,
    Attack,
    AttackConfig,
    Norm,
    Through,
    Victim,
    image_starts,
    report_attack,
)
from dverge.attacks.gradient import Objective, ascend, value_and_gradient, victim_objective
from dverge.attacks.report import EPS, report_settings
from dverge.checkpoints import CheckpointInfo
from dverge.evaluation.predictions import answers
from dverge.models import Ensemble

FIRST_ATTEMPT, FURTHER_ATTEMPTS = 0.65, 0.25  # share of the images attacked, for a usual ensemble


@dataclass(frozen=True)
class Batch:
    """N images to measure on, on the ensemble's device.

    Attributes:
        pixels: N×3×32×32 in [0, 1].
        labels: N true classes.
        numbers: N positions in the official file.
        warnings: texts on the measurement's reliability; a measurement may append to it.
    """

    pixels: Tensor
    labels: Tensor
    numbers: Sequence[int]
    warnings: list[str]


class Measurement(ABC):
    """A query or an attack at one setting.

    Attributes:
        attack: its name in results.
        worst_case: an image counts for a model only if the model is correct on it before and after
            every attempt, and for the mixture only if no attack on any victim fools it. If False,
            the answers to the one attempt count.
        cumulative: images that the measurement before it in the protocol has fooled count as
            fooled, and are not attacked again.
        cross_entropy: it follows the gradient of a cross-entropy, which vanishes where a model is
            all too sure.
        stops_early: an attack returns images that only just fool their victim, so what they do to
            other models is no measure of those.
        plain_torch: computed by PyTorch's own operations, not by the compiled kernels.
        needs_pyautoattack: needs the optional package of that name.
    """

    attack: str
    worst_case: bool = True
    cumulative: bool = False
    cross_entropy: bool = False
    stops_early: bool = False
    plain_torch: bool = False
    needs_pyautoattack: bool = False

    def against(self, info: CheckpointInfo) -> Measurement:
        """The measurement of this checkpoint, where what it does depends on which one it is."""
        return self

    @abstractmethod
    def parameters(self) -> dict[str, Any]:
        """Its settings as plain JSON values; with the name, what identifies kept results."""

    @abstractmethod
    def cost(self) -> float:
        """Work of one attempt at one image and one member, in gradients."""

    def attempts(self, victim: Victim | None) -> int:
        """How often each image is attacked for a victim, unless an attempt has succeeded."""
        return 1

    @abstractmethod
    def victims(self, members: int) -> Sequence[Victim | None]:
        """The victims, one after the other: each member first. None is every model at once."""

    @abstractmethod
    def answers(
        self, ensemble: Ensemble, batch: Batch, victim: Victim | None, attempt: int
    ) -> Tensor:
        """(M+1)×N classes that the members and, last, the mixture predict on what it shows.

        An image counts for a model where that is the true class.
        """

    def batch_size(self, device: torch.device) -> int:
        """How many images to measure at once: about a second's work on a CPU, many on a GPU."""
        return 256 if device.type == "cpu" else 4096


def members_followed(victim: Victim | None, members: int) -> int:
    """The number of members whose gradients or answers an attempt at the victim computes."""
    return members if victim is None else len(victim.followed(members))


def expected_gradients(measurement: Measurement, members: int) -> float:
    """Gradients of one member that an image takes, for a usual ensemble of so many members."""
    total = 0.0
    for victim in measurement.victims(members):
        further = measurement.attempts(victim) - 1
        tries = FIRST_ATTEMPT + FURTHER_ATTEMPTS * further if measurement.worst_case else 1.0
        total += members_followed(victim, members) * tries
    return measurement.cost() * total


class Query(Measurement):
    """Asks every model about every image."""

    @abstractmethod
    def shown(self, batch: Batch, attempt: int) -> Tensor:
        """The images to ask about, N×3×32×32 in [0, 1]."""

    def victims(self, members: int) -> Sequence[None]:
        return [None]

    def answers(
        self, ensemble: Ensemble, batch: Batch, victim: Victim | None, attempt: int
    ) -> Tensor:
        return answers(ensemble, self.shown(batch, attempt))


class AimedAttack(Measurement):
    """Attacks one victim at a time: each member, then the mixture."""

    @abstractmethod
    def changed(self, ensemble: Ensemble, batch: Batch, victim: Victim, attempt: int) -> Tensor:
        """The adversarial images, N×3×32×32 in [0, 1]."""

    def victims(self, members: int) -> Sequence[Victim]:
        return [*map(Victim, range(members)), MIXTURE]

    def answers(
        self, ensemble: Ensemble, batch: Batch, victim: Victim | None, attempt: int
    ) -> Tensor:
        assert victim is not None
        return answers(ensemble, self.changed(ensemble, batch, victim, attempt))


@dataclass(frozen=True)
class Clean(Query):
    """Accuracy on unchanged images."""

    attack = "clean"
    plain_torch = True

    def parameters(self) -> dict[str, Any]:
        return {}

    def cost(self) -> float:
        return 0.3

    def shown(self, batch: Batch, attempt: int) -> Tensor:
        return batch.pixels


@dataclass(frozen=True)
class Noise(Query):
    """Accuracy under random noise: each pixel value moves by eps, up or down by chance."""

    eps: float
    seed: int = 0
    attack = "noise"

    def parameters(self) -> dict[str, Any]:
        return {"eps": self.eps, "seed": self.seed}

    def cost(self) -> float:
        return 0.3

    def shown(self, batch: Batch, attempt: int) -> Tensor:
        """The images with noise; each image's depends on its number alone."""
        ball = AttackConfig(Norm.LINF, self.eps, self.eps, 1, random_start=True, seed=self.seed)
        grey = torch.full_like(batch.pixels, 0.5)
        drawn = image_starts(grey, batch.numbers, ball, restart=0)
        return (batch.pixels + self.eps * (drawn - 0.5).sign()).clamp(0, 1)


@dataclass(frozen=True)
class ZeroGradient(Measurement):
    """The share of images at which a model's cross-entropy has no gradient at all.

    It asks nothing: an image that counts has its true class for an answer, any other has −1.
    """

    attack = "zero-gradient"
    worst_case = False

    def parameters(self) -> dict[str, Any]:
        return {}

    def cost(self) -> float:
        return 2.0

    def victims(self, members: int) -> Sequence[None]:
        return [None]

    def answers(
        self, ensemble: Ensemble, batch: Batch, victim: Victim | None, attempt: int
    ) -> Tensor:
        return torch.where(without_gradient(ensemble, batch.pixels, batch.labels), batch.labels, -1)


def without_gradient(ensemble: Ensemble, pixels: Tensor, labels: Tensor) -> Tensor:
    """Bool (M+1)×N: the images at which the cross-entropy of a model is flat."""
    untargeted = AttackConfig(Norm.LINF, 0.0, 0.0, 1)
    rows = []
    for victim in [*map(Victim, range(len(ensemble))), MIXTURE]:
        objective = victim_objective(ensemble, labels, untargeted, victim)
        _, gradient = value_and_gradient(objective, pixels)
        rows.append((gradient == 0).flatten(1).all(1))
    return torch.stack(rows)


@dataclass(frozen=True)
class ProjectedGradient(AimedAttack):
    """FGSM, PGD and other settings of the projected-gradient loop.

    Attributes:
        attack: fgsm, pgd-linf or pgd-l2.
        config: its settings.
        thorough: attack the mixture through its mean logit and its mean loss, too.
    """

    attack: str
    config: AttackConfig
    thorough: bool = False
    cross_entropy = True

    def attempts(self, victim: Victim | None) -> int:
        return self.config.restarts

    def parameters(self) -> dict[str, Any]:
        c = self.config
        shown = {"eps": c.eps, "step_size": c.step_size, "steps": c.steps}
        if c.random_start:
            shown |= {"random_start": True, "restarts": c.restarts, "seed": c.seed}
        return shown

    def cost(self) -> float:
        return self.config.steps

    def victims(self, members: int) -> Sequence[Victim]:
        more = [Through.LOGIT, Through.LOSS] if self.thorough else []
        return [*super().victims(members), *(Victim(through=each) for each in more)]

    def objective(self, ensemble: Ensemble, batch: Batch, victim: Victim) -> Objective:
        """What the attack raises: the victim's cross-entropy for each image."""
        return victim_objective(ensemble, batch.labels, self.config, victim)

    def changed(self, ensemble: Ensemble, batch: Batch, victim: Victim, attempt: int) -> Tensor:
        start = batch.pixels
        if self.config.random_start:
            start = image_starts(start, batch.numbers, self.config, attempt)
        objective = self.objective(ensemble, batch, victim)
        return ascend(objective, start, batch.pixels, self.config, keep_all=False).images[-1]


@dataclass(frozen=True)
class ReportAttack(AimedAttack):
    """An attack as the report counts it.

    Images that are wrong before the attack are attacked, too, and the mixture's result follows the
    mixture's gradient alone.
    """

    kind: Attack
    worst_case = False
    cross_entropy = True
    plain_torch = True

    @property
    def attack(self) -> str:  # type: ignore[override]
        return str(self.kind)

    def parameters(self) -> dict[str, Any]:
        _, length, steps = report_settings(self.kind)
        return {"eps": EPS, "step_size": length, "steps": steps, "projected": False}

    def cost(self) -> float:
        return report_settings(self.kind)[2]

    def changed(self, ensemble: Ensemble, batch: Batch, victim: Victim, attempt: int) -> Tensor:
        return report_attack(ensemble, batch.pixels, batch.labels, self.kind, victim)
