"""Results on disk: what is kept is read back, and what belongs to something else is not used."""

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
from dverge.attacks import Norm
from dverge.checkpoints import CheckpointInfo
from dverge.data import Split
from dverge.errors import CheckpointError
from dverge.evaluation.measurements import Measurement
from dverge.evaluation.protocols import CURVE, PLANS, EvaluationConfig, Protocol
from dverge.evaluation.store import (
    ResultFile,
    add_results,
    all_results,
    read_all,
    read_results,
    results_stamp,
    results_under,
    shared_images,
)
from dverge.evaluation.strong import StrongAttack
from dverge.models import Ensemble
from dverge.results import Result, result_of

SHIPPED = Path(__file__).parents[2] / "checkpoints"
SEED = 3


def measurements(protocol: Protocol) -> list[Measurement]:
    return EvaluationConfig(("good",), protocol, seed=SEED).known_measurements()


CLEAN, STRONG = measurements(Protocol.CURVE)[:2]
FGSM = measurements(Protocol.STANDARD)[1]  # which the curve does not contain
RIGHT = torch.rand(20, generator=torch.Generator().manual_seed(0)) < 0.5


@pytest.fixture
def info(tmp_path: Path, ensemble: Ensemble) -> CheckpointInfo:
    return checkpoints.save("good", ensemble, method="vanilla", root=tmp_path / "checkpoints")


@pytest.fixture
def file(info: CheckpointInfo) -> ResultFile:
    """The empty file that the tests keep results in."""
    version = PLANS[Protocol.CURVE].version
    images = Split.SAMPLE, 20, "ab" * 32
    return ResultFile(info.digest, Protocol.CURVE, version, *images, SEED)


