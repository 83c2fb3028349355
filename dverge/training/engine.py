"""What a training needs done fast: distilled features, adversarial examples, and SGD steps.

An engine has a layout of its own for images. A set of images is one entry along the first
dimension of a tensor in that layout; all else treats such tensors as opaque, except that they
may be combined elementwise, indexed and expanded along that first dimension.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dverge.attacks import AttackConfig
from dverge.models import Conv, bind_parameters, flat_parameters
from dverge.seeds import derive_seed


@dataclass(frozen=True)
class Term:
    """A part of the loss: cross-entropies that members learn.

    Member m's part is weight · Σ_{s in learners[m]} mean over set s of min(cross-entropy, cap).
    A joint term is one loss of all members: the mixture's cross-entropy, as each member's value.

    Attributes:
        weight: below zero, it is unlearned.
        images: S sets in the engine's layout.
        labels: int64 S×N.
        learners: of each member, which sets it learns.
        cap: in nats; None for none.
        joint: they learn as one network; each learns all sets, and there is no cap.
    """

    weight: float
    images: Tensor
    labels: Tensor
    learners: tuple[tuple[int, ...], ...]
    cap: float | None = None
    joint: bool = False


class Given(NamedTuple):
    """What an iteration starts from.

    Attributes:
        images: a set from each stream, in the engine's layout.
        labels: int64 S×N.
        distill_noise, attack_noise: in [-1, 1], for random starts; empty where there is none.
    """

    images: Tensor
    labels: Tensor
    distill_noise: Tensor
    attack_noise: Tensor


class Engine(ABC):
    """M members in training; their parameters are views of `weights` from then on.

    Args:
        members: all on one device, of one type; float64 is for tests.
        momentum, weight_decay: of SGD.
    """

    def __init__(self, members: Sequence[Conv], momentum: float, weight_decay: float) -> None:
        self.count = len(members)
        self.momentum, self.weight_decay = momentum, weight_decay
        self.weights = flat_parameters(members)
        self.velocity = torch.zeros_like(self.weights)
        bind_parameters(members, self.weights)

    @abstractmethod
    def encode(self, images: Tensor) -> Tensor:
        """S×N×3×32×32 in the engine's layout."""

    @abstractmethod
    def decode(self, images: Tensor, count: int) -> Tensor:
        """The inverse of encode, for sets of `count` images."""

    @abstractmethod
    def distill(
        self, source: Tensor, target: Tensor, start: Tensor, layer: int, config: AttackConfig
    ) -> Tensor:
        """Every member's distilled features (Eq. 1) of one set of sources and one of targets.

        Args:
            source, target: one set each.
            start: M sets, where the descents begin.
        """

    @abstractmethod
    def attack(
        self, images: Tensor, labels: Tensor, start: Tensor, config: AttackConfig, mixture: bool
    ) -> Tensor:
        """L-inf PGD examples: against member m those of set m, or against the mixture of one set.

        Args:
            images, start: M sets; with `mixture`, one.
            labels: int64 M×N or 1×N.
        """

    @abstractmethod
    def step(self, terms: Sequence[Term], learning_rate: float | Tensor) -> Tensor:
        """One SGD step of every member; the terms' unweighted values, float64 T×M."""

    def iterate(
        self,
        terms: Callable[[Engine, Given, int], Sequence[Term]],
        given: Given,
        layer: int,
        learning_rate: float,
    ) -> Tensor:
        """One iteration: make the terms of the loss and step along them; see step."""
        return self.step(terms(self, given, layer), learning_rate)

    def noise(self, sets: int, like: Tensor, *seed: Any) -> Tensor:
        """Uniform in [-1, 1], a function of the seed and the kind of device alone."""
        generator = torch.Generator(like.device).manual_seed(derive_seed(*seed))
        shape = (sets, *like.shape[1:])
        drawn = torch.rand(shape, generator=generator, device=like.device, dtype=like.dtype)
        return drawn.mul_(2).sub_(1)

    def state_dict(self) -> dict[str, Tensor]:
        """Weights and momenta, M×62,006 each."""
        return {"weights": self.weights, "velocity": self.velocity}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from a state_dict, of any engine.

        Raises:
            KeyError, RuntimeError: it is of another number of members.
        """
        for name, own in self.state_dict().items():
            if state[name].shape != own.shape:
                raise RuntimeError(f"{name} has shape {tuple(state[name].shape)}")
            own.copy_(state[name])
