"""The count of robust images, with measurements whose outcomes are prescribed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from dverge.attacks import Through, Victim
from dverge.data import Split
from dverge.errors import RunError
from dverge.evaluation.counting import RobustCount
from dverge.evaluation.measurements import AimedAttack, Batch, Measurement, Query
from dverge.models import Ensemble, seeded_conv
from dverge.results import Result, wilson_interval
from tests.evaluation.small import saved_and_read

Outcomes = dict[tuple[str, int], Tensor]  # by victim and restart, bool (M+1)×N
Attacked = list[tuple[str, int, int]]  # victim, restart and image
LOGIT, LOSS = Victim(through=Through.LOGIT), Victim(through=Through.LOSS)
UNUSED = Ensemble([seeded_conv(0)])


class PrescribedAttack(AimedAttack):
    """Looks its outcomes up and records which ones were asked for."""

    attack = "prescribed"

    def __init__(self, outcomes: Outcomes, restarts: int = 1, worst_case: bool = True) -> None:
        self.outcomes, self.restarts, self.worst_case = outcomes, restarts, worst_case
        self.attacked: Attacked = []

    def parameters(self) -> dict[str, Any]:
        return {"eps": 0.5}

    def victims(self, members: int) -> list[Victim]:
        further = [each for each in (LOGIT, LOSS) if (str(each), 0) in self.outcomes]
        return [*super().victims(members), *further]

    def cost(self) -> float:
        return 1.0

    def attempts(self, victim: Victim | None) -> int:
        return self.restarts

    def changed(self, ensemble: Ensemble, batch: Batch, victim: Victim, attempt: int) -> Tensor:
        raise NotImplementedError

    def answers(
        self, ensemble: Ensemble, batch: Batch, victim: Victim | None, attempt: int
    ) -> Tensor:
        assert len(batch.numbers) > 0, "there is no image to attack"
        self.attacked += [(str(victim), attempt, number) for number in batch.numbers]
        correct = self.outcomes[str(victim), attempt][:, list(batch.numbers)]
        return said(correct, batch.numbers, wrong_class(self.outcomes, str(victim), attempt))


class PrescribedQuery(Query):
    attack = "prescribed"

    def __init__(self, answer: Tensor, worst_case: bool) -> None:
        self.answer, self.worst_case = answer, worst_case
        self.asked: list[int] = []

    def parameters(self) -> dict[str, Any]:
        return {"eps": 0.5}

    def cost(self) -> float:
        return 1.0

    def shown(self, batch: Batch, attempt: int) -> Tensor:
        raise NotImplementedError

    def answers(
        self, ensemble: Ensemble, batch: Batch, victim: Victim | None, attempt: int
    ) -> Tensor:
        self.asked += batch.numbers
        return said(self.answer[:, list(batch.numbers)], batch.numbers, 1)


def bits(*models: str) -> Tensor:
    """A row of 0 and 1 for each model."""
    return torch.tensor([[letter == "1" for letter in model] for model in models])


def said(correct: Tensor, numbers: Sequence[int], wrong: int) -> Tensor:
    """Classes: the true one, which is the image's number, where correct; else so many beside it."""
    labels = torch.tensor(numbers) % 10
    return torch.where(correct, labels, (labels + wrong) % 10)


def wrong_class(outcomes: Outcomes, victim: str, attempt: int) -> int:
    """How far beside the true class a model's answer to a prescribed attempt is, 1 to 8."""
    return 1 + list(outcomes).index((victim, attempt)) % 8


def count_of(measurement: Measurement, clean: Tensor) -> RobustCount:
    """A count that begins with these models correct; the others are nine classes beside it."""
    numbers = range(clean.shape[1])
    return RobustCount(measurement, torch.tensor(numbers) % 10, said(clean, numbers, 9))


def step(count: RobustCount, size: int, seconds: float = 0.0) -> None:
    victim, restart, positions = count.next(size)
    assert len(positions) <= size
    pixels = torch.zeros(len(positions), 3, 32, 32)
    batch = Batch(pixels, torch.zeros(len(positions)), positions.tolist(), count.warnings)
    count.add(positions, count.measurement.answers(UNUSED, batch, victim, restart), seconds)


