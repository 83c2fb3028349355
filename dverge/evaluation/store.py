"""Results, kept in their checkpoint's folder so that nothing is computed twice.

checkpoints/<name>/evaluations/<protocol>-<split>-<n>-<digest>.json

A file belongs to one set of weights, one protocol, one set of images and one seed, and its digest
covers all of them: when one changes, the old results are not shown for the new.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from dverge.checkpoints import HISTORY, CheckpointInfo, damaged_history
from dverge.data import ImageSet, Split, load
from dverge.errors import CheckpointError, DataError, FileError, require
from dverge.evaluation.measurements import Measurement
from dverge.evaluation.protocols import PLANS, EvaluationConfig, Protocol
from dverge.results import Result
from dverge.stored import FORMAT, Broken, Count, Seed, read_json, write_json

FOLDER = "evaluations"
LoadImages = Callable[[Split], ImageSet]


@dataclass(frozen=True)
class Images:
    """A set of images that results belong to.

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
    version: Count
    split: Split
    n: Count
    data: str
    seed: Seed
    results: tuple[Result, ...] = ()

    @classmethod
    def of(cls, info: CheckpointInfo, config: EvaluationConfig, images: ImageSet) -> ResultFile:
        """The empty file of an evaluation of a checkpoint on these images."""
        protocol, version = config.protocol, config.version
        shared = (images.split, len(images), images.digest, config.seed)
        return cls(info.digest, protocol, version, *shared)

    @property
    def about(self) -> dict[str, Any]:
        """What the results belong to, as JSON values."""
        names = (each.name for each in fields(ResultFile) if each.name != "results")
        return {name: getattr(self, name) for name in names}

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
        return [result for result in self.results if _measurement_of(result)[:2] == wanted]

    def stamped(self, info: CheckpointInfo, device: str, results: Iterable[Result]) -> list[Result]:
        """Results with everything that this file says they belong to."""
        about = {name: getattr(self, name) for name in ("weights", "protocol", "data", "seed")}
        return [replace(each, checkpoint=info.name, device=device, **about) for each in results]


@dataclass(frozen=True)
class _StoredMeasurement:
    """What is read of a measurement; the file also has its attack and parameters, as the rows."""

    device: str
    rows: list[Result]

    def __post_init__(self) -> None:
        named = ["victim" in row.parameters for row in self.rows]
        require(all(named) or not any(named), "victim", "missing", "in all rows or in none")


@dataclass(frozen=True, kw_only=True)
class _StoredFile(ResultFile):
    """The shape of a file: its results are grouped by measurement."""

    format: int
    finished: list[_StoredMeasurement]

    def __post_init__(self) -> None:
        for row in (row for each in self.finished for row in each.rows):
            require(row.n == self.n, "n of a row", row.n, f"{self.n}, as the file's")
            require(row.split == self.split, "split of a row", row.split, f"{self.split}")


def _measurement_of(result: Result) -> tuple[str, dict[str, Any], str]:
    """The attack, its parameters and the device: the same for all of a measurement's results.

    The surrogates follow from the checkpoint.
    """
    parameters = {k: v for k, v in result.parameters.items() if k not in ("victim", "surrogates")}
    return result.attack, parameters, result.device


def find_images(wanted: Images, load_images: LoadImages = load) -> ImageSet | None:
    """These images, balanced over the classes; None if they are not on this machine."""
    for split in (wanted.split, Split.SAMPLE):  # which holds a thousand test images
        try:
            images = load_images(split)
        except DataError:
            continue
        if len(images) >= wanted.n:
            chosen = images.balanced(wanted.n)
            if chosen.digest == wanted.data:
                return ImageSet(wanted.split, chosen.images, chosen.labels, chosen.indices)
    return None


