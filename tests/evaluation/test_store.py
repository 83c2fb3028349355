"""Finished measurements on disk: what is kept comes back, what is of something else does not."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dverge import checkpoints
from dverge.attacks import fgsm
from dverge.checkpoints import CheckpointInfo
from dverge.data import Split, load
from dverge.errors import CheckpointError
from dverge.evaluation.measurements import Clean, Gradient
from dverge.evaluation.protocols import PLANS, EvaluationConfig, Protocol
from dverge.evaluation.store import (
    all_results,
    read_results,
    results_stamp,
    shared_images,
)
from dverge.models import Ensemble, seeded_conv
from dverge.results import Result, result_of

FGSM = Gradient("fgsm", fgsm(0.03))


@pytest.fixture
def info(tmp_path: Path, ensemble: Ensemble) -> CheckpointInfo:
    return checkpoints.save("good", ensemble, method="vanilla", root=tmp_path / "checkpoints")


@pytest.fixture
def subject(info: CheckpointInfo) -> Subject:
    version = PLANS[Protocol.CURVE].version
    return Subject(info.digest, Protocol.CURVE, version, Split.SAMPLE, 20, "ab" * 32, seed=3)


def finished(measurement: Clean | Gradient = FGSM) -> Finished:
    right = torch.rand(20, generator=torch.Generator().manual_seed(0)) < 0.5
    about: dict[str, Any] = {"parameters": {"eps": 0.03, "victim": "worst"}, "seconds": 1.25}
    figures = [
        result_of(right, "mixture", measurement.attack, Split.SAMPLE, warnings=["odd"], **about),
        result_of(right.double() / 3, "random-member", measurement.attack, Split.SAMPLE, **about),
    ]
    return Finished(measurement.attack, measurement.parameters(), "CPU, 1 threads", figures)


def only_file(info: CheckpointInfo) -> Path:
    (path,) = (info.folder / "evaluations").iterdir()
    return path


def test_there_and_back(info: CheckpointInfo, subject: Subject) -> None:
    assert read_results(info, subject) == Results(subject)
    add_finished(info, subject, finished(Clean()))
    add_finished(info, subject, finished())
    found = read_results(info, subject)
    assert found == Results(subject, [finished(Clean()), finished()])
    assert isinstance(found.subject.split, Split) and isinstance(found.subject.protocol, Protocol)
    assert found.find(FGSM) == finished()
    assert found.find(Clean()) == finished(Clean())
    assert found.rows == [*finished(Clean()).rows, *finished().rows]
    assert found.rows[0].right().equal(finished().rows[0].right())
    assert only_file(info).name.startswith("curve-sample-20-")
    today = [each for each in found.finished if each.attack == "clean"]  # a curve holds no FGSM
    assert all_results(info) == [Results(subject, today)]


@pytest.mark.parametrize(
    "other",
    [
        Gradient("fgsm", fgsm(0.031)),
        Gradient("pgd-linf", fgsm(0.03)),
        Clean(10, 256, 0),
    ],
)
def test_another_measurement_is_not_found(
    info: CheckpointInfo, subject: Subject, other: Clean | Gradient
) -> None:
    add_finished(info, subject, finished())
    add_finished(info, subject, finished(Clean()))
    assert read_results(info, subject).find(other) is None


OTHERS: dict[str, Any] = {
    "weights": "cd" * 32,
    "protocol": Protocol.SANITY,
    "version": 99,
    "split": Split.TEST,
    "n": 21,
    "data": "ef" * 32,
    "seed": 4,
}


@pytest.mark.parametrize("field", OTHERS)
def test_another_subject_is_another_file(
    info: CheckpointInfo, subject: Subject, field: str
) -> None:
    add_finished(info, subject, finished())
    other = replace(subject, **{field: OTHERS[field]})
    assert other.file_name != subject.file_name
    assert read_results(info, other) == Results(other)
    # Neither is a file that came to bear its name.
    shutil.copy(only_file(info), info.folder / "evaluations" / other.file_name)
    assert read_results(info, other) == Results(other)
    add_finished(info, other, finished(Clean()))
    assert read_results(info, other).finished == [finished(Clean())]
    assert read_results(info, subject).finished == [finished()]


CORRUPT: dict[str, Callable[[str], str | bytes]] = {
    "empty": lambda text: "",
    "cut": lambda text: text[: len(text) // 2],
    "no text": lambda text: b"\xff\xfe",
    "null": lambda text: "null",
    "a list": lambda text: "[]",
    "a number": lambda text: "3",
    "no fields": lambda text: "{}",
    "deep": lambda text: "[" * 100_000,
    "another format": lambda text: text.replace('"format": 1', '"format": 2'),
    "no format": lambda text: text.replace('"format": 1,', ""),
    "a missing field": lambda text: text.replace('"seed": 3,', "", 1),
    "another field": lambda text: text.replace('"seed": 3,', '"seed": 3, "mood": 1,', 1),
    "another protocol": lambda text: text.replace('"curve"', '"bend"'),
    "another split": lambda text: text.replace('"split": "sample"', '"split": "x"', 1),
    "no rows": lambda text: text.replace('"rows"', '"lines"'),
    "foreign rows": lambda text: text.replace('"ci_low"', '"low"'),
    "rows of numbers": lambda text: json.dumps(json.loads(text) | {"finished": [{"rows": [1]}]}),
    "finished null": lambda text: json.dumps(json.loads(text) | {"finished": None}),
    "finished numbers": lambda text: json.dumps(json.loads(text) | {"finished": [1]}),
}


@pytest.mark.parametrize("damage", CORRUPT.values(), ids=CORRUPT.keys())
def test_a_corrupt_file_counts_for_nothing_and_is_written_over(
    info: CheckpointInfo, subject: Subject, damage: Callable[[str], str | bytes]
) -> None:
    add_finished(info, subject, finished())
    path = only_file(info)
    text = path.read_text()
    changed = damage(text)
    assert changed != text
    path.write_bytes(changed if isinstance(changed, bytes) else changed.encode())
    assert read_results(info, subject) == Results(subject)
    assert all_results(info) == []
    add_finished(info, subject, finished())
    assert path.read_text() == text


def test_all_results_are_of_these_weights_and_todays_protocols(
    info: CheckpointInfo, subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert all_results(info) == []
    others = [replace(subject, **{field: OTHERS[field]}) for field in OTHERS if field != "protocol"]
    others.append(
        replace(subject, protocol=Protocol.SANITY, version=PLANS[Protocol.SANITY].version)
    )
    for each in (subject, *others):
        add_finished(info, each, finished(Clean()))
    nothing = replace(subject, n=17)
    add_finished(info, nothing, finished())  # no protocol of today holds such a measurement
    (info.folder / "evaluations" / "notes.txt").write_text("mine")
    found = [each.subject for each in all_results(info)]
    due = [
        each for each in (subject, *others) if each.weights == info.digest and each.version != 99
    ]
    assert sorted(found, key=repr) == sorted(due, key=repr)
    assert len(found) == 6
    newer = replace(PLANS[Protocol.CURVE], version=PLANS[Protocol.CURVE].version + 1)
    monkeypatch.setitem(PLANS, Protocol.CURVE, newer)
    assert [each.protocol for each in all_results(info)] == [Protocol.SANITY]


def test_the_stamp_changes_with_the_results(info: CheckpointInfo, subject: Subject) -> None:
    stamps = [results_stamp(info)]
    assert stamps == [()]
    for each in (subject, subject, replace(subject, seed=4)):
        add_finished(info, each, finished())
        stamps.append(results_stamp(info))
        assert results_stamp(info) == stamps[-1]
    assert len(set(stamps)) == 4


def test_the_images_that_most_share_come_first(subject: Subject) -> None:
    """An ensemble counts once for each protocol; of equals, the most images come first."""
    few, many, most = (replace(subject, n=n, data=f"{n:064}") for n in (10, 20, 30))
    again, other = replace(few, seed=4), replace(few, protocol=Protocol.STANDARD)
    kept = [[Results(each) for each in of] for of in ([few, again, other, most], [few, many])]
    assert [each.n for each in shared_images(kept, Protocol.CURVE)] == [10, 30, 20]
    assert [each.n for each in shared_images(kept[:1], Protocol.CURVE)] == [30, 10]
    both = shared_images(kept[:1], Protocol.CURVE, Protocol.STANDARD)
    assert [each.n for each in both] == [10, 30]
    assert shared_images(kept, Protocol.REPORT) == []


def test_a_copy_under_another_name_keeps_its_results(
    info: CheckpointInfo, subject: Subject
) -> None:
    add_finished(info, subject, finished())
    copy = checkpoints.read(Path(shutil.copytree(info.folder, info.folder.with_name("copy"))))
    assert read_results(copy, subject).finished == [finished()]
    (row, _) = rows_of(copy, subject, finished())
    assert row.checkpoint == "copy"


# --- where nothing can be kept ---


def test_a_deleted_checkpoint_does_not_come_back(info: CheckpointInfo, subject: Subject) -> None:
    shutil.rmtree(info.folder)
    with pytest.raises(
        CheckpointError,
        match=r"results of checkpoint 'good' cannot be kept in .*: it was deleted\.",
    ):
        add_finished(info, subject, finished())
    assert not info.folder.exists()
    assert read_results(info, subject) == Results(subject)
    assert all_results(info) == []


def full(path: Path, value: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_leaves_what_was_kept(
    info: CheckpointInfo, subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_finished(info, subject, finished(Clean()))
    monkeypatch.setattr("dverge.evaluation.store.write_json", full)
    with pytest.raises(CheckpointError, match=r"'good' cannot be kept .*: No space left on device"):
        add_finished(info, subject, finished())
    assert read_results(info, subject).finished == [finished(Clean())]


def test_a_file_in_the_folders_place(info: CheckpointInfo, subject: Subject) -> None:
    (info.folder / "evaluations").write_text("mine")
    with pytest.raises(CheckpointError, match="'good' cannot be kept in"):
        add_finished(info, subject, finished())
    assert (info.folder / "evaluations").read_text() == "mine"
    assert read_results(info, subject) == Results(subject)
    assert all_results(info) == []


def test_results_do_not_break_the_checkpoint(info: CheckpointInfo, subject: Subject) -> None:
    add_finished(info, subject, finished())
    assert checkpoints.read(info.folder) == info
    assert len(checkpoints.load(info)) == 3
    assert checkpoints.list_all(info.folder.parent) == ([info], [])


# --- rows ---


def test_a_row_says_all_that_it_is_of(info: CheckpointInfo, subject: Subject) -> None:
    first, second = rows_of(info, subject, finished())
    assert isinstance(first, Result)
    value = json.loads(json.dumps(first.to_dict()))
    figure = finished().rows[0]
    assert value == {
        "checkpoint": "good",
        "model": "mixture",
        "attack": "fgsm",
        "split": "sample",
        "n": 20,
        "accuracy": figure.accuracy,
        "ci_low": figure.ci_low,
        "ci_high": figure.ci_high,
        "parameters": {"eps": 0.03, "victim": "worst"},
        "seconds": 1.25,
        "warnings": ["odd"],
        "protocol": "curve",
        "seed": 3,
        "data": "ab" * 32,
        "weights": info.digest,
        "device": "CPU, 1 threads",
        "images_per_second": 16.0,
    }
    assert second.to_dict()["model"] == "random-member"


def test_speed_where_no_time_was_taken(info: CheckpointInfo, subject: Subject) -> None:
    figure = replace(finished().rows[0], seconds=0.0)
    assert Row("good", subject, "CPU", figure).to_dict()["images_per_second"] is None


def test_the_subject_is_of_the_weights_not_of_the_name(tmp_path: Path) -> None:
    images = load(Split.SAMPLE).balanced(20)
    root, config = tmp_path, EvaluationConfig(("a",), Protocol.CURVE, Split.SAMPLE, 20, seed=9)

    def subject_of(name: str, seed: int) -> Subject:
        ensemble = Ensemble([seeded_conv(seed)])
        info = checkpoints.save(name, ensemble, method="vanilla", root=root)
        return Subject.of(info, config, images)

    first, twin, other = subject_of("a", 0), subject_of("b", 0), subject_of("c", 1)
    assert first == twin != other
    assert (first.n, first.data, first.seed) == (20, images.digest, 9)
    assert first.version == PLANS[Protocol.CURVE].version
