"""Evaluations: the same figures however they are cut up, and nothing is measured twice."""

from __future__ import annotations

import errno
import io
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dverge import checkpoints
from dverge.attacks import Attack, Norm, Victim, fgsm, pgd
from dverge.data import CLASSES, ImageSet, Split, full_data_available, load
from dverge.errors import CheckpointError, ConfigError, DataError
from dverge.evaluation.evaluation import Evaluation
from dverge.evaluation.measurements import Batch, Clean, Gradient, Measurement, Report
from dverge.evaluation.protocols import PLANS, EvaluationConfig, Protocol
from dverge.models import CompiledConv, Conv, Ensemble, seeded_conv
from dverge.results import Result
from dverge.weights import import_weights

SHIPPED = Path(__file__).parents[2] / "checkpoints" / "vanilla-3xconv-s0"
Calls = list[tuple[str, str, int, tuple[int, ...]]]


def small(seed: int) -> list[Measurement]:
    return [
        Clean(draws=3, draw_size=5, seed=seed),
        Gradient("fgsm", fgsm(0.004), thorough=True),
        Gradient("pgd-linf", pgd(Norm.LINF, 0.005, steps=2, restarts=2, seed=seed)),
        Report(Attack.PGD_L2),
    ]


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """The curve is another and shorter one."""
    plan = replace(PLANS[Protocol.CURVE], measurements=small, images=12)
    monkeypatch.setitem(PLANS, Protocol.CURVE, plan)


@pytest.fixture
def precise(monkeypatch: pytest.MonkeyPatch) -> None:
    """All is computed in float64, where the order of sums decides nothing."""
    read, pixels = checkpoints.load, ImageSet.pixels
    monkeypatch.setattr(checkpoints, "load", lambda info: read(info).double())
    monkeypatch.setattr(ImageSet, "pixels", lambda self, *at: pixels(self, *at).double())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two checkpoints: the shipped one, and one of two of its members."""
    root = tmp_path / "checkpoints"
    unwanted = shutil.ignore_patterns("evaluations")
    shutil.copytree(SHIPPED, root / "three", ignore=unwanted)
    two = Ensemble(list(checkpoints.load(SHIPPED).members)[1:])
    checkpoints.save("two", two, method="vanilla", root=root)
    return root


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Gets an entry for each piece of work."""
    made: Calls = []
    before = Measurement.right

    def right(
        self: Measurement, ensemble: Ensemble, batch: Batch, victim: Victim, restart: int
    ) -> Tensor:
        made.append((self.attack, str(victim), restart, tuple(batch.numbers)))
        return before(self, ensemble, batch, victim, restart)

    monkeypatch.setattr(Measurement, "right", right)
    return made


def batches_of(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Measurement, "batch_size", lambda self, device: size)


def config_of(*names: str, **given: Any) -> EvaluationConfig:
    given = {"split": Split.SAMPLE, "images": 12, "device": "cpu", **given}
    return EvaluationConfig.of(names or ("three", "two"), Protocol.CURVE, **given)


def evaluation_of(root: Path, *names: str, **given: Any) -> Evaluation:
    return Evaluation(config_of(*names, **given), root=root)


def untimed(rows: list[Result]) -> list[Result]:
    return [replace(row, figure=replace(row, seconds=0.0)) for row in rows]


def all_rows(evaluation: Evaluation) -> list[Result]:
    rows = [row for rows in evaluation.run() for row in rows or []]
    assert evaluation.failures == []
    return rows


def forget(root: Path) -> None:
    for folder in root.glob("*/evaluations"):
        shutil.rmtree(folder)


def refuse(*given: Any) -> Any:
    raise AssertionError("something is computed")


# --- cut up ---


