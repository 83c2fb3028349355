"""Evaluations: the same results however they are cut up, and nothing is measured twice."""

from __future__ import annotations

import errno
import io
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F

from dverge import checkpoints
from dverge.attacks import Attack, Norm, Victim, fgsm, pgd
from dverge.attacks.gradient import Objective
from dverge.data import CLASSES, ImageSet, Split, full_data_available, load
from dverge.errors import CheckpointError, ConfigError, DataError, FileError
from dverge.evaluation.evaluation import Evaluation
from dverge.evaluation.measurements import (
    AimedAttack,
    Batch,
    Clean,
    Measurement,
    Noise,
    ProjectedGradient,
    Query,
    ReportAttack,
    ZeroGradient,
)
from dverge.evaluation.naming import attack_title
from dverge.evaluation.protocols import PLANS, EvaluationConfig, Protocol
from dverge.models import CompiledConv, Conv, Ensemble, seeded_conv
from dverge.results import Result
from dverge.weights import import_weights

Patch = pytest.MonkeyPatch
SAVED_STATES = Path(__file__).with_name("saved_states.json")


class Call(NamedTuple):
    """A batch that was measured."""

    attack: str
    victim: str
    restart: int
    numbers: tuple[int, ...]
    network: type


Calls = list[Call]
Expected = dict[str, list[Result]]
ATTACKS = {"clean", "fgsm", "pgd-linf", "pgd-l2"}


def small(seed: int) -> list[Measurement]:
    return [
        Clean(draws=3, draw_size=5, seed=seed),
        ProjectedGradient("fgsm", fgsm(0.004), thorough=True),
        ProjectedGradient("pgd-linf", pgd(Norm.LINF, 0.005, steps=2, restarts=2, seed=seed)),
        ReportAttack(Attack.PGD_L2),
    ]


def use_plan(monkeypatch: Patch, measurements: Callable[[int], list[Measurement]]) -> None:
    plan = replace(PLANS[Protocol.CURVE], measurements=measurements, images=12)
    monkeypatch.setitem(PLANS, Protocol.CURVE, plan)


def prepare(monkeypatch: Patch) -> None:
    """A short curve, in float64, where the order of sums decides nothing, on a clock that rests."""
    use_plan(monkeypatch, small)
    read, pixels = checkpoints.load, ImageSet.pixels
    monkeypatch.setattr(checkpoints, "load", lambda info: read(info).double())
    monkeypatch.setattr(ImageSet, "pixels", lambda self, *at: pixels(self, *at).double())
    clock = SimpleNamespace(perf_counter=lambda: 0.0)
    monkeypatch.setattr("dverge.evaluation.evaluation.time", clock)


@pytest.fixture(autouse=True)
def prepared(monkeypatch: Patch) -> None:
    prepare(monkeypatch)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, unmeasured: Path) -> Path:
    """Both checkpoints with results. Copy it."""
    root = tmp_path_factory.mktemp("measured") / "checkpoints"
    shutil.copytree(unmeasured, root)
    with Patch.context() as monkeypatch:
        prepare(monkeypatch)
        all_results(evaluation_of(root))
    return root


@pytest.fixture(scope="module")
def expected(measured: Path) -> Expected:
    """The results of each checkpoint."""
    with Patch.context() as monkeypatch:
        prepare(monkeypatch)
        return {name: all_results(evaluation_of(measured, name)) for name in ("three", "two")}


@pytest.fixture
def kept(tmp_path: Path, measured: Path) -> Path:
    """Both checkpoints with results."""
    return shutil.copytree(measured, tmp_path / "kept")


@pytest.fixture
def calls(monkeypatch: Patch) -> Calls:
    """Gets an entry for each piece of work."""
    made: Calls = []

    def record(kind: Any) -> None:
        before = kind.outcome

        def outcome(self: Any, ensemble: Ensemble, batch: Batch, victim: Any, restart: int) -> Any:
            network, numbers = type(ensemble.members[0]), tuple(batch.numbers)
            made.append(Call(self.attack, str(victim), restart, numbers, network))
            return before(self, ensemble, batch, victim, restart)

        monkeypatch.setattr(kind, "outcome", outcome)

    record(Query)
    record(AimedAttack)
    return made


def use_batches_of(size: int, monkeypatch: Patch) -> None:
    monkeypatch.setattr(Measurement, "batch_size", lambda self, device: size)


def config_of(*names: str, **settings: Any) -> EvaluationConfig:
    settings = {"split": Split.SAMPLE, "images": 12, "device": "cpu", **settings}
    return EvaluationConfig.of(names or ("three", "two"), Protocol.CURVE, **settings)


