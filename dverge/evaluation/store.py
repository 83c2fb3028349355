"""Finished measurements, kept in their checkpoint's folder so that nothing is computed twice.

checkpoints/<name>/evaluations/<protocol>-<split>-<n>-<digest>.json

A file belongs to one set of weights, one protocol, one set of images and one seed, all of which its
digest covers: whatever changes, what was kept for the old is not shown for the new.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dverge.checkpoints import CheckpointInfo
from dverge.data import ImageSet, Split
from dverge.errors import CheckpointError
from dverge.evaluation.accuracy import Accuracy
from dverge.evaluation.measurements import Measurement
from dverge.evaluation.protocols import EvaluationConfig, Protocol
from dverge.files import write_json

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
class Subject:
    """What a file of results is about.

    Attributes:
        weights: the checkpoint's digest.
        protocol, version: what is measured; see protocols.
        split, n, data: which images, how many, and the digest of their pixels and labels.
        seed: of all that is random.
    """

    weights: str
    protocol: Protocol
    version: int
    split: Split
    n: int
    data: str
    seed: int

    @classmethod
    def of(cls, info: CheckpointInfo, config: EvaluationConfig, images: ImageSet) -> Subject:
        """The subject of an evaluation of a checkpoint on these images."""
        protocol, version = config.protocol, config.version
        shared = (images.split, len(images), images.digest, config.seed)
        return cls(info.digest, protocol, version, *shared)

    @property
    def images(self) -> Images:
        return Images(self.split, self.n, self.data)

    @property
    def file_name(self) -> str:
        text = json.dumps([FORMAT, *asdict(self).values()])
        digest = hashlib.sha256(text.encode()).hexdigest()[:10]
        return f"{self.protocol}-{self.split}-{self.n}-{digest}.json"


@dataclass(frozen=True)
class Finished:
    """One measurement's rows, and what they were computed on."""

    attack: str
    parameters: dict[str, Any]
    device: str
    rows: list[Accuracy]


@dataclass(frozen=True)
class Row:
    """A figure with all that it is of."""

    checkpoint: str
    subject: Subject
    device: str
    figure: Accuracy

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values, without the bit for each image."""
        about = self.subject
        values = {"checkpoint": self.checkpoint, **self.figure.to_dict()}
        values.pop("held", None)
        return values | {
            "protocol": str(about.protocol),
            "seed": about.seed,
            "data": about.data,
            "weights": about.weights,
            "device": self.device,
            "images_per_second": _speed(self.figure),
        }


def rows_of(info: CheckpointInfo, subject: Subject, finished: Finished) -> list[Row]:
    """A finished measurement's rows, each with all that it is of."""
    return [Row(info.name, subject, finished.device, figure) for figure in finished.rows]


def _speed(figure: Accuracy) -> float | None:
    """Images a second under the attacks behind a figure."""
    return round(figure.n / figure.seconds, 1) if figure.seconds else None


@dataclass(frozen=True)
class Results:
    """The content of a file."""

    subject: Subject
    finished: list[Finished] = field(default_factory=list)

    @property
    def rows(self) -> list[Accuracy]:
        return [row for each in self.finished for row in each.rows]

    def find(self, measurement: Measurement) -> Finished | None:
        """The measurement's rows, or None if it is not finished."""
        due = measurement.attack, measurement.parameters()
        return next((f for f in self.finished if (f.attack, f.parameters) == due), None)


def rows_under(
    info: CheckpointInfo, kept: Iterable[Results], protocol: Protocol, images: Images
) -> list[Row]:
    """A checkpoint's rows under a protocol on these images: of its seed with most measured.

    Args:
        kept: all that is kept of it.
    """
    fitting = [
        each
        for each in kept
        if each.subject.protocol is protocol and each.subject.data == images.data
    ]
    if not fitting:
        return []
    chosen = min(fitting, key=lambda each: (-len(each.finished), each.subject.seed))
    return [row for each in chosen.finished for row in rows_of(info, chosen.subject, each)]


def shared_images(kept: Iterable[Iterable[Results]], *protocols: Protocol) -> list[Images]:
    """The images that protocols were measured on: what most share first; of equals, the most.

    Args:
        kept: of each ensemble.
        protocols: measured; an ensemble counts once for each of them.
    """
    counts: Counter[Images] = Counter()
    for results in kept:
        subjects = {(each.subject.protocol, each.subject.images) for each in results}
        counts.update(images for protocol, images in subjects if protocol in protocols)
    return sorted(counts, key=lambda images: (counts[images], images.n), reverse=True)


def load_results(info: CheckpointInfo, subject: Subject) -> Results:
    """What is kept of a subject; empty where there is nothing, or nothing that can be read."""
    path = info.folder / FOLDER / subject.file_name
    kept = _read(path)
    return kept if kept is not None and kept.subject == subject else Results(subject)


def add_finished(info: CheckpointInfo, subject: Subject, finished: Finished) -> None:
    """Keep one more measurement.

    Raises:
        CheckpointError: the checkpoint is gone, or its folder cannot be written in.
    """
    kept = load_results(info, subject)
    path = info.folder / FOLDER / subject.file_name
    value = {"format": FORMAT, **asdict(subject)}
    value["finished"] = [_plain(each) for each in [*kept.finished, finished]]
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


def all_results(info: CheckpointInfo) -> list[Results]:
    """All that is kept of a checkpoint and still holds: of its weights, by today's protocols."""
    kept = [results for file in _files(info) if (results := _read(file)) is not None]
    today = [_of_today(each, info) for each in kept if each.subject.weights == info.digest]
    return [each for each in today if each.finished]


def _files(info: CheckpointInfo) -> list[Path]:
    folder = info.folder / FOLDER
    return sorted(folder.glob("[!.]*.json")) if folder.is_dir() else []


def _of_today(results: Results, info: CheckpointInfo) -> Results:
    """Without what the protocol does not hold any more."""
    about = results.subject
    config = EvaluationConfig((info.name,), about.protocol, seed=about.seed)
    due = config.known_measurements() if about.version == config.version else []
    return Results(about, [each for m in due if (each := results.find(m)) is not None])


def _read(path: Path) -> Results | None:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if value.pop("format") != FORMAT:
            return None
        finished = [
            Finished(**(each | {"rows": [Accuracy(**row) for row in each["rows"]]}))
            for each in value.pop("finished")
        ]
        value |= {"protocol": Protocol(value["protocol"]), "split": Split(value["split"])}
        return Results(Subject(**value), finished)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None  # it is computed anew and written over


def _plain(finished: Finished) -> dict[str, Any]:
    return {
        "attack": finished.attack,
        "parameters": finished.parameters,
        "device": finished.device,
        "rows": [row.to_dict() for row in finished.rows],
    }