def test_rows_of_each_checkpoint_and_measurement(root: Path) -> None:
    evaluation = evaluation_of(root)
    given = [rows for rows in evaluation.run() if rows is not None]
    assert len(given) == evaluation.count == 8
    for number, rows in enumerate(given):
        name, members = (("three", 3), ("two", 2))[number // 4]
        due = small(0)[number % 4]
        assert {row.checkpoint for row in rows} == {name}
        assert {row.attack for row in rows} == {due.attack}
        counts = {"clean": members + 2, "pgd-l2": members + 1, "fgsm": members + 6}
        assert len(rows) == counts.get(due.attack, members + 4)
        for row in rows:
            assert row.n == 12 and row.device.startswith("CPU")
            assert due.parameters().items() <= row.parameters.items()
            assert row.data == load(Split.SAMPLE).balanced(12).digest
            assert row.subject.weights == checkpoints.read(root / name).digest
    accuracies = {row.accuracy for rows in given for row in rows}
    assert len(accuracies) > 6


@pytest.mark.parametrize("size", [1, 5])
def test_the_size_of_batches_does_not_matter(
    root: Path, precise: None, monkeypatch: pytest.MonkeyPatch, calls: Calls, size: int
) -> None:
    whole = untimed(all_rows(evaluation_of(root, "two")))
    pieces = len(calls)
    forget(root)
    batches_of(size, monkeypatch)
    assert untimed(all_rows(evaluation_of(root, "two"))) == whole
    assert len(calls) - pieces > 2 * pieces
    assert max(len(numbers) for *_, numbers in calls[pieces:]) == size
    official = load(Split.SAMPLE).balanced(12).indices.tolist()
    assert {number for *_, numbers in calls for number in numbers} == set(official)
    assert set(official) != set(range(12))


def test_what_must_be_exact_is_pytorchs_own(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_attack: dict[str, type] = {}
    before = Measurement.right

    def right(
        self: Measurement, ensemble: Ensemble, batch: Batch, victim: Victim, restart: int
    ) -> Tensor:
        by_attack[self.attack] = type(ensemble.members[0])
        return before(self, ensemble, batch, victim, restart)

    monkeypatch.setattr(Measurement, "right", right)
    all_rows(evaluation_of(root, "two", images=2))
    fast, exact = CompiledConv, Conv
    assert by_attack == {"clean": exact, "fgsm": fast, "pgd-linf": fast, "pgd-l2": exact}


def test_neither_do_the_other_checkpoints(root: Path, precise: None) -> None:
    both = untimed(all_rows(evaluation_of(root)))
    forget(root)
    turned = untimed(all_rows(evaluation_of(root, "two", "three")))
    assert turned == [r for name in ("two", "three") for r in both if r.checkpoint == name]
    forget(root)
    alone = untimed(all_rows(evaluation_of(root, "two")))
    assert alone == [row for row in both if row.checkpoint == "two"]


def carried(state: dict[str, Any]) -> dict[str, Any]:
    """As a run keeps it."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    found: dict[str, Any] = torch.load(file, weights_only=True)
    return found


def test_stopped_at_any_yield_it_goes_on(
    root: Path, precise: None, monkeypatch: pytest.MonkeyPatch, calls: Calls
) -> None:
    """Nothing is done twice, and the figures are the same."""
    batches_of(4, monkeypatch)
    plan = replace(PLANS[Protocol.CURVE], measurements=lambda seed: small(seed)[::2])
    monkeypatch.setitem(PLANS, Protocol.CURVE, plan)
    make = partial(evaluation_of, root, "two", images=6)
    due, work = untimed(all_rows(make())), list(calls)
    yields = len(work) + 2
    assert len({call[:3] for call in work}) == 7 and yields > 12
    for stop in range(1, yields + 1):
        forget(root)
        calls.clear()
        first = make()
        list(islice(first.run(), stop))
        second = make()
        second.load_state_dict(carried(first.state_dict()))
        assert untimed(all_rows(second)) == due
        assert calls == work


def test_a_state_of_something_else_is_left_aside(root: Path, calls: Calls) -> None:
    first = evaluation_of(root, "three")
    running = first.run()
    while not (calls and calls[-1][0] == "pgd-linf"):
        next(running)
    state = first.state_dict()
    due = untimed(all_rows(evaluation_of(root, "two", seed=1)))
    forget(root)
    other = evaluation_of(root, "two", seed=1)
    other.load_state_dict(state)
    assert untimed(all_rows(other)) == due


def test_progress_rises_to_one(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batches_of(5, monkeypatch)
    evaluation = evaluation_of(root)
    found = [(evaluation.progress(), evaluation.measured())]
    for _ in evaluation.run():
        found.append((evaluation.progress(), evaluation.measured()))
    found.append((evaluation.progress(), evaluation.measured()))
    assert found[0] == (0, 0)
    assert found[-1] == (1, 8)
    for (before, done), (after, more) in pairwise(found):
        assert after >= before - 1e-12 and more >= done
    assert len({progress for progress, _ in found}) > len(found) / 2
    again = evaluation_of(root)  # all is kept: it does nothing
    rises = [again.progress() for _ in again.run()]
    assert rises == sorted(rises) and again.progress() == 1


# --- kept ---


def test_nothing_is_measured_twice(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = all_rows(evaluation_of(root))
    monkeypatch.setattr(Measurement, "right", refuse)
    monkeypatch.setattr(checkpoints, "load", refuse)
    assert all_rows(evaluation_of(root)) == rows
    turned = all_rows(evaluation_of(root, "two", "three"))
    assert turned == [row for name in ("two", "three") for row in rows if row.checkpoint == name]


def test_what_was_measured_before_a_stop_is_kept(root: Path, calls: Calls) -> None:
    running = evaluation_of(root, "two").run()
    while not next(running):
        pass
    assert {attack for attack, *_ in calls} == {"clean"}
    calls.clear()
    all_rows(evaluation_of(root, "two"))
    assert {attack for attack, *_ in calls} == {"fgsm", "pgd-linf", "pgd-l2"}


def other_weights(root: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Another checkpoint takes the name, and the results with it."""
    kept = (root / "two" / "evaluations").rename(root.parent / "kept")
    shutil.rmtree(root / "two")
    checkpoints.save("two", Ensemble([seeded_conv(0), seeded_conv(1)]), method="x", root=root)
    kept.rename(root / "two" / "evaluations")
    return {}


def newer_protocol(root: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    plan = PLANS[Protocol.CURVE]
    monkeypatch.setitem(PLANS, Protocol.CURVE, replace(plan, version=plan.version + 1))
    return {}


CHANGES: dict[str, Callable[[Path, pytest.MonkeyPatch], dict[str, Any]]] = {
    "weights": other_weights,
    "version": newer_protocol,
    "n": lambda root, monkeypatch: {"images": 11},
    "seed": lambda root, monkeypatch: {"seed": 1},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_what_was_kept_of_something_else_is_not_taken(
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    calls: Calls,
    change: Callable[[Path, pytest.MonkeyPatch], dict[str, Any]],
) -> None:
    before = all_rows(evaluation_of(root, "two"))
    given = change(root, monkeypatch)
    calls.clear()
    after = all_rows(evaluation_of(root, "two", **given))
    assert {attack for attack, *_ in calls} == {"clean", "fgsm", "pgd-linf", "pgd-l2"}
    assert {row.subject for row in after}.isdisjoint({row.subject for row in before})
    calls.clear()
    assert all_rows(evaluation_of(root, "two", **given)) == after
    assert calls == []
    if given:  # of the first it still knows
        assert all_rows(evaluation_of(root, "two")) == before
        assert calls == []


def test_the_pixels_are_part_of_what_is_kept(root: Path, calls: Calls) -> None:
    """Not the split's name alone."""
    before = all_rows(evaluation_of(root, "two"))
    sample = load(Split.SAMPLE)

    def turned(split: Split) -> ImageSet:
        return ImageSet(split, sample.images.flip(3), sample.labels, sample.indices)

    calls.clear()
    after = all_rows(Evaluation(config_of("two"), turned, root))
    assert calls and untimed(after) != untimed(before)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 1}', "null"])
def test_a_corrupt_file_of_results_is_computed_anew(
    root: Path, precise: None, content: str
) -> None:
    due = untimed(all_rows(evaluation_of(root, "two")))
    (path,) = (root / "two" / "evaluations").iterdir()
    path.write_text(content)
    assert untimed(all_rows(evaluation_of(root, "two"))) == due
    assert untimed(all_rows(evaluation_of(root, "two"))) == due
    assert path.stat().st_size > 1000


def test_a_measurement_that_is_new_is_added(
    root: Path, monkeypatch: pytest.MonkeyPatch, calls: Calls
) -> None:
    all_rows(evaluation_of(root, "two"))
    more = Gradient("pgd-l2", pgd(Norm.L2, 0.1, steps=2))
    plan = replace(PLANS[Protocol.CURVE], measurements=lambda seed: [*small(seed), more])
    monkeypatch.setitem(PLANS, Protocol.CURVE, plan)
    calls.clear()
    rows = all_rows(evaluation_of(root, "two"))
    assert {attack for attack, *_ in calls} == {"pgd-l2"}
    assert len({str(row.parameters.get("eps")) for row in rows}) == 5


# --- what cannot be measured ---


def test_more_images_than_there_are(root: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"images is 1,001; the sample split has 1,000\. Ask for fewer"
    ):
        evaluation_of(root, images=1001)


def test_no_checkpoints() -> None:
    with pytest.raises(ConfigError, match="checkpoints is ''; it must be at least one checkpoint"):
        EvaluationConfig(())


def test_no_such_checkpoint(root: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint 'four'; those there are: three, two"):
        evaluation_of(root, "two", "four")


@pytest.fixture
def without_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DVERGE_DATA", str(tmp_path))


@pytest.mark.parametrize(
    ("split", "images"), [(Split.TEST, None), (Split.TEST, 1001), (Split.VALIDATION, 5)]
)
def test_no_images(root: Path, without_data: None, split: Split, images: int | None) -> None:
    with pytest.raises(DataError, match="python -m dverge data"):
        evaluation_of(root, split=split, images=images)


@pytest.mark.parametrize("images", [1, 17, 1000])
def test_a_thousand_test_images_are_the_samples(
    root: Path, without_data: None, images: int
) -> None:
    found, sample = evaluation_of(root, split=Split.TEST, images=images).images, load(Split.SAMPLE)
    assert found.split is Split.TEST
    assert found.digest == sample.balanced(images).digest
    assert found.indices.equal(sample.balanced(images).indices)


@pytest.mark.full_data
@pytest.mark.skipif(not full_data_available(), reason="needs all of CIFAR-10")
@pytest.mark.parametrize("images", [1, 17, 1000])
def test_with_the_full_data_they_are_the_same(root: Path, images: int) -> None:
    found = evaluation_of(root, split=Split.TEST, images=images).images
    assert found.indices.equal(load(Split.SAMPLE).balanced(images).indices)
    assert found.digest == load(Split.SAMPLE).balanced(images).digest


def test_a_device_that_is_not_here(root: Path) -> None:
    with pytest.raises(ConfigError, match="device is 'cuda:99'"):
        evaluation_of(root, device="cuda:99")


def test_a_checkpoint_of_other_classes(root: Path, tmp_path: Path) -> None:
    member = tmp_path / "m.pth"
    torch.save(seeded_conv(0).state_dict(), member)
    letters = "abcdefghij"
    import_weights([member], "letters", root, list(letters))
    with pytest.raises(ConfigError, match="'letters' tells other classes apart than CIFAR-10's"):
        evaluation_of(root, "two", "letters")
    import_weights([member], "named", root, CLASSES)
    import_weights([member], "turned", root, CLASSES[::-1])
    assert len(evaluation_of(root, "named").infos) == 1
    with pytest.raises(ConfigError, match="'turned' tells other classes"):
        evaluation_of(root, "turned")


def test_a_card_that_cannot_be_read(root: Path) -> None:
    (root / "two" / "card.json").write_text("{")
    with pytest.raises(CheckpointError, match="checkpoint 'two' cannot be used"):
        evaluation_of(root)


def outcome(evaluation: Evaluation) -> tuple[dict[str, int], str]:
    """Measurements given by checkpoint, and the one message."""
    given: dict[str, int] = {}
    for rows in evaluation.run():
        place = evaluation.config.checkpoints.index("two") / 2  # the half that is measured
        assert place <= evaluation.progress() <= place + 0.5
        for name in {row.checkpoint for row in rows or []}:
            given[name] = given.get(name, 0) + 1
    (message,) = evaluation.failures
    assert evaluation.progress() == 1 and evaluation.measured() == evaluation.count
    return given, message


@pytest.mark.parametrize("names", [("three", "two"), ("two", "three")])
def test_weights_that_cannot_be_read(root: Path, names: tuple[str, str]) -> None:
    (root / "three" / "member-2.safetensors").write_bytes(b"junk")
    given, message = outcome(evaluation_of(root, *names))
    assert given == {"two": 4}
    assert "checkpoint 'three' cannot be used: member-2.safetensors does not match" in message


@pytest.mark.parametrize("pieces", [1, 3])
def test_a_checkpoint_that_is_deleted_meanwhile(root: Path, pieces: int) -> None:
    evaluation = evaluation_of(root)
    rows: dict[str, list[Result]] = {"three": [], "two": []}
    for number, given in enumerate(evaluation.run(), 1):
        for row in given or []:
            rows[row.checkpoint].append(row)
        if number == pieces:
            shutil.rmtree(root / "three")
    (message,) = evaluation.failures
    assert "checkpoint 'three'" in message and "it was deleted" in message
    assert not (root / "three").exists()
    assert rows["three"]  # what was measured is given, though it cannot be kept
    forget(root)
    assert untimed(rows["two"]) == untimed(all_rows(evaluation_of(root, "two")))
    assert sorted(path.name for path in root.iterdir()) == ["two"]


def test_a_checkpoint_that_is_deleted_before_its_turn(root: Path) -> None:
    evaluation = evaluation_of(root)
    running = evaluation.run()
    next(running)
    shutil.rmtree(root / "two")
    given = [rows for rows in running if rows]
    assert {row.checkpoint for rows in given for row in rows} == {"three"}
    assert len(given) == 4
    (message,) = evaluation.failures
    assert "'two'" in message
    assert not (root / "two").exists()


def full(*given: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_keeps_the_rows_that_there_are(
    root: Path, precise: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    due = untimed(all_rows(evaluation_of(root)))
    forget(root)
    monkeypatch.setattr("dverge.evaluation.store.write_json", full)
    evaluation = evaluation_of(root)
    rows = untimed([row for rows in evaluation.run() for row in rows or []])
    assert {row.checkpoint for row in rows} == {"three", "two"}
    assert all(row in due for row in rows)
    assert len(evaluation.failures) == 2
    for name, message in zip(("three", "two"), evaluation.failures, strict=True):
        assert f"results of checkpoint {name!r} cannot be kept" in message
        assert "No space left on device" in message


def test_a_single_image_that_all_are_wrong_on(root: Path) -> None:
    """Nothing is left to be attacked."""
    sample = load(Split.SAMPLE)

    def wrong(split: Split) -> ImageSet:
        with torch.no_grad():
            members = checkpoints.load(root / "two").member_log_probs(sample.pixels(slice(0, 1)))
        free = set(range(10)) - set(members.argmax(2).flatten().tolist())
        free.discard(int(members.exp().mean(0).argmax()))
        label = torch.tensor([min(free)])
        return ImageSet(split, sample.images[:1], label, sample.indices[:1])

    rows = all_rows(Evaluation(config_of("two", images=1), wrong, root))
    assert {row.accuracy for row in rows if row.attack != "pgd-l2"} == {0}


def test_the_checkpoint_and_the_images_stay_as_they_are(root: Path) -> None:
    before = {path: path.read_bytes() for path in root.rglob("*.*") if path.is_file()}
    digest = load(Split.SAMPLE).balanced(1000).digest
    all_rows(evaluation_of(root))
    assert load(Split.SAMPLE).balanced(1000).digest == digest
    assert all(path.read_bytes() == content for path, content in before.items())