def measured(
    info: CheckpointInfo, file: ResultFile, measurement: Measurement = STRONG
) -> list[Result]:
    """The mixture's bits and answers, and a random member's shares, as an evaluation keeps them."""
    parameters = measurement.parameters()
    if measurement.attack != "clean":
        parameters |= {"victim": "worst"}
    right = RIGHT.repeat(file.n // 20 + 1)[: file.n]
    about: dict[str, Any] = {"parameters": parameters, "seconds": 1.25}
    named, said = (measurement.attack, file.split), torch.where(right, 3, 7)
    results = [
        result_of(right, "mixture", *named, said, warnings=["odd"], **about),
        result_of(right.double() / 3, "random-member", *named, **about),
    ]
    return file.stamped(info, "CPU, 1 threads", results)


def keep(info: CheckpointInfo, file: ResultFile, *made: Measurement) -> ResultFile:
    """Add the results of measurements one by one; returns the file as it must be read back."""
    results: list[Result] = []
    for measurement in made:
        found = measured(info, file, measurement)
        add_results(info, file, found)
        results += found
    return replace(file, results=tuple(results))


def only_file(info: CheckpointInfo) -> Path:
    (path,) = (info.folder / "evaluations").iterdir()
    return path


def test_what_is_kept_is_read_back(info: CheckpointInfo, file: ResultFile) -> None:
    assert read_results(info, file) == file
    kept = keep(info, file, CLEAN, FGSM, STRONG)
    again = read_results(info, file)
    assert again == kept
    assert isinstance(again.split, Split) and isinstance(again.protocol, Protocol)
    for measurement in (CLEAN, FGSM, STRONG):
        assert again.find(measurement) == measured(info, file, measurement)
    assert again.find(CLEAN)[0].right().equal(RIGHT)
    assert again.find(CLEAN)[0].predicted().equal(torch.where(RIGHT, 3, 7))
    assert only_file(info).name == file.name
    assert file.name.startswith("curve-sample-20-")
    current = [*measured(info, file, CLEAN), *measured(info, file, STRONG)]  # a curve has no FGSM
    assert all_results(info) == [replace(file, results=tuple(current))]


def test_a_file_on_disk(info: CheckpointInfo, file: ResultFile) -> None:
    """Its format: results are grouped by measurement, and say nothing that the file says."""
    keep(info, file, CLEAN, STRONG)
    value = json.loads(only_file(info).read_text())
    finished = value.pop("finished")
    about = {"weights": info.digest, "protocol": "curve", "version": file.version, "seed": SEED}
    assert value == {"format": 1, "split": "sample", "n": 20, "data": "ab" * 32} | about
    assert [each["attack"] for each in finished] == ["clean", "strong-linf"]
    mixture, random = measured(info, file)
    assert finished[1] == {
        "attack": "strong-linf",
        "parameters": STRONG.parameters(),
        "device": "CPU, 1 threads",
        "rows": [mixture.stored(), random.stored()],
    }
    assert "checkpoint" not in mixture.stored()


@pytest.mark.parametrize(
    "other",
    [measurements(Protocol.CURVE)[2], FGSM, StrongAttack(Norm.LINF, CURVE[0], SEED)],
    ids=["another eps", "another attack", "not cumulative"],
)
def test_another_measurement_is_not_found(
    info: CheckpointInfo, file: ResultFile, other: Measurement
) -> None:
    assert keep(info, file, STRONG, CLEAN).find(other) == []
    assert read_results(info, file).find(other) == []


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
def test_results_of_something_else_are_in_another_file(
    info: CheckpointInfo, file: ResultFile, field: str
) -> None:
    kept = keep(info, file, STRONG)
    other = replace(file, **{field: OTHERS[field]})
    assert other.name != file.name
    assert read_results(info, other) == other
    # A file of another content under this name is not used either.
    shutil.copy(only_file(info), info.folder / "evaluations" / other.name)
    assert read_results(info, other) == other
    assert keep(info, other, CLEAN) == read_results(info, other)
    assert read_results(info, file) == kept


def changed(**changes: Any) -> Callable[[str], str]:
    return lambda text: json.dumps(json.loads(text) | changes)


CORRUPT: dict[str, Callable[[str], str]] = {
    "empty": lambda text: "",
    "cut": lambda text: text[: len(text) // 2],
    "another format": changed(format=2),
    "no format": lambda text: text.replace('"format": 1,', ""),
    "a missing field": lambda text: text.replace('"seed": 3,', "", 1),
    "another field": changed(mood=1),
    "another protocol": changed(protocol="bend"),
    "another split": changed(split="x"),
    "a seed that is too large": changed(seed=2**31),
    "no rows": lambda text: text.replace('"rows"', '"lines"'),
    "foreign rows": lambda text: text.replace('"ci_low"', '"low"'),
    "rows of numbers": changed(finished=[{"rows": [1]}]),
    "a row without its victim": lambda text: text.replace('"victim"', '"draws"', 1),
    "rows of other images": lambda text: text.replace('"n": 20', '"n": 21', 1),
    "rows of another split": lambda text: text.replace('"split": "sample"', '"split": "test"', 1),
}


@pytest.mark.parametrize("damage", CORRUPT.values(), ids=CORRUPT)
def test_a_damaged_file_costs_only_itself(
    info: CheckpointInfo, file: ResultFile, damage: Callable[[str], str]
) -> None:
    """It is listed with the reason, and replaced when its results are measured again."""
    keep(info, file, STRONG)
    path, other = only_file(info), replace(file, seed=4)
    good = keep(info, other, CLEAN)
    text = path.read_text()
    path.write_text(damage(text))
    assert path.read_text() != text
    assert read_results(info, file) == file
    valid, (broken,) = read_all(info)
    assert valid == all_results(info) == [good]
    assert broken.path == path and f"{path} cannot be used (" in broken.reason
    keep(info, file, STRONG)
    assert path.read_text() == text
    assert read_all(info)[1] == []


def test_a_damaged_history_is_listed_with_the_results(info: CheckpointInfo) -> None:
    (info.folder / "history.jsonl").write_text("{}\n")
    valid, (broken,) = read_all(info)
    assert valid == [] and broken.name == "history.jsonl"


def test_all_results_are_of_these_weights_and_the_current_protocols(
    info: CheckpointInfo, file: ResultFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert all_results(info) == []
    sanity = replace(file, protocol=Protocol.SANITY, version=PLANS[Protocol.SANITY].version)
    others = [replace(file, **{field: OTHERS[field]}) for field in OTHERS if field != "protocol"]
    kept = [keep(info, each, CLEAN) for each in (file, sanity, *others)]
    keep(info, replace(file, n=17), FGSM)  # no current curve contains this measurement
    (info.folder / "evaluations" / "notes.txt").write_text("mine")
    expected = [each for each in kept if each.weights == info.digest and each.version != 99]
    assert sorted(all_results(info), key=repr) == sorted(expected, key=repr)
    assert len(expected) == 6
    newer = replace(PLANS[Protocol.CURVE], version=PLANS[Protocol.CURVE].version + 1)
    monkeypatch.setitem(PLANS, Protocol.CURVE, newer)
    assert [each.protocol for each in all_results(info)] == [Protocol.SANITY]


def test_all_that_is_shipped_is_used() -> None:
    """Each file under its name, and each of its results."""
    count = 0
    for info in checkpoints.list_all(SHIPPED)[0]:
        paths = sorted((info.folder / "evaluations").glob("*.json"))
        files, broken = read_all(info)
        assert broken == [] and [each.name for each in files] == [path.name for path in paths]
        for each, path in zip(files, paths, strict=True):
            stored = json.loads(path.read_text())["finished"]
            assert read_results(info, replace(each, results=())).results
            rows = [row for measurement in stored for row in measurement["rows"]]
            assert sorted(r.accuracy for r in each.results) == sorted(r["accuracy"] for r in rows)
            assert all(len(r.right()) in (0, each.n) for r in each.results)
            count += len(rows)
    assert count > 1400


def test_the_stamp_changes_with_the_results(info: CheckpointInfo, file: ResultFile) -> None:
    stamps = [results_stamp(info)]
    assert [name for name, _ in stamps[0]] == ["history.jsonl"]
    for each in (file, file, replace(file, seed=4)):
        keep(info, each, STRONG)
        stamps.append(results_stamp(info))
        assert results_stamp(info) == stamps[-1]
    (info.folder / "history.jsonl").unlink()
    assert len({*stamps, results_stamp(info)}) == 5


def test_the_seed_with_most_results_counts(info: CheckpointInfo, file: ResultFile) -> None:
    """Of equally many, the lowest seed; other images and protocols do not count."""
    few, many = keep(info, file, CLEAN), keep(info, replace(file, seed=4), CLEAN, STRONG)
    same = keep(info, replace(file, seed=2), CLEAN)
    assert results_under([few, many, same], Protocol.CURVE, file.images) == list(many.results)
    assert results_under([few, same], Protocol.CURVE, file.images) == list(same.results)
    assert results_under([few], Protocol.STANDARD, file.images) == []
    other = replace(file, data="cd" * 32)
    assert results_under([few], Protocol.CURVE, other.images) == []


def test_the_images_that_most_share_come_first(file: ResultFile) -> None:
    """An ensemble counts once for each protocol; of equals, the most images come first."""
    few, many, most = (replace(file, n=n, data=f"{n:064}") for n in (10, 20, 30))
    again, other = replace(few, seed=4), replace(few, protocol=Protocol.STANDARD)
    kept = [[few, again, other, most], [few, many]]
    assert [each.n for each in shared_images(kept, Protocol.CURVE)] == [10, 30, 20]
    assert [each.n for each in shared_images(kept[:1], Protocol.CURVE)] == [30, 10]
    both = shared_images(kept[:1], Protocol.CURVE, Protocol.STANDARD)
    assert [each.n for each in both] == [10, 30]
    assert shared_images(kept, Protocol.REPORT) == []


def test_a_renamed_copy_keeps_its_results(info: CheckpointInfo, file: ResultFile) -> None:
    keep(info, file, STRONG)
    copy = checkpoints.read(Path(shutil.copytree(info.folder, info.folder.with_name("copy"))))
    assert list(read_results(copy, file).results) == measured(copy, file)
    assert {each.checkpoint for each in read_results(copy, file).results} == {"copy"}


# --- where nothing can be kept ---


def test_a_deleted_checkpoint_does_not_come_back(info: CheckpointInfo, file: ResultFile) -> None:
    shutil.rmtree(info.folder)
    message = r"results of checkpoint 'good' cannot be kept in .*: it was deleted\."
    with pytest.raises(CheckpointError, match=message):
        add_results(info, file, measured(info, file))
    assert not info.folder.exists()
    assert read_results(info, file) == file
    assert read_all(info) == ([], [])


def test_a_full_disk_leaves_what_was_kept(
    info: CheckpointInfo, file: ResultFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, value: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    kept = keep(info, file, CLEAN)
    monkeypatch.setattr("dverge.evaluation.store.write_json", full)
    with pytest.raises(CheckpointError, match=r"'good' cannot be kept .*: No space left on device"):
        keep(info, file, STRONG)
    assert read_results(info, file) == kept


def test_a_file_in_the_folders_place(info: CheckpointInfo, file: ResultFile) -> None:
    (info.folder / "evaluations").write_text("mine")
    with pytest.raises(CheckpointError, match="'good' cannot be kept in"):
        keep(info, file, STRONG)
    assert (info.folder / "evaluations").read_text() == "mine"
    assert read_results(info, file) == file
    assert read_all(info) == ([], [])


def test_results_do_not_break_the_checkpoint(info: CheckpointInfo, file: ResultFile) -> None:
    keep(info, file, STRONG)
    assert checkpoints.read(info.folder) == info
    assert len(checkpoints.load(info)) == 3
    assert checkpoints.list_all(info.folder.parent) == ([info], [])


# --- what results belong to ---


def test_a_result_states_what_it_belongs_to(info: CheckpointInfo, file: ResultFile) -> None:
    first = measured(info, file)[0]
    about = (first.checkpoint, first.weights, first.protocol, first.seed, first.data, first.device)
    assert about == ("good", info.digest, "curve", SEED, "ab" * 32, "CPU, 1 threads")
