"""Evaluations: nothing is measured twice, and what cannot be measured costs only itself."""

from __future__ import annotations

import errno
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dverge import checkpoints
from dverge.data import CLASSES, ImageSet, Split, full_data_available, load
from dverge.errors import CheckpointError, ConfigError, DataError, FileError
from dverge.evaluation.evaluation import Evaluation
from dverge.evaluation.protocols import PLANS, Protocol
from dverge.models import seeded_conv
from dverge.results import Result
from dverge.weights import import_weights
from tests.evaluation.small import (
    ATTACKS,
    Calls,
    Expected,
    Patch,
    all_results,
    config_of,
    evaluation_of,
    refuse,
)

pytestmark = pytest.mark.usefixtures("prepared")


# --- kept results ---


def test_nothing_is_measured_twice(kept: Path, monkeypatch: Patch, expected: Expected) -> None:
    monkeypatch.setattr("dverge.evaluation.evaluation.Batch", refuse)
    monkeypatch.setattr(checkpoints, "load", refuse)
    for names in (["three", "two"], ["two", "three"]):
        results = all_results(evaluation_of(kept, *names))
        assert results == [each for name in names for each in expected[name]]


def test_what_was_measured_before_a_stop_is_kept(root: Path, calls: Calls) -> None:
    running = evaluation_of(root, "two").run()
    while not next(running):
        pass
    assert {call.attack for call in calls} == {"clean"}
    calls.clear()
    all_results(evaluation_of(root, "two"))
    assert {call.attack for call in calls} == ATTACKS - {"clean"}


def mirrored(split: Split) -> ImageSet:
    sample = load(split)
    return ImageSet(split, sample.images.flip(3), sample.labels, sample.indices)


@pytest.mark.parametrize("change", ["weights", "version", "images", "seed", "pixels"])
def test_results_of_something_else_are_not_taken(
    kept: Path, monkeypatch: Patch, calls: Calls, expected: Expected, change: str
) -> None:
    settings = {"images": {"images": 11}, "seed": {"seed": 1}}.get(change, {})
    images = mirrored if change == "pixels" else load
    if change == "weights":  # another checkpoint takes the name, and the results with it
        shutil.copytree(kept / "three", kept / "new", ignore=shutil.ignore_patterns("evaluations"))
        (kept / "two" / "evaluations").rename(kept / "new" / "evaluations")
        shutil.rmtree(kept / "two")
        (kept / "new").rename(kept / "two")
    if change == "version":
        monkeypatch.setitem(PLANS, Protocol.CURVE, replace(PLANS[Protocol.CURVE], version=9))

    def results(**settings: Any) -> list[Result]:
        return all_results(Evaluation(config_of("two", **settings), images, kept))

    after = results(**settings)
    assert {call.attack for call in calls} == ATTACKS
    shown = [[(each.accuracy, each.seed) for each in those] for those in (after, expected["two"])]
    assert change == "version" or shown[0] != shown[1]
    calls.clear()
    assert results(**settings) == after
    if settings:  # it still knows the first
        assert results() == expected["two"]
    assert calls == []


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 1}', "null"])
def test_a_corrupt_file_of_results_is_replaced(
    kept: Path, expected: Expected, content: str
) -> None:
    (path,) = (kept / "two" / "evaluations").iterdir()
    path.write_text(content)
    for _ in range(2):
        assert all_results(evaluation_of(kept, "two")) == expected["two"]
        assert path.stat().st_size > 1000


# --- what cannot be measured ---