def results_under(kept: Iterable[ResultFile], protocol: Protocol, images: Images) -> list[Result]:
    """A checkpoint's results under a protocol on these images: of the seed with most results.

    Args:
        kept: the checkpoint's files.
    """
    fitting = [each for each in kept if each.protocol is protocol and each.data == images.data]
    chosen = min(fitting, key=lambda each: (-len(each.results), each.seed), default=None)
    return list(chosen.results) if chosen else []


def shared_images(kept: Iterable[Iterable[ResultFile]], *protocols: Protocol) -> list[Images]:
    """The images that protocols were measured on: first those that most ensembles share.

    Of those that equally many share, the largest set comes first.

    Args:
        kept: the files of each ensemble.
        protocols: measured; an ensemble counts once for each of them.
    """
    counts: Counter[Images] = Counter()
    for files in kept:
        measured = {(each.protocol, each.images) for each in files}
        counts.update(images for protocol, images in measured if protocol in protocols)
    return sorted(counts, key=lambda images: (counts[images], images.n), reverse=True)


def read_results(info: CheckpointInfo, wanted: ResultFile) -> ResultFile:
    """The file with its results; without any if there is no such file, or it is damaged."""
    empty = replace(wanted, results=())
    try:
        file = _read(info.folder / FOLDER / wanted.name, info)
    except FileError:  # everything is measured again, and the file replaced
        return empty
    return file if file.about == wanted.about else empty


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
    """A value that changes whenever a checkpoint's results or history do: files and times."""
    files = [*_files(info), info.folder / HISTORY]
    return tuple((file.name, file.stat().st_mtime_ns) for file in files if file.exists())


def all_results(info: CheckpointInfo) -> list[ResultFile]:
    """A checkpoint's results that are still valid: of its weights, by the protocols of today."""
    return read_all(info)[0]


def why_expired(info: CheckpointInfo, protocol: Protocol, images: Images) -> str:
    """What has changed in a protocol since a checkpoint was measured under it on these images.

    Empty if it was not, if nothing has, or if it has been measured again since.
    """
    plan, versions = PLANS[protocol], {0}
    for path in _files(info):
        with contextlib.suppress(FileError):
            file = _read(path, info)
            if (file.protocol, file.data, file.weights) == (protocol, images.data, info.digest):
                versions.add(file.version)
    return plan.change if 0 < max(versions) < plan.version else ""


def read_all(info: CheckpointInfo) -> tuple[list[ResultFile], list[Broken]]:
    """all_results, and the checkpoint's history and result files that cannot be used."""
    valid, broken = [], damaged_history(info)
    for path in _files(info):
        try:
            file = _read(path, info)
        except FileError as error:
            broken.append(Broken(path, str(error)))
            continue
        if file.weights == info.digest and (current := _current(file, info)).results:
            valid.append(current)
    return valid, broken


def _files(info: CheckpointInfo) -> list[Path]:
    folder = info.folder / FOLDER
    return sorted(folder.glob("[!.]*.json")) if folder.is_dir() else []


def _current(file: ResultFile, info: CheckpointInfo) -> ResultFile:
    """A file with only those results that the protocol still contains."""
    config = EvaluationConfig((info.name,), file.protocol, seed=file.seed)
    known = config.known_measurements() if file.version == config.version else []
    return replace(file, results=tuple(each for m in known for each in file.find(m)))


def _read(path: Path, info: CheckpointInfo) -> ResultFile:
    """Read a file. Raises FileError where it cannot be used."""
    stored = read_json(path, _StoredFile)
    file = ResultFile(**stored.about)
    results = (file.stamped(info, each.device, each.rows) for each in stored.finished)
    return replace(file, results=tuple(result for each in results for result in each))


def _by_measurement(results: Iterable[Result]) -> list[dict[str, Any]]:
    """Results as a file keeps them, each measurement's together."""
    names = ("attack", "parameters", "device")
    return [
        dict(zip(names, measurement, strict=True)) | {"rows": [row.stored() for row in rows]}
        for measurement, rows in groupby(results, _measurement_of)
    ]