def finished(count: RobustCount, size: int = 100) -> RobustCount:
    while not count.done:
        step(count, size)
    return count


def images_by_key(results: list[Result]) -> dict[tuple[str, str], float]:
    """Images or shares of images by model and victim."""
    return {(r.model, r.parameters.get("victim", "")): r.accuracy * r.n / 100 for r in results}


# --- by hand: two members, seven images, two attempts ---

#                        member-1   member-2   mixture
CLEAN = bits("1110110", "1101010", "1111100")
OUTCOMES: Outcomes = {
    # Image 4 is wrong for member 2 before the attack; 5 and 6 for the mixture.
    ("member-1", 0): bits("1011110", "1101011", "1101110"),
    ("member-1", 1): bits("0111100", "1101010", "0111111"),
    ("member-2", 0): bits("1110110", "1001011", "1111111"),
    ("member-2", 1): bits("1100111", "0111011", "1011111"),
    ("mixture", 0): bits("1110110", "1111010", "1101011"),
    ("mixture", 1): bits("0111110", "1101010", "1111111"),
    ("mixture-logit", 0): bits("1110110", "1101010", "1111111"),
    ("mixture-logit", 1): bits("1111110", "1111010", "0111111"),
    ("mixture-loss", 0): bits("0010110", "0101010", "1111111"),
    ("mixture-loss", 1): bits("0000010", "0100000", "1111111"),
}
CORRECT = {
    # Before and after both attempts.
    ("member-1", "member-1"): [2, 4],  # 1110110 & 1011110 & 0111100
    ("member-2", "member-2"): [3, 5],  # 1101010 & 1001011 & 0111011
    ("mixture", "worst"): [3],
    ("mixture", "mixture"): [0, 1, 3],  # 1111100 & 1101011 & 1111111
    ("mixture", "mixture-logit"): [1, 2, 3, 4],  # 1111100 & 0111111
    ("mixture", "mixture-loss"): [0, 1, 2, 3, 4],
    # Under member 1: 1111100 & 1101110 & 0111111 = 0101100; under member 2: 1011100.
    ("mixture", "members"): [3, 4],
}
# The lowest share of members that one attempt leaves correct is 0 for images 0, 2, 3 and 4 (an
# attempt at the mean loss) and for 6 (from the start); it is ½ for 1 (at the mean loss) and for 5
# (the second attempt at member 1).
RANDOM_MEMBER = 0.5 + 0.5


@pytest.mark.parametrize("size", [1, 3, 100])
def test_results_by_hand(size: int) -> None:
    attack = PrescribedAttack(OUTCOMES, restarts=2)
    *results, random_member = finished(count_of(attack, CLEAN), size).results(Split.SAMPLE)
    found = {(r.model, r.parameters["victim"]): r.right().nonzero()[:, 0].tolist() for r in results}
    assert found == CORRECT and list(found) == list(CORRECT)
    assert images_by_key([random_member]) == {("random-member", "worst"): RANDOM_MEMBER}
    assert random_member.held == ""
    for result in [*results, random_member]:
        assert (result.attack, result.split, result.n) == ("prescribed", Split.SAMPLE, 7)
        assert result.parameters["eps"] == 0.5
        images = len(CORRECT.get((result.model, result.parameters["victim"]), [RANDOM_MEMBER]))
        low, high = wilson_interval(images, 7)
        assert (result.ci_low, result.ci_high) == pytest.approx((100 * low, 100 * high))


