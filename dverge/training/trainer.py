"""The trainer of all methods: a generator that yields metrics and can be stopped and resumed."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dverge.data import ImageSet, Stream
from dverge.errors import ConfigError, TrainingError
from dverge.models import LAYERS, Conv, Ensemble, mix, seeded_conv
from dverge.seeds import derive_seed
from dverge.training.config import (
    Diversity,
    DvergeConfig,
    LayerChoice,
    Schedule,
    TrainingConfig,
)
from dverge.training.engine import Engine, Given
from dverge.training.lanes import Lanes
from dverge.training.objective import noises, objective, streams, weights
from dverge.training.stacked import Stacked

READ_EVERY = 0.25  # seconds between looks at the running loss, which wait for the device
MOST_LOOKS = 20  # an epoch, so that the figures of a long training stay few


@dataclass(frozen=True)
class StepMetrics:
    """The running loss inside an epoch: the mean since the last look.

    Attributes:
        epoch: epochs done, with the fraction of this one, for the time axis.
        loss: of each member, its terms weighted and summed.
    """

    epoch: float
    loss: list[float]


@dataclass(frozen=True)
class EpochMetrics:
    """One epoch's figures; losses are mean cross-entropies in nats, accuracies in [0, 1].

    Attributes:
        epoch: epochs done.
        train_loss: of each member, the mean over the epoch's batches as it trained.
        terms: of each member by the term's name, what train_loss is the weighted sum of.
        layer: the one whose features were distilled, None if there was none or more than one.
        val_loss, val_accuracy: of each member, on the validation images.
        mixture_val_loss, mixture_val_accuracy: of the mixture, on the validation images.
        learning_rate: at the epoch's end.
        images_per_second: training images seen, of all members together.
        seconds: time spent in the epoch, over all sessions of a resumed run.
    """

    epoch: int
    train_loss: list[float]
    terms: dict[str, list[float]]
    layer: int | None
    val_loss: list[float]
    val_accuracy: list[float]
    mixture_val_loss: float
    mixture_val_accuracy: float
    learning_rate: float
    images_per_second: float
    seconds: float


class Training:
    """Trains the members of a config.

    `run()` yields after every batch: None, or metrics when there are some. Whoever iterates may
    stop at any yield; `state_dict()` then holds all that is needed to go on, and a training that
    goes on from it is, on a CPU, bit for bit the one that was never stopped. All that is random
    is a function of the seed, the epoch and the batch.

    Args:
        config: what to train.
        train: training images; the first config.training_images are used.
        validation: validation images.
        device: where to train.
        start: the ensemble to go on from, at least config.members Conv; fresh ones if None.

    Raises:
        ConfigError: there are too few images or members.
    """

    def __init__(
        self,
        config: TrainingConfig,
        train: ImageSet,
        validation: ImageSet,
        device: torch.device,
        start: Ensemble | None = None,
    ) -> None:
        if len(train) < config.training_images:
            raise ConfigError(
                f"training_images is {config.training_images:,}; there are {len(train):,} images."
            )
        self.config = config
        self.device = device
        self.members = _members(config, device, start)
        self.engine = engine_for(device)(self.members, config.momentum, config.weight_decay)
        self.terms, self.term_weights = objective(config), weights(config)
        self._weighting = torch.tensor(
            list(self.term_weights.values()), dtype=torch.float64, device=device
        ).unsqueeze(1)
        used = train.subset(slice(config.training_images)).to(device)
        self.streams = [
            Stream(used, config.batch_size, config.seed, name, config.augmentation)
            for name in streams(config)
        ]
        self.batches_per_epoch = self.streams[0].batches_per_epoch
        held_out = validation.to(device)
        self.validation = (held_out.pixels(), held_out.labels)
        self.epoch, self.batch, self.seconds = 0, 0, 0.0
        self.sums = self._no_sums()
        self.averaged = torch.zeros_like(self.engine.weights, dtype=torch.float64)

    def run(self) -> Iterator[StepMetrics | EpochMetrics | None]:
        """Train to the end, yielding after every batch.

        Raises:
            TrainingError: a loss is no longer finite.
        """
        while self.epoch < self.config.epochs:
            yield from self._run_epoch()

    def ensemble(self) -> Ensemble:
        """The members as they are now (shared, not copied)."""
        return Ensemble(self.members)

    def state_dict(self) -> dict[str, Any]:
        """Weights, momenta and position, as tensors and plain values."""
        state = {
            "engine": self.engine.state_dict(),
            "epoch": self.epoch,
            "batch": self.batch,
            "seconds": self.seconds,
            "sums": self.sums,
        }
        return state | {"averaged": self.averaged} if self.config.average_last else state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state_dict of the same config; bit for bit on the same kind of device.

        Raises:
            TrainingError: it is of another config.
        """
        try:
            self.engine.load_state_dict(state["engine"])
            self.epoch, self.batch, self.seconds = state["epoch"], state["batch"], state["seconds"]
            if state["sums"].shape != self.sums.shape:
                raise ValueError(f"sums has shape {tuple(state['sums'].shape)}")
            self.sums = state["sums"].to(self.device, copy=True)
            if self.config.average_last:
                self.averaged.copy_(state["averaged"])
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise TrainingError(
                "the saved state does not fit a training with these settings "
                f"({type(error).__name__}: {error})."
            ) from error

    def progress(self) -> float:
        """Share of all batches that is done, 0 to 1."""
        done = self.epoch * self.batches_per_epoch + self.batch
        return done / (self.config.epochs * self.batches_per_epoch)

    def layer(self) -> int:
        """The layer to distil from in this batch; 0 where nothing is distilled."""
        if not isinstance(self.config, DvergeConfig):
            return 0
        if self.config.layer.fixed is not None:
            return self.config.layer.fixed
        parts = [self.config.seed, "layer", self.epoch]
        if self.config.layer is LayerChoice.BATCH:
            parts.append(self.batch)
        return random.Random(derive_seed(*parts)).randint(1, LAYERS)

    def given(self, batches: tuple[tuple[Tensor, Tensor], ...]) -> Given:
        """An iteration's inputs: a batch of each stream, and the noise of random starts."""
        images = self.engine.encode(torch.stack([pixels for pixels, _ in batches]))
        at = (self.epoch, self.batch)
        drawn = [
            self.engine.noise(sets, images, self.config.seed, name, *at)
            if sets
            else images.new_zeros(0)
            for name, sets in zip(("distill", "attack"), noises(self.config), strict=True)
        ]
        return Given(images, torch.stack([labels for _, labels in batches]), *drawn)

    def _no_sums(self) -> Tensor:
        """Room for the sums of the terms' values over an epoch's batches, T×M."""
        shape = (len(self.term_weights), self.config.members)
        return torch.zeros(shape, dtype=torch.float64, device=self.device)

    def _run_epoch(self) -> Iterator[StepMetrics | EpochMetrics | None]:
        recent, recent_batches = self._no_sums(), 0
        clock = time.perf_counter()
        last_look = clock
        epochs = [stream.epoch(self.epoch, start=self.batch) for stream in self.streams]
        for batches in zip(*epochs, strict=True):
            values = self.engine.iterate(
                self.terms, self.given(batches), self.layer(), self._learning_rate()
            )
            self.sums += values
            recent += values
            recent_batches += 1
            self.batch += 1
            now = time.perf_counter()
            self.seconds += now - clock
            clock = now
            if self.batch == self.batches_per_epoch:
                break  # so that no yield falls between the last batch and the epoch's figures
            metrics = None
            enough = recent_batches * MOST_LOOKS >= self.batches_per_epoch
            if enough and now - last_look > READ_EVERY:
                done = self.epoch + self.batch / self.batches_per_epoch
                metrics = StepMetrics(done, self._loss(recent / recent_batches))
                recent, recent_batches, last_look = self._no_sums(), 0, now
            yield metrics
            clock = time.perf_counter()  # time that the caller took is not training time
        yield self._end_epoch()

    def _end_epoch(self) -> EpochMetrics:
        means = self.sums / self.batches_per_epoch
        train_loss = self._loss(means)
        learning_rate, seconds = self._learning_rate(), self.seconds
        drawn_once = isinstance(self.config, DvergeConfig) and (
            self.config.layer is not LayerChoice.BATCH
        )
        layer = self.layer() if drawn_once else None
        self._average()
        member_loss, member_accuracy, loss, accuracy = self._validate()
        self._finite(member_loss)  # the last step alone can have spoilt the weights
        self.epoch, self.batch, self.seconds = self.epoch + 1, 0, 0.0
        self.sums = self._no_sums()
        images = self.config.training_images * self.config.members
        return EpochMetrics(
            epoch=self.epoch,
            train_loss=train_loss,
            terms=dict(zip(self.term_weights, means.tolist(), strict=True)),
            layer=layer,
            val_loss=member_loss,
            val_accuracy=member_accuracy,
            mixture_val_loss=loss,
            mixture_val_accuracy=accuracy,
            learning_rate=learning_rate,
            images_per_second=images / max(seconds, 1e-9),
            seconds=seconds,
        )

    def _average(self) -> None:
        """Add an epoch's last weights, if it is one of the last; their mean ends the training."""
        left = self.config.epochs - (self.epoch + 1)
        if left < self.config.average_last:
            self.averaged += self.engine.weights
            if left == 0:
                self.engine.weights.copy_(self.averaged / self.config.average_last)

    def _loss(self, values: Tensor) -> list[float]:
        """Each member's loss of the terms' values T×M, refused if it is not finite."""
        return self._finite((self._weighting * values).sum(0).tolist())

    @torch.no_grad()
    def _validate(self) -> tuple[list[float], list[float], float, float]:
        images, labels = self.validation
        members = self.ensemble().member_log_probs(images)
        scores = torch.cat([members, mix(members).unsqueeze(0)])
        losses = [F.nll_loss(score, labels).item() for score in scores]
        accuracies = [(score.argmax(1) == labels).double().mean().item() for score in scores]
        return losses[:-1], accuracies[:-1], losses[-1], accuracies[-1]

    def _learning_rate(self) -> float:
        base, done = self.config.learning_rate, self.progress()
        if self.config.schedule is Schedule.COSINE:
            return base * (1 + math.cos(math.pi * done)) / 2
        if self.config.schedule is Schedule.STEPS:
            return base * (0.01 if done >= 0.75 else 0.1 if done >= 0.5 else 1)
        return base

    def _finite(self, losses: list[float]) -> list[float]:
        for i, value in enumerate(losses, 1):
            if not math.isfinite(value):
                raise TrainingError(
                    f"the loss of submodel {i} became {value} in epoch {self.epoch + 1}: the "
                    f"training diverged. {self._mend()}"
                )
        return losses

    def _mend(self) -> str:
        if isinstance(self.config, DvergeConfig) and self.config.diversity is Diversity.EQ3:
            return (
                "The report warns of it: the loss of Eq. 3 has no lower bound. Set a cap (now "
                f"{self.config.cap:g}), lower alpha ({self.config.alpha:g}), or take Eq. 4."
            )
        return f"Lower the learning rate ({self.config.learning_rate:g})."


def engine_for(device: torch.device) -> type[Engine]:
    """The faster engine for a device."""
    return Stacked if device.type == "cuda" else Lanes


def _members(config: TrainingConfig, device: torch.device, start: Ensemble | None) -> list[Conv]:
    """The members to train, apart from those of the ensemble that they start from."""
    fresh = [seeded_conv(derive_seed(config.seed, "weights", i)) for i in range(config.members)]
    if start is not None:
        if len(start) < config.members:
            raise ConfigError(
                f"members is {config.members}; the checkpoint to start from has {len(start)}."
            )
        for member, trained in zip(fresh, start.members, strict=False):
            member.load_state_dict(trained.state_dict())
    return [member.to(device).requires_grad_(False) for member in fresh]