def evaluation_of(root: Path, *names: str, **settings: Any) -> Evaluation:
    return Evaluation(config_of(*names, **settings), root=root)


def all_results(evaluation: Evaluation) -> list[Result]:
    results = [each for finished in evaluation.run() for each in finished or []]
    assert evaluation.failures == []
    return results


def forget(root: Path) -> None:
    for folder in root.glob("*/evaluations"):
        shutil.rmtree(folder)


def refuse(*_: Any) -> Any:
    raise AssertionError("something is computed")


# --- cut up ---


def test_results_of_each_checkpoint_and_measurement(
    root: Path, calls: Calls, expected: Expected
) -> None:
    evaluation = evaluation_of(root)
    finished = [results for results in evaluation.run() if results is not None]
    assert len(finished) == evaluation.count == 8
    for number, results in enumerate(finished):
        name, members = (("three", 3), ("two", 2))[number // 4]
        measurement = small(0)[number % 4]
        counts = {"clean": members + 2, "pgd-l2": members + 1, "fgsm": members + 6}
        assert len(results) == counts.get(measurement.attack, members + 4)
        for result in results:
            assert (result.checkpoint, result.attack) == (name, measurement.attack)
            assert result.n == 12 and result.device.startswith("CPU")
            assert measurement.parameters().items() <= result.parameters.items()
            assert result.data == load(Split.SAMPLE).balanced(12).digest
            assert result.weights == checkpoints.read(root / name).digest
            assert (result.protocol, result.seed) == (Protocol.CURVE, 0)
    together = [each for results in finished for each in results]
    assert len({each.accuracy for each in together}) > 6
    assert together == expected["three"] + expected["two"]
    plain, fast = Conv, CompiledConv  # the report's figures are what a plain script computes
    networks = {"clean": plain, "fgsm": fast, "pgd-linf": fast, "pgd-l2": plain}
    assert {call.attack: call.network for call in calls} == networks


@pytest.mark.parametrize(("size", "images"), [(1, 4), (5, 12)])
def test_the_size_of_batches_does_not_matter(
    root: Path, monkeypatch: Patch, calls: Calls, size: int, images: int
) -> None:
    whole = all_results(evaluation_of(root, "two", images=images))
    forget(root)
    calls.clear()
    use_batches_of(size, monkeypatch)
    assert all_results(evaluation_of(root, "two", images=images)) == whole
    assert max(len(call.numbers) for call in calls) == size
    official = load(Split.SAMPLE).balanced(images).indices.tolist()
    assert {number for call in calls for number in call.numbers} == set(official)
    assert set(official) != set(range(images))


@pytest.mark.parametrize("names", [["two", "three"], ["two"]])
def test_the_other_checkpoints_do_not_matter(
    root: Path, expected: Expected, names: list[str]
) -> None:
    results = all_results(evaluation_of(root, *names))
    assert results == [each for name in names for each in expected[name]]


def saved_and_read(state: dict[str, Any]) -> dict[str, Any]:
    """As a run's folder keeps it."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    read: dict[str, Any] = torch.load(file, weights_only=True)
    return read


def test_it_resumes_after_a_stop_at_any_yield(root: Path, monkeypatch: Patch, calls: Calls) -> None:
    """Nothing is computed twice, and the results are the same."""
    use_batches_of(4, monkeypatch)
    use_plan(monkeypatch, lambda seed: small(seed)[::2])
    whole = all_results(evaluation_of(root, "two", images=6))
    work = list(calls)
    yields = len(work) + 2
    assert len({call[:3] for call in work}) == 7 and yields > 12
    for stop in range(1, yields + 1):
        forget(root)
        calls.clear()
        first, second = (evaluation_of(root, "two", images=6) for _ in range(2))
        list(islice(first.run(), stop))
        second.load_state_dict(saved_and_read(first.state_dict()))
        assert all_results(second) == whole
        assert calls == work


def every_kind(seed: int) -> list[Measurement]:
    config = pgd(Norm.LINF, 0.005, steps=2, restarts=2, seed=seed)
    return [
        Clean(draws=3, draw_size=5, seed=seed),
        Noise(0.1, seed),
        ZeroGradient(),
        ProjectedGradient("pgd-linf", config, thorough=True),
        ReportAttack(Attack.PGD_L2),
    ]


@pytest.mark.parametrize("number", range(4))
def test_a_state_that_an_earlier_version_saved_is_resumed(
    root: Path, monkeypatch: Patch, calls: Calls, number: int
) -> None:
    """The file holds states, in the middle of four victims, and results of commit db3fbf1."""
    use_batches_of(5, monkeypatch)
    use_plan(monkeypatch, every_kind)
    file = json.loads(SAVED_STATES.read_text())
    state = file["states"][number]
    saved, measurement = state["tally"], every_kind(4)[state["at"][-1]]
    dtypes = {"held": torch.bool, "share": torch.float64, "seconds": torch.float64}
    for name, dtype in (dtypes | {"waiting": torch.int64}).items():
        saved[name] = torch.tensor(saved[name], dtype=dtype)
    victim, restart = saved["at"]
    evaluation = evaluation_of(root, "three", seed=4)
    evaluation.load_state_dict(state)
    results = all_results(evaluation)
    found = [
        [each.model, each.attack, each.parameters, each.accuracy, each.held] for each in results
    ]
    assert found == file["results"]
    resumed = next(call for call in calls if call.attack == measurement.attack)
    assert resumed[1:3] == (str(measurement.victims(3)[victim]), restart)
    numbers = load(Split.SAMPLE).balanced(12).indices
    assert resumed.numbers == tuple(numbers[saved["waiting"][:5]].tolist())
    continued = [each for each in results if each.warnings == ["kept with the state"]]
    assert {each.attack for each in continued} == {measurement.attack}
    assert max(each.seconds for each in continued) >= 0.25


def test_a_state_of_another_measurement_is_left_aside(root: Path, calls: Calls) -> None:
    first = evaluation_of(root, "three")
    running = first.run()
    while not (calls and calls[-1].attack == "pgd-linf"):
        next(running)
    whole = all_results(evaluation_of(root, "two", seed=1))
    forget(root)
    other = evaluation_of(root, "two", seed=1)
    other.load_state_dict(first.state_dict())
    assert all_results(other) == whole


def test_progress_rises_to_one(root: Path, monkeypatch: Patch) -> None:
    use_batches_of(5, monkeypatch)
    evaluation = evaluation_of(root)
    course = [(evaluation.progress(), evaluation.measured())]
    course += [(evaluation.progress(), evaluation.measured()) for _ in evaluation.run()]
    course.append((evaluation.progress(), evaluation.measured()))
    assert course[0] == (0, 0) and course[-1] == (1, 8)
    for (before, done), (after, more) in pairwise(course):
        assert after >= before - 1e-12 and more >= done
    assert len({progress for progress, _ in course}) > len(course) / 2
    again = evaluation_of(root)  # all results are kept: it computes nothing
    rises = [again.progress() for _ in again.run()]
    assert rises == sorted(rises) and again.progress() == 1


# --- a new attack ---


class Mirrored(ProjectedGradient):
    """FGSM along the mean loss of the image and its mirror image, as an outsider may add it."""

    def objective(self, ensemble: Ensemble, batch: Batch, victim: Victim) -> Objective:
        plain = super().objective(ensemble, batch, victim)
        return lambda images: (plain(images) + plain(images.flip(3))) / 2


def test_a_new_attack_is_one_class_and_a_line_of_a_protocol(
    kept: Path, monkeypatch: Patch, calls: Calls, trained: Ensemble
) -> None:
    """It is measured beside what is kept, has its name as its title, and is kept itself."""
    new = Mirrored("Mirrored FGSM", fgsm(0.004))
    use_plan(monkeypatch, lambda seed: [*small(seed), new])
    results = all_results(evaluation_of(kept, "three"))
    assert {call.attack for call in calls} == {new.attack}
    (member,) = [each for each in results if (each.attack, each.model) == (new.attack, "member-1")]
    assert attack_title(member.attack, member.parameters) == "Mirrored FGSM 0.004"
    images, network = load(Split.SAMPLE).balanced(12), trained.members[0]
    x = images.pixels().requires_grad_()
    sum(F.cross_entropy(network(each), images.labels) for each in (x, x.flip(3))).backward()  # type: ignore[union-attr]
    assert x.grad is not None
    adversarial = (x.detach() + 0.004 * x.grad.sign()).clamp(0, 1)
    with torch.no_grad():
        before, after = (network(each).argmax(1) == images.labels for each in (x, adversarial))
    assert member.right().equal(before & after)
    calls.clear()
    assert all_results(evaluation_of(kept, "three")) == results and calls == []


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
    accuracies = [[each.accuracy for each in those] for those in (after, expected["two"])]
    assert change == "version" or accuracies[0] != accuracies[1]
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
        with pytest.raises(ConfigError, match=f"{name!r} tells other classes apart than CIFAR-10"):
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