def test_not_the_worst_case_by_hand() -> None:
    """The attack reaches the images that were wrong before, too, and may correct them."""
    outcomes = {name: OUTCOMES[name, 0] for name in ("member-1", "member-2", "mixture")}
    prescribed = {(name, 0): outcome for name, outcome in outcomes.items()}
    attack = PrescribedAttack(prescribed, worst_case=False)
    results = finished(count_of(attack, CLEAN)).results(Split.SAMPLE)
    assert images_by_key(results) == {
        ("member-1", "member-1"): 5.0,
        ("member-2", "member-2"): 4.0,
        ("mixture", "mixture"): 5.0,
    }
    assert attack.attacked == [(victim, 0, image) for victim in outcomes for image in range(7)]


@pytest.mark.parametrize(
    ("worst_case", "expected"), [(True, (3, 3, 4, 3.5)), (False, (5, 4, 6, 4.5))]
)
def test_a_query_by_hand(worst_case: bool, expected: tuple[float, ...]) -> None:
    """It asks all models about all images once; for a random member an image counts for a share."""
    query = PrescribedQuery(bits("1011101", "1100110", "1101111"), worst_case)
    results = finished(count_of(query, CLEAN), 3).results(Split.SAMPLE)
    assert [r.model for r in results] == ["member-1", "member-2", "mixture", "random-member"]
    assert tuple(images_by_key(results).values()) == pytest.approx(expected)
    assert all(r.parameters == {"eps": 0.5} for r in results)
    assert query.asked == list(range(7))


# --- any outcomes, against a slow count ---


def drawn(seed: int, members: int, images: int, restarts: int, share: float) -> Any:
    """Random clean answers and outcomes."""
    generator = torch.Generator().manual_seed(seed)
    names = [f"member-{i + 1}" for i in range(members)]
    names += ["mixture", "mixture-logit", "mixture-loss"]

    def draw() -> Tensor:
        return torch.rand(members + 1, images, generator=generator) < share

    return draw(), {(name, r): draw() for name in names for r in range(restarts)}


Counted = dict[tuple[str, str], Any]  # by model and victim


def slow_count(
    clean: Tensor, outcomes: Outcomes, restarts: int
) -> tuple[Attacked, Counted, Counted]:
    """What is attacked, the results, and the answers, by the rules, image after image."""
    members, images = len(clean) - 1, clean.shape[1]
    names = list(dict.fromkeys(name for name, _ in outcomes))
    attacked: Attacked = []
    correct: dict[tuple[str, int], list[bool]] = {}
    share: dict[tuple[str, int], float] = {}
    answer: dict[tuple[str, int], list[int]] = {}
    for name in names:
        for image in range(images):
            now = clean[:, image].tolist()
            answer[name, image] = said(clean[:, [image]], [image], 9)[:, 0].tolist()
            lowest = sum(now[:members]) / members
            for restart in range(restarts):
                if name.startswith("member-"):
                    wanted = now[int(name[7:]) - 1] or now[-1]
                elif name == "mixture-loss":
                    wanted = lowest > 0 or now[-1]
                else:
                    wanted = now[-1]
                if not wanted:
                    break
                attacked.append((name, restart, image))
                after = outcomes[name, restart][:, image].tolist()
                beside = wrong_class(outcomes, name, restart)
                for row, (held, holds) in enumerate(zip(now, after, strict=True)):
                    if held and not holds:
                        answer[name, image][row] = (image + beside) % 10
                now = [a and b for a, b in zip(now, after, strict=True)]
                lowest = min(lowest, sum(after[:members]) / members)
            correct[name, image], share[name, image] = now, lowest
    expected: Counted = {}
    answers: Counted = {("mixture", "worst"): []}
    for name in names:
        model = name if name.startswith("member-") else "mixture"
        place = int(name[7:]) - 1 if name.startswith("member-") else -1
        expected[model, name] = sum(correct[name, image][place] for image in range(images))
        answers[model, name] = [answer[name, image][place] for image in range(images)]
    for image in range(images):
        fooled = [name for name in names if not correct[name, image][-1]]
        answers["mixture", "worst"].append(answer[(fooled or names)[0], image][-1])
    alone = [name for name in names if name.startswith("member-")]
    for victim, group in (("worst", names), ("members", alone)):
        expected["mixture", victim] = sum(
            all(correct[name, image][-1] for name in group) for image in range(images)
        )
    expected["random-member", "worst"] = sum(
        min(share[name, image] for name in names) for image in range(images)
    )
    return attacked, expected, answers


