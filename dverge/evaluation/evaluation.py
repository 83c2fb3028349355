"""An evaluation: measurements of checkpoints, in pieces that can be stopped and gone on with."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dverge import checkpoints
from dverge.checkpoints import CheckpointInfo
from dverge.data import CLASSES, ImageSet, Split, load
from dverge.devices import describe_device, resolve_device
from dverge.errors import CheckpointError, ConfigError, DataError, DvergeError
from dverge.evaluation.measurements import Batch, Measurement
from dverge.evaluation.predictions import predictions
from dverge.evaluation.protocols import EvaluationConfig
from dverge.evaluation.store import ResultFile, add_results, read_results
from dverge.evaluation.tally import Tally
from dverge.models import compiled
from dverge.results import Result

LoadImages = Callable[[Split], ImageSet]


class Evaluation:
    """Measures each checkpoint by each of a protocol's measurements.

    `run()` yields after every piece of work: None, or the rows of a measurement that is finished.
    Whoever iterates may stop at any yield; finished measurements are kept in the checkpoint's
    folder, and `state_dict()` holds what is known of the one in hand. What is found depends on
    neither the pieces nor the batches, but for the last bits of floating-point numbers.

    Args:
        config: what to measure.
        load_images: where the images come from.
        root: the folder of checkpoints; the default one if None.

    Attributes:
        device: where it is computed.
        images: those that are asked for.
        infos: the checkpoints.
        failures: why measurements are missing, one message a checkpoint; the others go on.

    Raises:
        ConfigError: more images than there are, a device or a package that is not there, or
            checkpoints of other classes than the images.
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
        self.images = _chosen(config, load_images)
        self.failures: list[str] = []
        self._done = 0  # measurements, of all checkpoints
        self._tally: Tally | None = None
        self._saved: dict[str, Any] | None = None

    @property
    def count(self) -> int:
        """Measurements in all."""
        return len(self.infos) * len(self.measurements)

    def progress(self) -> float:
        """Share of the work that is done, 0 to 1, as far as it can be foreseen."""
        costs = [m.cost() * m.restarts for m in self.measurements]
        whole, within = divmod(self._done, len(costs))
        now = self._tally.progress() * costs[within] if self._tally else 0.0
        return (whole * sum(costs) + sum(costs[:within]) + now) / (len(self.infos) * sum(costs))

    def measured(self) -> float:
        """Measurements done, with the fraction of the one in hand."""
        return self._done + (self._tally.progress() if self._tally else 0.0)

    def run(self) -> Iterator[list[Result] | None]:
        """Measure all; see the class."""
        images = self.images.to(self.device)
        for number, info in enumerate(self.infos):
            self._done, self._tally = number * len(self.measurements), None
            try:
                yield from self._measure_all(info, images)
            except DvergeError as error:
                self.failures.append(str(error))
        self._done, self._tally = self.count, None

    def state_dict(self) -> dict[str, Any]:
        """What is known of the measurement in hand."""
        return {} if self._tally is None else {"at": self._at(), "tally": self._tally.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state_dict; one of another measurement than comes next is left aside."""
        self._saved = state

    def _measure_all(self, info: CheckpointInfo, images: ImageSet) -> Iterator[list[Result] | None]:
        """Each measurement of a checkpoint: as it was kept, or made now and kept."""
        file = ResultFile.of(info, self.config, self.images)
        kept = read_results(info, file)
        network: _Network | None = None
        for measurement in self.measurements:
            results = kept.find(measurement)
            if not results:
                network = network or _Network(info, images)
                yield from self._measure(network, measurement, images)
                assert self._tally is not None
                found = self._tally.rows(self.images.split)
                results = file.stamped(info, describe_device(self.device), found)
                self._keep(info, file, results)
            yield results
            self._done, self._tally = self._done + 1, None

    def _measure(
        self, network: _Network, measurement: Measurement, images: ImageSet
    ) -> Iterator[None]:
        """Work the tally of one measurement to its end."""
        self._tally = tally = Tally(measurement, network.clean)
        if self._saved and self._saved.get("at") == self._at():
            tally.load_state_dict(self._saved["tally"])
        ensemble = network.exact if measurement.exact else network.fast
        while not tally.done:
            began = time.perf_counter()
            victim, restart, positions = tally.next(measurement.batch_size(self.device))
            here = positions.to(self.device)
            numbers = self.images.indices[positions].tolist()
            batch = Batch(images.pixels(here), images.labels[here], numbers, tally.warnings)
            right = measurement.right(ensemble, batch, victim, restart)
            tally.add(positions, right, time.perf_counter() - began)
            yield None

    def _keep(self, info: CheckpointInfo, file: ResultFile, results: list[Result]) -> None:
        """Keep a measurement's results; if that fails, note it: they are still reported."""
        try:
            add_results(info, file, results)
        except CheckpointError as error:
            if str(error) not in self.failures:
                self.failures.append(str(error))

    def _at(self) -> list[Any]:
        """Which measurement is in hand, of which weights and images."""
        which = self._done % len(self.measurements)
        info = self.infos[self._done // len(self.measurements)]
        return [info.digest, self.images.digest, str(self.config.protocol), self.config.seed, which]


class _Network:
    """A loaded checkpoint on the images' device.

    Attributes:
        exact: computes as PyTorch does.
        fast: the same functions, as fast as they can be had.
        clean: bool (M+1)×N on the CPU, which models are right before any attack.
    """

    def __init__(self, info: CheckpointInfo, images: ImageSet) -> None:
        self.exact = checkpoints.load(info).to(images.device)
        self.fast = compiled(self.exact)
        self.clean = (predictions(self.exact, images) == images.labels).cpu()


def _chosen(config: EvaluationConfig, load_images: LoadImages) -> ImageSet:
    """The images to measure on, on the CPU.

    A thousand test images or fewer are at hand without the full data: they are the sample's.
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
            f"checkpoint {info.name!r} tells other classes apart than CIFAR-10's "
            f"({', '.join(info.card.classes)}); it cannot be measured on these images or compared "
            "with the others. Leave it out."
        )
