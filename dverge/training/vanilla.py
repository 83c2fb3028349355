"""Vanilla pretraining: members trained independently on clean images (report, section 3.1)."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from dverge.data import ImageSet, Stream, derive_seed
from dverge.errors import ConfigError, TrainingError
from dverge.models import Conv, Ensemble, mix, seeded_conv
from dverge.training.config import Schedule, VanillaConfig
from dverge.training.engines import engine_for

READ_EVERY = 0.25  # seconds between looks at the running loss, which wait for the device


@dataclass(frozen=True)
class StepMetrics:
    """The running loss inside an epoch: the mean since the last look.

    Attributes:
        epoch: epochs done, with the fraction of this one, for the time axis.
        loss: of each member.
    """

    epoch: float
    loss: list[float]


@dataclass(frozen=True)
class EpochMetrics:
    """One epoch's figures; losses are mean cross-entropies in nats, accuracies in [0, 1].

    Attributes:
        epoch: epochs done.
        train_loss: of each member, the mean over the epoch's batches as it trained.
        val_loss, val_accuracy: of each member, on the validation images.
        mixture_val_loss, mixture_val_accuracy: of the mixture, on the validation images.
        learning_rate: at the epoch's end.
        images_per_second: training images seen, of all members together.
        seconds: time spent in the epoch, over all sessions of a resumed run.
    """

    epoch: int
    train_loss: list[float]
    val_loss: list[float]
    val_accuracy: list[float]
    mixture_val_loss: float
    mixture_val_accuracy: float
    learning_rate: float
    images_per_second: float
    seconds: float


class VanillaTraining:
    """Trains the members of a config in one pass over their streams.

    `run()` yields after every batch: None, or metrics when there are some. Whoever iterates may
    stop at any yield; `state_dict()` then holds all that is needed to go on, and a training that
    goes on from it is, on a CPU, bit for bit the one that was never stopped. All that is random
    is a function of the seed, the member and the epoch.

    Args:
        config: what to train.
        train: training images; the first config.training_images are used.
        validation: validation images.
        device: where to train.
    """

    def __init__(
        self, config: VanillaConfig, train: ImageSet, validation: ImageSet, device: torch.device
    ) -> None:
        if len(train) < config.training_images:
            raise ConfigError(
                f"training_images is {config.training_images:,}; there are {len(train):,} images."
            )
        self.config = config
        self.device = device
        self.members = [self._member(i) for i in range(config.members)]
        engine = engine_for(device)
        self.engine = engine(self.members, config.momentum, config.weight_decay)
        used = train.subset(slice(config.training_images)).to(device)
        self.streams = [self._stream(used, i) for i in range(config.members)]
        self.batches_per_epoch = self.streams[0].batches_per_epoch
        held_out = validation.to(device)
        self.validation = (held_out.pixels(), held_out.labels)
        self.epoch, self.batch, self.seconds = 0, 0, 0.0
        self.loss_sum = torch.zeros(config.members, dtype=torch.float64, device=device)

    def run(self) -> Iterator[StepMetrics | EpochMetrics | None]:
        """Train to the end, yielding after every batch.

        Raises:
            TrainingError: a loss is no longer finite.
        """
        while self.epoch < self.config.epochs:
            yield from self._run_epoch()

    def ensemble(self) -> Ensemble:
        """The members as they are now (shared, not copied)."""
        self.engine.sync()
        return Ensemble(self.members)

    def state_dict(self) -> dict[str, Any]:
        """Weights, momenta and position, as tensors and plain values."""
        return {
            "engine": self.engine.state_dict(),
            "epoch": self.epoch,
            "batch": self.batch,
            "seconds": self.seconds,
            "loss_sum": self.loss_sum,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state_dict of the same config and kind of device.

        Raises:
            TrainingError: it is of another config, or of the other kind of device.
        """
        state = copy.deepcopy(state)  # torch's optimisers would go on in the caller's tensors
        try:
            self.engine.load_state_dict(state["engine"])
            self.epoch, self.batch, self.seconds = state["epoch"], state["batch"], state["seconds"]
            self.loss_sum = state["loss_sum"].to(self.device)
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise TrainingError(
                f"the saved state does not fit a training on {self.device.type.upper()} with these "
                f"settings ({type(error).__name__}). Resume it on the kind of device it was "
                "started on (CPU or CUDA)."
            ) from error

    def progress(self) -> float:
        """Share of all batches that is done, 0 to 1."""
        done = self.epoch * self.batches_per_epoch + self.batch
        return done / (self.config.epochs * self.batches_per_epoch)

    def _member(self, i: int) -> Conv:
        return seeded_conv(derive_seed(self.config.seed, "weights", i)).to(self.device)

    def _stream(self, train: ImageSet, i: int) -> Stream:
        name = f"member-{i}"
        c = self.config
        return Stream(train, c.batch_size, c.seed, name, c.augmentation)

    def _run_epoch(self) -> Iterator[StepMetrics | EpochMetrics | None]:
        recent, recent_batches = torch.zeros_like(self.loss_sum), 0
        clock = time.perf_counter()
        last_look = clock
        epochs = [stream.epoch(self.epoch, start=self.batch) for stream in self.streams]
        for batches in zip(*epochs, strict=True):
            losses = self.engine.step(batches, self._learning_rate())
            self.loss_sum += losses
            recent += losses
            recent_batches += 1
            self.batch += 1
            now = time.perf_counter()
            self.seconds += now - clock
            clock = now
            if self.batch == self.batches_per_epoch:
                break  # so that no yield falls between the last batch and the epoch's figures
            metrics = None
            if now - last_look > READ_EVERY:
                done = self.epoch + self.batch / self.batches_per_epoch
                metrics = StepMetrics(done, self._finite((recent / recent_batches).tolist()))
                recent, recent_batches, last_look = torch.zeros_like(recent), 0, now
            yield metrics
            clock = time.perf_counter()  # time that the caller took is not training time
        yield self._end_epoch()

    def _end_epoch(self) -> EpochMetrics:
        train_loss = self._finite((self.loss_sum / self.batches_per_epoch).tolist())
        learning_rate = self._learning_rate()
        seconds = self.seconds
        member_loss, member_accuracy, loss, accuracy = self._validate()
        self._finite(member_loss)  # the last step alone can have spoilt the weights
        self.epoch, self.batch, self.seconds = self.epoch + 1, 0, 0.0
        self.loss_sum = torch.zeros_like(self.loss_sum)
        images = self.config.training_images * self.config.members
        return EpochMetrics(
            self.epoch,
            train_loss,
            member_loss,
            member_accuracy,
            loss,
            accuracy,
            learning_rate,
            images / max(seconds, 1e-9),
            seconds,
        )

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
                    f"training diverged. Lower the learning rate ({self.config.learning_rate:g})."
                )
        return losses