@pytest.mark.parametrize("images", [30, 1])  # a single image may be wrong before, for all
@pytest.mark.parametrize("seed", range(12))
def test_any_outcomes_are_counted_as_a_slow_loop_does(seed: int, images: int) -> None:
    members, restarts, share = 1 + seed % 4, 1 + seed % 3, (0.5, 0.9)[seed % 2]
    clean, outcomes = drawn(seed, members, images, restarts, share)
    attacked, expected, answers = slow_count(clean, outcomes, restarts)
    attack = PrescribedAttack(outcomes, restarts)
    results = finished(count_of(attack, clean), 7).results(Split.SAMPLE)
    found = images_by_key(results)
    kept = {(r.model, r.parameters["victim"]): r.predicted().tolist() for r in results if r.answers}
    assert kept == answers
    assert sorted(attack.attacked) == sorted(attacked)
    assert found == pytest.approx(expected)
    single = [n for (model, name), n in found.items() if model == "mixture" and name != "worst"]
    assert len(single) == 4
    assert found["mixture", "worst"] <= min(*single, int(clean[-1].sum()))


# --- stopping and resuming ---


def test_it_resumes_from_every_step_and_its_progress_rises_to_one() -> None:
    clean, outcomes = drawn(3, 2, 10, 2, 0.8)

    def work(count: RobustCount) -> tuple[list[dict[str, Any]], list[float]]:
        states, progress = [], [count.progress()]
        while not count.done:
            states.append(saved_and_read(count.state_dict()))
            step(count, 4, seconds=0.25)
            count.warnings.append(f"warning {len(count.warnings)}")
            progress.append(count.progress())
        return states, progress

    attack = PrescribedAttack(outcomes, 2)
    whole = count_of(attack, clean)
    states, progress = work(whole)
    assert len(states) > 20
    assert progress[0] < 0.1 and progress[-1] == 1
    assert progress == sorted(progress) and len(set(progress)) > 20
    for number, state in enumerate(states):
        again = PrescribedAttack(outcomes, 2)
        count = count_of(again, clean)
        count.load_state_dict(state)
        assert count.warnings == [f"warning {i}" for i in range(number)]
        rest, course = work(count)
        assert len(rest) == len(states) - number and course == progress[number:]
        assert count.results(Split.SAMPLE) == whole.results(Split.SAMPLE)
        assert again.attacked == attack.attacked[len(attack.attacked) - len(again.attacked) :]


@pytest.mark.parametrize(("members", "images"), [(2, 11), (3, 10)])
def test_a_state_of_another_measurement_is_refused(members: int, images: int) -> None:
    state = count_of(PrescribedAttack({}), drawn(0, 2, 10, 1, 0.5)[0]).state_dict()
    other = count_of(PrescribedAttack({}), drawn(0, members, images, 1, 0.5)[0])
    with pytest.raises(RunError, match=r"the saved state does not fit: correct has torch\.Size"):
        other.load_state_dict(state)


def test_a_result_states_the_seconds_and_the_warnings_of_the_attacks_behind_it() -> None:
    count = count_of(PrescribedAttack(OUTCOMES, restarts=2), CLEAN)
    count.warnings.append("careful")
    seconds = {str(victim): 0.0 for victim in count.victims}
    for number in range(100):
        if not count.done:
            seconds[str(count.next(3)[0])] += 1 + number / 8
            step(count, 3, seconds=1 + number / 8)
    assert count.done and len(set(seconds.values())) == 5
    for result in count.results(Split.SAMPLE):
        victim = result.parameters["victim"]
        behind = {"worst": list(seconds), "members": ["member-1", "member-2"]}
        expected = sum(seconds[name] for name in behind.get(victim, [victim]))
        assert result.seconds == pytest.approx(expected, abs=1e-3)
        assert result.warnings == ["careful"]
