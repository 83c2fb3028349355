"""Evaluations: the same results however they are cut up, and nothing is measured twice."""

from __future__ import annotations

import json
from itertools import islice, pairwise
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from dverge import checkpoints
from dverge.attacks import Attack, Norm, Victim, fgsm, pgd
from dverge.attacks.gradient import Objective
from dverge.data import Split, load
from dverge.evaluation.measurements import (
    Batch,
    Clean,
    Measurement,
    Noise,
    ProjectedGradient,
    ReportAttack,
    ZeroGradient,
)
from dverge.evaluation.naming import attack_title
from dverge.evaluation.protocols import Protocol
from dverge.models import CompiledConv, Conv, Ensemble
from tests.evaluation.small import (
    Calls,
    Expected,
    Patch,
    all_results,
    evaluation_of,
    forget,
    saved_and_read,
    small,
    use_batches_of,
    use_plan,
)

pytestmark = pytest.mark.usefixtures("prepared")
EARLIER = Path(__file__).with_name("earlier_state.json")


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
        Clean(),
        Noise(0.1, seed),
        ZeroGradient(),
        ProjectedGradient("pgd-linf", config, thorough=True),
        ReportAttack(Attack.PGD_L2),
    ]


def test_a_measurement_that_an_earlier_version_left_unfinished_begins_anew(
    root: Path, monkeypatch: Patch, calls: Calls
) -> None:
    """The file holds a state in the middle of the attack on member 2, and commit db3fbf1's results.

    Today's are the same, image by image.
    """
    use_batches_of(5, monkeypatch)
    use_plan(monkeypatch, every_kind)
    file = json.loads(EARLIER.read_text())
    evaluation = evaluation_of(root, "three", seed=4)
    evaluation.load_state_dict(file["state"])
    results = all_results(evaluation)
    found = [
        [each.model, each.attack, each.parameters, each.accuracy, each.held]
        for each in results
        if each.attack != "clean"
    ]
    assert found == file["results"]
    begun = next(call for call in calls if call.attack == "pgd-linf")
    assert begun[1:3] == ("member-1", 0)
    assert not any("kept with the state" in each.warnings for each in results)


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