@pytest.mark.parametrize(
    ("names", "settings", "error", "message"),
    [
        ([], {"images": 1001}, ConfigError, r"images is 1,001; the sample split has 1,000\. Ask"),
        (["two", "four"], {}, CheckpointError, "no checkpoint 'four'; those there are: three, two"),
        ([], {"device": "cuda:99"}, ConfigError, "device is 'cuda:99'"),
        ([], {"split": Split.TEST, "images": None}, DataError, "python -m dverge data"),
        ([], {"split": Split.TEST, "images": 1001}, DataError, "python -m dverge data"),
        ([], {"split": Split.VALIDATION, "images": 5}, DataError, "python -m dverge data"),
    ],
)
def test_what_is_missing_is_refused(
    unmeasured: Path,
    tmp_path: Path,
    monkeypatch: Patch,
    names: list[str],
    settings: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    monkeypatch.setenv("DVERGE_DATA", str(tmp_path))
    with pytest.raises(error, match=message):
        evaluation_of(unmeasured, *names, **settings)


full_data = pytest.mark.skipif(not full_data_available(), reason="needs all of CIFAR-10")


@pytest.mark.parametrize("images", [1, 17, 1000])
@pytest.mark.parametrize(
    "data", ["none", pytest.param("full", marks=[pytest.mark.full_data, full_data])]
)
def test_a_thousand_test_images_are_the_samples(
    unmeasured: Path, tmp_path: Path, monkeypatch: Patch, images: int, data: str
) -> None:
    """Without the full data, and with it."""
    if data == "none":
        monkeypatch.setenv("DVERGE_DATA", str(tmp_path))
    chosen = evaluation_of(unmeasured, split=Split.TEST, images=images).images
    sample = load(Split.SAMPLE).balanced(images)
    assert chosen.split is Split.TEST
    assert chosen.digest == sample.digest and chosen.indices.equal(sample.indices)


def test_a_checkpoint_of_other_classes_is_refused(root: Path, tmp_path: Path) -> None:
    member = tmp_path / "m.pth"
    torch.save(seeded_conv(0).state_dict(), member)
    import_weights([member], "letters", root, list("abcdefghij"))
    import_weights([member], "reversed", root, CLASSES[::-1])
    import_weights([member], "named", root, CLASSES)
    for name in ("letters", "reversed"):
        with pytest.raises(
            ConfigError, match=f"{name!r} classifies into other classes than CIFAR-10"
        ):
            evaluation_of(root, "two", name)
    assert len(evaluation_of(root, "named").infos) == 1


def test_a_card_that_cannot_be_read_is_refused(root: Path) -> None:
    (root / "two" / "card.json").write_text("{")
    with pytest.raises(FileError, match=r"two/card\.json cannot be used"):
        evaluation_of(root)


@pytest.mark.parametrize("names", [("three", "two"), ("two", "three")])
def test_broken_weights_cost_only_their_own_results(
    root: Path, expected: Expected, names: tuple[str, str]
) -> None:
    (root / "three" / "member-2.safetensors").write_bytes(b"junk")
    evaluation, results = evaluation_of(root, *names), []
    for finished in evaluation.run():
        half = names.index("two") / 2  # the half of the work that is measured
        assert half <= evaluation.progress() <= half + 0.5
        results += finished or []
    assert evaluation.progress() == 1 and evaluation.measured() == evaluation.count
    assert results == expected["two"]
    (message,) = evaluation.failures
    assert "checkpoint 'three' cannot be used: member-2.safetensors does not match" in message


@pytest.mark.parametrize(
    ("deleted", "pieces", "message"),
    [("three", 1, "it was deleted"), ("three", 3, "it was deleted"), ("two", 1, "cannot be used")],
    ids=["at once", "later", "before its turn"],
)
def test_a_deleted_checkpoint_stays_deleted(
    root: Path, expected: Expected, deleted: str, pieces: int, message: str
) -> None:
    """Results that were measured are reported, though they cannot be kept."""
    evaluation, results = evaluation_of(root), []
    for number, finished in enumerate(evaluation.run(), 1):
        results += finished or []
        if number == pieces:
            shutil.rmtree(root / deleted)
    (failure,) = evaluation.failures
    assert f"checkpoint {deleted!r}" in failure and message in failure
    other = "two" if deleted == "three" else "three"
    assert [each for each in results if each.checkpoint == other] == expected[other]
    assert any(each.checkpoint == "three" for each in results)
    assert [path.name for path in root.iterdir()] == [other]


def test_results_are_reported_though_the_disk_is_full(
    root: Path, monkeypatch: Patch, expected: Expected
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("dverge.evaluation.store.write_json", full)
    evaluation = evaluation_of(root)
    results = [each for finished in evaluation.run() for each in finished or []]
    assert results == expected["three"] + expected["two"]
    for name, message in zip(("three", "two"), evaluation.failures, strict=True):
        assert f"results of checkpoint {name!r} cannot be kept" in message
        assert "No space left on device" in message


def test_an_image_that_all_models_get_wrong_is_not_attacked(root: Path, calls: Calls) -> None:
    sample = load(Split.SAMPLE)

    def wrong(split: Split) -> ImageSet:
        with torch.no_grad():
            members = checkpoints.load(root / "two").member_log_probs(sample.pixels(slice(0, 1)))
        free = set(range(10)) - set(members.argmax(2).flatten().tolist())
        free.discard(int(members.exp().mean(0).argmax()))
        label = torch.tensor([min(free)])
        return ImageSet(split, sample.images[:1], label, sample.indices[:1])

    results = all_results(Evaluation(config_of("two", images=1), wrong, root))
    assert {each.accuracy for each in results if each.attack != "pgd-l2"} == {0}
    assert {call.attack for call in calls} == {"clean", "pgd-l2"}  # as the report attacks


def test_the_checkpoints_and_the_images_stay_as_they_are(
    kept: Path, unmeasured: Path, expected: Expected
) -> None:
    files = [path for path in unmeasured.rglob("*.*") if path.is_file()]
    assert len(files) > 5
    for path in files:
        assert (kept / path.relative_to(unmeasured)).read_bytes() == path.read_bytes()
    assert load(Split.SAMPLE).balanced(12).digest == expected["two"][0].data
