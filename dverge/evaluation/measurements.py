"""What is measured: each measurement is one way to change images, at one setting.

It says whose gradients it follows, makes the changed images, and leaves the counting to a Tally.
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
from dverge.attacks.gradient import ascend, value_and_gradient, victim_objective
from dverge.attacks.report import EPS, report_settings
from dverge.evaluation.predictions import answers
from dverge.models import Ensemble


@dataclass(frozen=True)
class Batch:
    """Images to be changed, N of them, on the ensemble's device.

    Attributes:
        pixels: N×3×32×32 in [0, 1].
        labels: N true classes.
        numbers: of the images in the official file.
        warnings: what is to be told of the measurement's reliability; added to.
    """

    pixels: Tensor
    labels: Tensor
    numbers: Sequence[int]
    warnings: list[str]


class Measurement(ABC):
    """One attack at one setting.

    Attributes:
        attack: its name in rows.
        restarts: tries; an image that still stands is tried again.
        pessimistic: an image counts as right only if it was right before the attack, too, and the
            mixture's figure is the worst over all victims, image by image.
        aimed: it is aimed at one model, the victim, at a time.
        exact: computed by PyTorch's own operations, as a plain script would, image for image.
        needs_package: the optional package pyautoattack.
    """

    attack: str
    restarts: int = 1
    pessimistic: bool = True
    aimed: bool = True
    exact: bool = False
    needs_package: bool = False

    @abstractmethod
    def parameters(self) -> dict[str, Any]:
        """What defines it, as plain JSON values."""

    def victims(self, members: int) -> list[Victim]:
        """What it is aimed at, one after the other; the mixture stands for nobody."""
        return [*(Victim(i) for i in range(members)), MIXTURE] if self.aimed else [MIXTURE]

    @abstractmethod
    def cost(self) -> float:
        """Work a try, image and member followed, in gradients."""

    @abstractmethod
    def changed(self, ensemble: Ensemble, batch: Batch, victim: Victim, restart: int) -> Tensor:
        """The changed images, N×3×32×32 in [0, 1]."""

    def right(self, ensemble: Ensemble, batch: Batch, victim: Victim, restart: int) -> Tensor:
        """(M+1)×N: which models are right on the changed images; the mixture is last."""
        return answers(ensemble, self.changed(ensemble, batch, victim, restart)) == batch.labels

    def batch_size(self, device: torch.device) -> int:
        """How many images at once: a second's work or so on a CPU, much at once on a GPU."""
        return 256 if device.type == "cpu" else 4096


@dataclass(frozen=True)
class Clean(Measurement):
    """No attack.

    Attributes:
        draws, draw_size, seed: the report's way, the mean over so many random draws of so many
            images each; the whole set if draws is 0.
    """

    draws: int = 0
    draw_size: int = 0
    seed: int = 0
    attack = "clean"
    aimed = False
    exact = True

    def parameters(self) -> dict[str, Any]:
        if not self.draws:
            return {}
        return {"draws": self.draws, "draw_size": self.draw_size, "seed": self.seed}

    def cost(self) -> float:
        return 0.3

    def changed(self, ensemble: Ensemble, batch: Batch, victim: Victim, restart: int) -> Tensor:
        return batch.pixels

    def mean_over_draws(self, right: Tensor) -> float | None:
        """The mean accuracy over the draws of N images; None where there are no draws."""
        if not self.draws:
            return None
        generator = torch.Generator().manual_seed(self.seed)
        size = min(self.draw_size, len(right))
        chosen = [torch.randperm(len(right), generator=generator)[:size] for _ in range(self.draws)]
        return right.cpu().double()[torch.stack(chosen)].mean().item()


@dataclass(frozen=True)
class Gradient(Measurement):
    """A setting of the projected-gradient loop.

    Attributes:
        attack: fgsm, pgd-linf or pgd-l2.
        config: its settings.
        thorough: the mixture is attacked through the mean logit and the mean loss, too.
    """

    attack: str
    config: AttackConfig
    thorough: bool = False

    @property
    def restarts(self) -> int:  # type: ignore[override]
        return self.config.restarts

    def parameters(self) -> dict[str, Any]:
        c = self.config
        shown = {"eps": c.eps, "step_size": c.step_size, "steps": c.steps}
        if c.random_start:
            shown |= {"random_start": True, "restarts": c.restarts, "seed": c.seed}
        return shown

    def victims(self, members: int) -> list[Victim]:
        more = [Victim(through=t) for t in (Through.LOGIT, Through.LOSS) if self.thorough]
        return super().victims(members) + more

    def cost(self) -> float:
        return self.config.steps

    def changed(self, ensemble: Ensemble, batch: Batch, victim: Victim, restart: int) -> Tensor:
        start = batch.pixels
        if self.config.random_start:
            start = image_starts(start, batch.numbers, self.config, restart)
        objective = victim_objective(ensemble, batch.labels, self.config, victim)
        path = ascend(objective, start, batch.pixels, self.config, keep_all=False)
        return path.images[-1]


@dataclass(frozen=True)
class Report(Measurement):
    """An attack of the report's own, and accuracy as it counts: images that are wrong before the
    attack are attacked, too, and the mixture's figure follows the mixture's gradient alone."""

    kind: Attack
    pessimistic = False
    exact = True

    @property
    def attack(self) -> str:  # type: ignore[override]
        return str(self.kind)

    def parameters(self) -> dict[str, Any]:
        _, length, steps = report_settings(self.kind)
        return {"eps": EPS, "step_size": length, "steps": steps, "projected": False}

    def cost(self) -> float:
        return report_settings(self.kind)[2]

    def changed(self, ensemble: Ensemble, batch: Batch, victim: Victim, restart: int) -> Tensor:
        return report_attack(ensemble, batch.pixels, batch.labels, self.kind, victim)


@dataclass(frozen=True)
class Noise(Measurement):
    """Random noise of an attack's size: each pixel value moves by eps, up or down by chance."""

    eps: float
    seed: int = 0
    attack = "noise"
    aimed = False

    def parameters(self) -> dict[str, Any]:
        return {"eps": self.eps, "seed": self.seed}

    def cost(self) -> float:
        return 0.3

    def changed(self, ensemble: Ensemble, batch: Batch, victim: Victim, restart: int) -> Tensor:
        ball = AttackConfig(Norm.LINF, self.eps, self.eps, 1, random_start=True, seed=self.seed)
        drawn = image_starts(torch.full_like(batch.pixels, 0.5), batch.numbers, ball, restart)
        return (batch.pixels + self.eps * (drawn - 0.5).sign()).clamp(0, 1)


@dataclass(frozen=True)
class ZeroGradient(Measurement):
    """Not an attack: "right" are images at which a model's loss has no gradient at all."""

    attack = "zero-gradient"
    pessimistic = False
    aimed = False

    def parameters(self) -> dict[str, Any]:
        return {}

    def cost(self) -> float:
        return 2.0

    def changed(self, ensemble: Ensemble, batch: Batch, victim: Victim, restart: int) -> Tensor:
        return batch.pixels

    def right(self, ensemble: Ensemble, batch: Batch, victim: Victim, restart: int) -> Tensor:
        config = AttackConfig(Norm.LINF, 0.0, 0.0, 1)
        rows = []
        for each in [*(Victim(i) for i in range(len(ensemble))), MIXTURE]:
            objective = victim_objective(ensemble, batch.labels, config, each)
            _, gradient = value_and_gradient(objective, batch.pixels)
            rows.append((gradient == 0).flatten(1).all(1))
        return torch.stack(rows)
