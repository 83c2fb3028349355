"""Results, kept in their checkpoint's folder so that nothing is computed twice.

checkpoints/<name>/evaluations/<protocol>-<split>-<n>-<digest>.json

A file belongs to one set of weights, one protocol, one set of images and one seed, all of which its
digest covers: whatever changes, what was kept for the old is not shown for the new.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from dverge.checkpoints import CheckpointInfo
from dverge.data import ImageSet, Split
from dverge.errors import CheckpointError
from dverge.evaluation.measurements import Measurement
from dverge.evaluation.protocols import EvaluationConfig, Protocol
from dverge.results import Result
from dverge.stored import write_json

FOLDER = "evaluations"
FORMAT = 1


@dataclass(frozen=True)
class Images:
    """A set of images that figures are of.

    Attributes:
        split: which part of CIFAR-10.
        n: how many.
        data: the digest of their pixels and labels.
    """

    split: Split
    n: int
    data: str

    @classmethod
    def of(cls, images: ImageSet) -> Images:
        return cls(images.split, len(images), images.digest)

    @property
    def title(self) -> str:
        split = Split.TEST if self.split is Split.SAMPLE else self.split
        return f"{self.n:,} {split} images"


@dataclass(frozen=True)
class ResultFile:
    """The results of one checkpoint under one protocol on one set of images.

    Attributes:
        weights: the checkpoint's digest.
        protocol, version: what is measured; see protocols.
        split, n, data: which images, how many, and the digest of their pixels and labels.
        seed: of all that is random.
        results: those measured so far, in order.
    """

    weights: str
    protocol: Protocol
    version: int
    split: Split
    n: int
    data: str
    seed: int
    results: tuple[Result, ...] = ()

    @classmethod
    def of(cls, info: CheckpointInfo, config: EvaluationConfig, images: ImageSet) -> ResultFile:
        """The empty file of an evaluation of a checkpoint on these images."""
        protocol, version = config.protocol, config.version
        shared = (images.split, len(images), images.digest, config.seed)
        return cls(info.digest, protocol, version, *shared)

    @property
    def about(self) -> dict[str, Any]:
        """What the results are of, as plain JSON values."""
        return {name: value for name, value in asdict(self).items() if name != "results"}

    @property
    def images(self) -> Images:
        return Images(self.split, self.n, self.data)

    @property
    def name(self) -> str:
        """The file's name."""
        text = json.dumps([FORMAT, *self.about.values()])
        digest = hashlib.sha256(text.encode()).hexdigest()[:10]
        return f"{self.protocol}-{self.split}-{self.n}-{digest}.json"

    def find(self, measurement: Measurement) -> list[Result]:
        """The results of a measurement; none if it has not been made."""
        wanted = measurement.attack, measurement.parameters()
        return [result for result in self.results if _measurement_of(result) == wanted]

    def stamped(self, info: CheckpointInfo, device: str, results: Iterable[Result]) -> list[Result]:
        """Results with all that this file says they are of."""
        about = {name: getattr(self, name) for name in ("weights", "protocol", "data", "seed")}
        return [replace(each, checkpoint=info.name, device=device, **about) for each in results]


def _measurement_of(result: Result) -> tuple[str, dict[str, Any]]:
    """The attack and its parameters, the same for all of a measurement's results."""
    return result.attack, {k: v for k, v in result.parameters.items() if k != "victim"}


def results_under(kept: Iterable[ResultFile], protocol: Protocol, images: Images) -> list[Result]:
    """A checkpoint's results under a protocol on these images: of its seed with most measured.

    Args:
        kept: all that is kept of it.
    """
    fitting = [each for each in kept if each.protocol is protocol and each.data == images.data]
    chosen = min(fitting, key=lambda each: (-len(each.results), each.seed), default=None)
    return list(chosen.results) if chosen else []


def shared_images(kept: Iterable[Iterable[ResultFile]], *protocols: Protocol) -> list[Images]:
    """The images that protocols were measured on: what most share first; of equals, the most.

    Args:
        kept: of each ensemble.
        protocols: measured; an ensemble counts once for each of them.
    """
    counts: Counter[Images] = Counter()
    for results in kept:
        subjects = {(each.protocol, each.images) for each in results}
        counts.update(images for protocol, images in subjects if protocol in protocols)
    return sorted(counts, key=lambda images: (counts[images], images.n), reverse=True)


def read_results(info: CheckpointInfo, wanted: ResultFile) -> ResultFile:
    """What is kept in a file; it is empty where there is none, or none that can be read."""
    kept = _read(info.folder / FOLDER / wanted.name, info)
    return kept if kept is not None and kept.about == wanted.about else replace(wanted, results=())


def add_results(info: CheckpointInfo, file: ResultFile, results: Sequence[Result]) -> None:
    """Keep the results of one more measurement.

    Raises:
        CheckpointError: the checkpoint is gone, or its folder cannot be written in.
    """
    every = [*read_results(info, file).results, *results]
    path = info.folder / FOLDER / file.name
    value = {"format": FORMAT, **file.about, "finished": _by_measurement(every)}
    try:
        path.parent.mkdir(exist_ok=True)  # no parents: a deleted checkpoint must not come back
        write_json(path, value)
    except OSError as error:
        reason = "it was deleted" if not info.folder.is_dir() else error.strerror or str(error)
        raise CheckpointError(
            f"the results of checkpoint {info.name!r} cannot be kept in {path.parent}: {reason}."
        ) from error


def results_stamp(info: CheckpointInfo) -> tuple[tuple[str, int], ...]:
    """What changes whenever a checkpoint's results do: its files' names and times."""
    return tuple((file.name, file.stat().st_mtime_ns) for file in _files(info))


def all_results(info: CheckpointInfo) -> list[ResultFile]:
    """All that is kept of a checkpoint and still holds: of its weights, by today's protocols."""
    kept = [file for path in _files(info) if (file := _read(path, info)) is not None]
    today = [_of_today(each, info) for each in kept if each.weights == info.digest]
    return [each for each in today if each.results]


def _files(info: CheckpointInfo) -> list[Path]:
    folder = info.folder / FOLDER
    return sorted(folder.glob("[!.]*.json")) if folder.is_dir() else []


def _of_today(file: ResultFile, info: CheckpointInfo) -> ResultFile:
    """Without what the protocol does not hold any more."""
    config = EvaluationConfig((info.name,), file.protocol, seed=file.seed)
    due = config.known_measurements() if file.version == config.version else []
    return replace(file, results=tuple(each for m in due for each in file.find(m)))


def _read(path: Path, info: CheckpointInfo) -> ResultFile | None:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if value.pop("format") != FORMAT:
            return None
        measurements = value.pop("finished")
        value |= {"protocol": Protocol(value["protocol"]), "split": Split(value["split"])}
        file = ResultFile(**value)
        results = [
            result
            for each in measurements
            for result in file.stamped(info, each["device"], [Result(**r) for r in each["rows"]])
        ]
        return replace(file, results=tuple(results))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None  # it is computed anew and written over


def _by_measurement(results: Iterable[Result]) -> list[dict[str, Any]]:
    """Results as a file keeps them, each measurement's together."""
    groups: list[dict[str, Any]] = []
    for result in results:
        attack, parameters = _measurement_of(result)
        group = {"attack": attack, "parameters": parameters, "device": result.device}
        if not groups or groups[-1] != group | {"rows": groups[-1]["rows"]}:
            groups.append(group | {"rows": []})
        groups[-1]["rows"].append(result.measured())
    return groups
