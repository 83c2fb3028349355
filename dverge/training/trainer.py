"""The trainer of all methods: a generator that yields metrics and can be stopped and resumed."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dverge.data import ImageSet, Stream
from dverge.errors import ConfigError, TrainingError
from dverge.models import LAYERS, Ensemble, mix
from dverge.seeds import derive_seed
from dverge.training.config import Diversity, DvergeConfig, LayerChoice, TrainingConfig
from dverge.training.cpu_engine import CpuEngine
from dverge.training.engine import BatchInputs, Engine
from dverge.training.gpu_engine import GpuEngine
from dverge.training.objective import make_terms, noise_sets, stream_names, term_weights
from dverge.training.start import initial_members

# Reading the running loss waits for the device, and each reading is a row that the run keeps.
SECONDS_BETWEEN_READINGS = 0.25
MOST_READINGS_PER_EPOCH = 20


@dataclass(frozen=True)
class StepMetrics:
    """The running loss within an epoch.

    Attributes:
        epoch: epochs done, with the fraction of the current one.
        loss: each member's loss, the mean over the batches since the last StepMetrics.
    """

    epoch: float
    loss: list[float]


@dataclass(frozen=True)
class EpochMetrics:
    """The metrics of one epoch; losses are mean cross-entropies in nats, accuracies in [0, 1].

    Attributes:
        epoch: epochs done.
        train_loss: each member's loss, the mean over the epoch's batches as it trained.
        terms: by name, each member's unweighted terms of train_loss.
        layer: the layer whose features were distilled; None if none or several were.
        val_loss, val_accuracy: of each member, on the validation images.
        mixture_val_loss, mixture_val_accuracy: of the mixture, on the validation images.
        learning_rate: at the end of the epoch.
        images_per_second: training images, those of all members together.
        seconds: time spent in the epoch, before and after a resume together.
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

    `run()` yields after every batch: metrics, or None. The caller may stop at any yield; then
    `state_dict()` holds everything needed to resume. On a CPU, a resumed training is bit for bit
    the one that never stopped: everything random depends on the seed, epoch and batch alone.

    Args:
        config: the method and its settings.
        train: training images; the first config.training_images are used.
        validation: validation images.
        device: where to train.
        start: the ensemble to start from, at least config.members Conv; None for fresh members.

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
        self.members = initial_members(config, device, start)
        self.engine = engine_for(device)(self.members, config.momentum, config.weight_decay)
        used = train.subset(slice(config.training_images)).to(device)
        self.streams = [
            Stream(used, config.batch_size, config.seed, name, config.augmentation)
            for name in stream_names(config)
        ]
        self.batches_per_epoch = self.streams[0].batches_per_epoch
        self.validation = validation.to(device)
        self.epoch, self.batch, self.seconds = 0, 0, 0.0  # epochs done; batches, time of the next
        self.term_sums = self._zero_term_sums()  # over the batches of that epoch
        self.weight_sum = torch.zeros_like(self.engine.weights, dtype=torch.float64)

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
        """Weights, momentum buffers and position, as tensors and plain values."""
        state = {
            "engine": self.engine.state_dict(),
            "epoch": self.epoch,
            "batch": self.batch,
            "seconds": self.seconds,
            "sums": self.term_sums,
        }
        return state | {"averaged": self.weight_sum} if self.config.average_last else state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from a state_dict of the same config.

        Raises:
            TrainingError: the state belongs to another config.
        """
        try:
            self.engine.load_state_dict(state["engine"])
            self.epoch, self.batch, self.seconds = state["epoch"], state["batch"], state["seconds"]
            if state["sums"].shape != self.term_sums.shape:
                raise ValueError(f"sums has shape {tuple(state['sums'].shape)}")
            self.term_sums = state["sums"].to(self.device, copy=True)
            if self.config.average_last:
                self.weight_sum.copy_(state["averaged"])
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise TrainingError(
                "the saved state does not fit a training with these settings "
                f"({type(error).__name__}: {error})."
            ) from error

    def progress(self) -> float:
        """The share of all batches that is done, 0 to 1."""
        done = self.epoch * self.batches_per_epoch + self.batch
        return done / (self.config.epochs * self.batches_per_epoch)

    def layer(self) -> int:
        """The layer whose features are distilled in this batch; 0 if the method distils none."""
        if not isinstance(self.config, DvergeConfig):
            return 0
        if self.config.layer.fixed is not None:
            return self.config.layer.fixed
        parts = [self.config.seed, "layer", self.epoch]
        if self.config.layer is LayerChoice.BATCH:
            parts.append(self.batch)
        return random.Random(derive_seed(*parts)).randint(1, LAYERS)

    def _run_epoch(self) -> Iterator[StepMetrics | EpochMetrics | None]:
        unread, unread_batches = self._zero_term_sums(), 0
        last_reading = continued = time.perf_counter()
        streams = [stream.epoch(self.epoch, start=self.batch) for stream in self.streams]
        for batches in zip(*streams, strict=True):
            terms = self._iterate(batches)
            self.term_sums += terms
            unread += terms
            unread_batches += 1
            self.batch += 1
            now = time.perf_counter()
            self.seconds += now - continued
            continued = now
            if self.batch == self.batches_per_epoch:
                break  # the epoch's own metrics are what is yielded after its last batch
            metrics = None
            enough = unread_batches * MOST_READINGS_PER_EPOCH >= self.batches_per_epoch
            if enough and now - last_reading > SECONDS_BETWEEN_READINGS:
                done = self.epoch + self.batch / self.batches_per_epoch
                metrics = StepMetrics(done, self._member_losses(unread / unread_batches))
                unread, unread_batches, last_reading = self._zero_term_sums(), 0, now
            yield metrics
            continued = time.perf_counter()  # the caller's time is not training time
        yield self._end_epoch()

    def _iterate(self, batches: tuple[tuple[Tensor, Tensor], ...]) -> Tensor:
        """Train on one batch of each stream; the terms' unweighted values, T×M."""
        images = self.engine.encode(torch.stack([pixels for pixels, _ in batches]))
        labels = torch.stack([labels for _, labels in batches])
        noise = [
            self.engine.noise(sets, images, self.config.seed, name, self.epoch, self.batch)
            for name, sets in noise_sets(self.config).items()
        ]
        return self.engine.iterate(
            partial(make_terms, self.config),
            BatchInputs(images, labels, *noise),
            self.layer(),
            self._learning_rate(),
        )

    def _end_epoch(self) -> EpochMetrics:
        """Average the weights where the config asks for it, validate, and count the epoch."""
        config = self.config
        means = self.term_sums / self.batches_per_epoch
        train_loss = self._member_losses(means)
        layer, learning_rate, seconds = self.layer(), self._learning_rate(), self.seconds
        layer_varies = isinstance(config, DvergeConfig) and config.layer is LayerChoice.BATCH
        self._average_weights()
        member_loss, member_accuracy, loss, accuracy = self._validate()
        self._require_finite(member_loss)  # the last step alone may have made the weights infinite
        self.epoch, self.batch, self.seconds = self.epoch + 1, 0, 0.0
        self.term_sums = self._zero_term_sums()
        return EpochMetrics(
            epoch=self.epoch,
            train_loss=train_loss,
            terms=dict(zip(term_weights(config), means.tolist(), strict=True)),
            layer=None if layer_varies else layer or None,
            val_loss=member_loss,
            val_accuracy=member_accuracy,
            mixture_val_loss=loss,
            mixture_val_accuracy=accuracy,
            learning_rate=learning_rate,
            images_per_second=config.training_images * config.members / max(seconds, 1e-9),
            seconds=seconds,
        )

    def _average_weights(self) -> None:
        """Add up the weights at the ends of the last epochs; the training ends with their mean."""
        epochs_left = self.config.epochs - (self.epoch + 1)
        if epochs_left < self.config.average_last:
            self.weight_sum += self.engine.weights
            if epochs_left == 0:
                self.engine.weights.copy_(self.weight_sum / self.config.average_last)

    @torch.no_grad()
    def _validate(self) -> tuple[list[float], list[float], float, float]:
        """Loss and accuracy of each member, and of the mixture, on the validation images."""
        labels = self.validation.labels
        members = self.ensemble().member_log_probs(self.validation.pixels())
        networks = torch.cat([members, mix(members).unsqueeze(0)])
        losses = [F.nll_loss(log_probs, labels).item() for log_probs in networks]
        correct = [log_probs.argmax(1) == labels for log_probs in networks]
        accuracies = [each.double().mean().item() for each in correct]
        return losses[:-1], accuracies[:-1], losses[-1], accuracies[-1]

    def _learning_rate(self) -> float:
        return self.config.learning_rate * self.config.schedule.factor(self.progress())

    def _zero_term_sums(self) -> Tensor:
        """Zeros for the sums of the terms' values, float64 T×M."""
        shape = (len(term_weights(self.config)), self.config.members)
        return torch.zeros(shape, dtype=torch.float64, device=self.device)

    def _member_losses(self, terms: Tensor) -> list[float]:
        """Each member's loss from the unweighted terms T×M; raises TrainingError if not finite."""
        weights = terms.new_tensor(list(term_weights(self.config).values()))
        return self._require_finite((weights.unsqueeze(1) * terms).sum(0).tolist())

    def _require_finite(self, losses: list[float]) -> list[float]:
        for i, loss in enumerate(losses, 1):
            if not math.isfinite(loss):
                raise TrainingError(
                    f"the loss of submodel {i} became {loss} in epoch {self.epoch + 1}: the "
                    f"training diverged. {self._advice()}"
                )
        return losses

    def _advice(self) -> str:
        """What to change after a training has diverged."""
        if isinstance(self.config, DvergeConfig) and self.config.diversity is Diversity.EQ3:
            return (
                "The report warns of it: the loss of Eq. 3 has no lower bound. Set a cap (now "
                f"{self.config.cap:g}), lower alpha ({self.config.alpha:g}), or take Eq. 4."
            )
        return f"Lower the learning rate ({self.config.learning_rate:g})."


def engine_for(device: torch.device) -> type[Engine]:
    """The faster engine for a device."""
    return GpuEngine if device.type == "cuda" else CpuEngine
