"""An evaluation: checkpoints measured under a protocol, in pieces, to be stopped and resumed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dverge import checkpoints
from dverge.checkpoints import CheckpointInfo
from dverge.data import CLASSES, ImageSet, Split, load
from dverge.devices import describe_device, resolve_device
from dverge.errors import CheckpointError, ConfigError, DataError, DvergeError
from dverge.evaluation.counting import RobustCount
from dverge.evaluation.measurements import Batch, expected_gradients, without_gradient
from dverge.evaluation.predictions import in_batches, predictions
from dverge.evaluation.protocols import EvaluationConfig
from dverge.evaluation.store import LoadImages, ResultFile, add_results, read_results
from dverge.models import compiled
from dverge.results import RANDOM_NAME, Result, headlines, models_of

STATE = 2  # the form of an unfinished measurement's state; one of another form is not used
FLAT_BATCH = 256
FLAT = 0.01  # share of images without a gradient that is worth a warning


class Evaluation:
    """Measures each checkpoint by each measurement of a protocol.

    `run()` yields after every piece of work: None, or the results of a finished measurement. The
    caller may stop at any yield: results are kept in the checkpoint's folder as they come, and
    `state_dict()` holds the unfinished measurement. Neither the pieces nor the batches change a
    result, but for the last bits of floating-point numbers.

    Args:
        config: what to measure.
        load_images: loads the images of a split.
        root: the folder of checkpoints; the default one if None.

    Attributes:
        device: what computes.
        images: the images to measure on, on the CPU.
        infos: the checkpoints.
        measurements: those of the protocol.
        failures: why results are missing or not kept, one message a checkpoint; the other
            checkpoints are measured.

    Raises:
        ConfigError: more images than there are, a missing device or package, or checkpoints that
            classify into other classes.
        CheckpointError: there is no such checkpoint, or its card cannot be read.
        DataError: the images are not on this machine.
    """

    def __init__(
        self, config: EvaluationConfig, load_images: LoadImages = load, root: Path | None = None
    ) -> None:
        self.config = config
        self.device = resolve_device(config.device)
        self.infos = [checkpoints.read(checkpoints.find(name, root)) for name in config.checkpoints]
        for info in self.infos:
            _check_classes(info)
        self.measurements = config.measurements()
        self.images = _chosen_images(config, load_images)
        self.failures: list[str] = []
        self._finished = 0  # measurements, of all checkpoints
        self._unfinished: RobustCount | None = None
        self._saved: dict[str, Any] = {}

    @property
    def count(self) -> int:
        """The number of measurements, of all checkpoints."""
        return len(self.infos) * len(self.measurements)

    def progress(self) -> float:
        """Share of the expected work that is done, 0 to 1."""
        members = len(self.infos[0].card.members)
        costs = [expected_gradients(m, members) for m in self.measurements]
        whole, within = divmod(self._finished, len(costs))
        now = self._unfinished.progress() * costs[within] if self._unfinished else 0.0
        return (whole * sum(costs) + sum(costs[:within]) + now) / (len(self.infos) * sum(costs))

    def measured(self) -> float:
        """Measurements finished, with the fraction of the unfinished one."""
        return self._finished + (self._unfinished.progress() if self._unfinished else 0.0)

    def run(self) -> Iterator[list[Result] | None]:
        """Measure all checkpoints, a piece at a time; see the class."""
        images = self.images.to(self.device)
        for number, info in enumerate(self.infos):
            self._finished, self._unfinished = number * len(self.measurements), None
            try:
                yield from self._measure_checkpoint(info, images)
            except DvergeError as error:
                self.failures.append(str(error))
        self._finished, self._unfinished = self.count, None

    def state_dict(self) -> dict[str, Any]:
        """The unfinished measurement, empty if there is none."""
        if self._unfinished is None:
            return {}
        return {"at": self._position(), "tally": self._unfinished.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume a measurement from a state_dict when `run` comes to it."""
        self._saved = state

    def _measure_checkpoint(
        self, info: CheckpointInfo, images: ImageSet
    ) -> Iterator[list[Result] | None]:
        """Yield the results of each measurement: those that are kept, or new ones."""
        file = ResultFile.of(info, self.config, self.images)
        kept = read_results(info, file)
        loaded: _LoadedEnsemble | None = None
        results: list[Result] = []
        for measurement in self.measurements:
            before, results = results, kept.find(measurement)
            if not results:
                loaded = loaded or _LoadedEnsemble(info, images)
                answers = _answers_of(before) if measurement.cumulative else loaded.clean
                count = RobustCount(measurement.against(info), self.images.labels, answers)
                self._unfinished = count
                yield from self._work(count, loaded, images)
                device = describe_device(self.device)
                results = file.stamped(info, device, count.results(self.images.split))
                if measurement.cross_entropy:
                    results = [loaded.with_warning(each) for each in results]
                self._keep(info, file, results)
            yield results
            self._finished, self._unfinished = self._finished + 1, None

    def _work(
        self, count: RobustCount, loaded: _LoadedEnsemble, images: ImageSet
    ) -> Iterator[None]:
        """Finish the count of a measurement, one batch at a time."""
        if self._saved.get("at") == self._position():
            count.load_state_dict(self._saved["tally"])
        measurement = count.measurement
        ensemble = loaded.plain if measurement.plain_torch else loaded.fast
        while not count.done:
            began = time.perf_counter()
            victim, attempt, positions = count.next(measurement.batch_size(self.device))
            at = positions.to(self.device)
            numbers = self.images.indices[positions].tolist()
            batch = Batch(images.pixels(at), images.labels[at], numbers, count.warnings)
            answers = measurement.answers(ensemble, batch, victim, attempt)
            count.add(positions, answers, time.perf_counter() - began)
            yield None

    def _keep(self, info: CheckpointInfo, file: ResultFile, results: list[Result]) -> None:
        """Keep results in the checkpoint's folder; a failure is noted, the results are reported."""
        try:
            add_results(info, file, results)
        except CheckpointError as error:
            if str(error) not in self.failures:
                self.failures.append(str(error))

    def _position(self) -> list[Any]:
        """What identifies the unfinished measurement, and the form of its state."""
        number = self._finished % len(self.measurements)
        info = self.infos[self._finished // len(self.measurements)]
        config = self.config
        protocol = [str(config.protocol), config.version, config.seed]
        return [STATE, info.digest, self.images.digest, *protocol, number]


class _LoadedEnsemble:
    """A checkpoint's ensemble on the images' device.

    Attributes:
        plain: computed by PyTorch's own operations.
        fast: the same functions by compiled kernels, where there are any.
        clean: (M+1)×N classes on the CPU, what the models predict before any attack.
    """

    def __init__(self, info: CheckpointInfo, images: ImageSet) -> None:
        self._images = images
        self.plain = checkpoints.load(info).to(images.device)
        self.fast = compiled(self.plain)
        self.clean = predictions(self.plain, images).cpu()

    @cached_property
    def _flat(self) -> dict[str, float]:
        """By model, the share of images at which its cross-entropy has no gradient, 0 to 1."""
        parts = in_batches(self._images, FLAT_BATCH)
        flat = [without_gradient(self.fast, part.pixels(), part.labels) for part in parts]
        shares = torch.cat(flat, 1).double().mean(1).tolist()
        return dict(zip(models_of(len(shares) - 1), shares, strict=True))

    def with_warning(self, result: Result) -> Result:
        """The result of an attack on cross-entropy, with a warning if that often has no gradient.

        A member drawn at random is as good as the attacks on all members.
        """
        shares = self._flat
        share = shares.get(result.model, max(shares.values()))
        if share <= FLAT:
            return result
        text = (
            f"at {100 * share:.1f} % of the images the cross-entropy has no gradient at all, so "
            "this attack cannot change them and the accuracy is too high. The strong attack does "
            "not depend on it."
        )
        return replace(result, warnings=[*result.warnings, text])


def _answers_of(results: list[Result]) -> Tensor:
    """(M+1)×N classes: what each model predicts at the worst, from a measurement's results."""
    own = {r.model: r.predicted() for r in headlines(results) if r.model != RANDOM_NAME}
    return torch.stack([own[model] for model in models_of(len(own) - 1)])


def _chosen_images(config: EvaluationConfig, load_images: LoadImages) -> ImageSet:
    """The images to measure on, on the CPU.

    Without the full data, a thousand test images or fewer come from the bundled sample, which holds
    the same ones.
    """
    try:
        images = load_images(config.split)
    except DataError:
        sample = load_images(Split.SAMPLE)
        if config.split is not Split.TEST or (config.images or len(sample) + 1) > len(sample):
            raise
        images = ImageSet(Split.TEST, sample.images, sample.labels, sample.indices)
    count = len(images) if config.images is None else config.images
    if count > len(images):
        raise ConfigError(
            f"images is {count:,}; the {config.split} split has {len(images):,}. Ask for fewer, or "
            "leave it out for all."
        )
    return images.balanced(count)


def _check_classes(info: CheckpointInfo) -> None:
    if info.card.classes and tuple(info.card.classes) != CLASSES:
        raise ConfigError(
            f"checkpoint {info.name!r} classifies into other classes than CIFAR-10's "
            f"({', '.join(info.card.classes)}); it cannot be measured on these images or compared "
            "with the others. Leave it out."
        )
