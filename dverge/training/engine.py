"""What every training needs to be fast: distilled features, adversarial examples, SGD steps.

An engine has its own layout for images. In it, the first dimension of a tensor counts sets of
images. Other code only combines such tensors elementwise, and indexes or expands the first
dimension.
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
    """A weighted part of the loss: cross-entropies that the members minimise.

    For member m it is weight · Σ_{s in learners[m]} mean over set s of min(cross-entropy, cap).
    A joint term is one loss for all members: the mixture's cross-entropy.

    Attributes:
        weight: if negative, the cross-entropy is maximised.
        images: S sets in the engine's layout.
        labels: int64 S×N.
        learners: for each member, the sets it learns.
        cap: in nats; None for no cap.
        joint: minimise the mixture's cross-entropy. Then each member learns all sets, and there
            is no cap.
    """

    weight: float
    images: Tensor
    labels: Tensor
    learners: tuple[tuple[int, ...], ...]
    cap: float | None = None
    joint: bool = False


class BatchInputs(NamedTuple):
    """The inputs of one iteration.

    Attributes:
        images: one set for each stream, in the engine's layout.
        labels: int64 S×N.
        distill_noise, attack_noise: in [-1, 1], for random starts; empty where there are none.
    """

    images: Tensor
    labels: Tensor
    distill_noise: Tensor
    attack_noise: Tensor


MakeTerms = Callable[["Engine", BatchInputs, int], Sequence[Term]]
"""Makes the terms of the loss from an engine, the inputs and the layer to distil from."""


class Engine(ABC):
    """Trains M members, whose parameters become views of `weights`.

    Args:
        members: all on one device and of one dtype (float64 only in tests).
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
        """Convert images S×N×3×32×32 to the engine's layout."""

    @abstractmethod
    def decode(self, images: Tensor, count: int) -> Tensor:
        """The inverse of encode, for sets of `count` images."""

    @abstractmethod
    def distill(
        self, source: Tensor, target: Tensor, start: Tensor, layer: int, config: AttackConfig
    ) -> Tensor:
        """Distil features of every member (Eq. 1): M sets of images.

        Args:
            source, target: one set each.
            start: M sets, where the descents start.
        """

    @abstractmethod
    def attack(
        self, images: Tensor, labels: Tensor, start: Tensor, config: AttackConfig, mixture: bool
    ) -> Tensor:
        """L-inf PGD examples: of set m against member m, or of one set against the mixture.

        Args:
            images, start: M sets; one set if mixture.
            labels: int64 M×N; 1×N if mixture.
        """

    @abstractmethod
    def step(self, terms: Sequence[Term], learning_rate: float | Tensor) -> Tensor:
        """Take one SGD step with every member; return the terms' unweighted values, float64 T×M."""

    def iterate(
        self, make_terms: MakeTerms, inputs: BatchInputs, layer: int, learning_rate: float
    ) -> Tensor:
        """One iteration: make the terms of the loss and step; returns what step does."""
        return self.step(make_terms(self, inputs, layer), learning_rate)

    def noise(self, sets: int, like: Tensor, *seed: Any) -> Tensor:
        """Uniform noise in [-1, 1], which the seed and the kind of device decide; empty for 0 sets.

        Args:
            like: any sets of images in the engine's layout.
        """
        if sets == 0:
            return like.new_zeros(0)
        generator = torch.Generator(like.device).manual_seed(derive_seed(*seed))
        shape = (sets, *like.shape[1:])
        uniform = torch.rand(shape, generator=generator, device=like.device, dtype=like.dtype)
        return uniform.mul_(2).sub_(1)

    def state_dict(self) -> dict[str, Tensor]:
        """Weights and momentum buffers, M×62,006 each."""
        return {"weights": self.weights, "velocity": self.velocity}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Copy a state_dict of any engine.

        Raises:
            KeyError, RuntimeError: it has another number of members.
        """
        for name, own in self.state_dict().items():
            if state[name].shape != own.shape:
                raise RuntimeError(f"{name} has shape {tuple(state[name].shape)}")
            own.copy_(state[name])
