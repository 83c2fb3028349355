"""The count, with a measurement whose outcomes are prescribed."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from dverge.attacks import MIXTURE, Through, Victim, parse_victim
from dverge.data import Split
from dverge.errors import RunError
from dverge.evaluation.measurements import Batch, Clean, Measurement
from dverge.evaluation.tally import Tally
from dverge.models import Ensemble, seeded_conv
from dverge.results import Result, wilson_interval

Outcomes = dict[tuple[str, int], Tensor]  # by victim and try, bool (M+1)×N
Asked = list[tuple[str, int, int]]  # victim, try and image
LOGIT, LOSS = Victim(through=Through.LOGIT), Victim(through=Through.LOSS)


class Prescribed(Measurement):
    """Outcomes are looked up; which were asked for is kept."""

    attack = "prescribed"

    def __init__(
        self, outcomes: Outcomes, restarts: int = 1, more: tuple[Victim, ...] = ()
    ) -> None:
        self.outcomes, self.restarts, self.more = outcomes, restarts, more
        self.asked: Asked = []

    def parameters(self) -> dict[str, Any]:
        return {"eps": 0.5}

    def victims(self, members: int) -> list[Victim]:
        return [*super().victims(members), *self.more]

    def cost(self) -> float:
        return 1.0

    def changed(self, ensemble: Ensemble, batch: Batch, victim: Victim, restart: int) -> Tensor:
        assert len(batch.numbers) > 0, "nothing is to be attacked, and it is asked for"
        self.asked += [(str(victim), restart, number) for number in batch.numbers]
        return batch.pixels

    def right(self, ensemble: Ensemble, batch: Batch, victim: Victim, restart: int) -> Tensor:
        self.changed(ensemble, batch, victim, restart)
        return self.outcomes[str(victim), restart][:, list(batch.numbers)]


def bits(*rows: str) -> Tensor:
    """A row of 0 and 1 for each model."""
    return torch.tensor([[letter == "1" for letter in row] for row in rows])


NOBODY = Ensemble([seeded_conv(0)])


def step(tally: Tally, size: int, seconds: float = 0.0) -> None:
    victim, restart, positions = tally.next(size)
    assert len(positions) <= size
    pixels = torch.zeros(len(positions), 3, 32, 32)
    batch = Batch(pixels, torch.zeros(len(positions)), positions.tolist(), tally.warnings)
    right = tally.measurement.right(NOBODY, batch, victim, restart)
    tally.add(positions, right, seconds)


def worked(tally: Tally, size: int = 100) -> Tally:
    while not tally.done:
        step(tally, size)
    return tally


def figures(rows: list[Result]) -> dict[tuple[str, str], float]:
    """Images or shares of images by model and victim."""
    return {
        (row.model, row.parameters.get("victim", "")): row.accuracy * row.n / 100 for row in rows
    }


# --- by hand: two members, seven images, two tries ---

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
BY_HAND = {
    # Clean and both tries; member 1: 1110110 & 1011110 & 0111100.
    ("member-1", "member-1"): 2.0,  # images 2 and 4
    # 1101010 & 1001011 & 0111011.
    ("member-2", "member-2"): 2.0,  # images 3 and 5
    ("mixture", "mixture"): 3.0,  # 1111100 & 1101011 & 1111111: images 0, 1, 3
    ("mixture", "mixture-logit"): 4.0,  # 1111100 & 0111111: images 1, 2, 3, 4
    ("mixture", "mixture-loss"): 5.0,
    # Under member 1: 1111100 & 1101110 & 0111111 = 0101100; under member 2: 1011100.
    ("mixture", "members"): 2.0,  # images 3 and 4
    ("mixture", "worst"): 1.0,  # image 3
    # The least share of members right, of each image:
    # none of 0 and of 2 to 4 in a try at the mean loss, one of 1 there, one of 5 in the second try
    # at member 1, and none of 6 from the start.
    ("random-member", "worst"): 0.5 + 0.5,
}


@pytest.mark.parametrize("size", [1, 3, 100])
def test_rows_by_hand(size: int) -> None:
    measurement = Prescribed(OUTCOMES, restarts=2, more=(LOGIT, LOSS))
    rows = worked(Tally(measurement, CLEAN), size).rows(Split.SAMPLE)
    assert figures(rows) == BY_HAND
    for row in rows:
        assert (row.attack, row.split, row.n) == ("prescribed", Split.SAMPLE, 7)
        assert row.parameters["eps"] == 0.5
        low, high = wilson_interval(BY_HAND[row.model, row.parameters["victim"]], 7)
        assert (row.ci_low, row.ci_high) == pytest.approx((100 * low, 100 * high))
    right = {(r.model, r.parameters["victim"]): r.right().nonzero()[:, 0].tolist() for r in rows}
    assert right["member-1", "member-1"] == [2, 4]
    assert right["mixture", "mixture"] == [0, 1, 3]
    assert right["mixture", "members"] == [3, 4]
    assert right["mixture", "worst"] == [3]
    assert right["random-member", "worst"] == []


def test_the_images_asked_for_by_hand() -> None:
    """Try after try those that still stand: for the victim, or for the mixture."""
    measurement = Prescribed(OUTCOMES, restarts=2, more=(LOGIT, LOSS))
    worked(Tally(measurement, CLEAN))
    asked: dict[tuple[str, int], list[int]] = {}
    for victim, restart, image in measurement.asked:
        asked.setdefault((victim, restart), []).append(image)
    assert asked == {
        ("member-1", 0): [0, 1, 2, 3, 4, 5],  # 6 stands for neither
        ("member-1", 1): [0, 1, 2, 3, 4, 5],  # 1110110 & 1011110, or 1111100 & 1101110
        ("member-2", 0): [0, 1, 2, 3, 4, 5],
        ("member-2", 1): [0, 1, 2, 3, 4, 5],
        ("mixture", 0): [0, 1, 2, 3, 4],
        ("mixture", 1): [0, 1, 3],
        ("mixture-logit", 0): [0, 1, 2, 3, 4],
        ("mixture-logit", 1): [0, 1, 2, 3, 4],
        ("mixture-loss", 0): [0, 1, 2, 3, 4, 5],  # some member is right
        ("mixture-loss", 1): [0, 1, 2, 3, 4, 5],  # of 0 the mixture alone is left
    }


def test_not_pessimistic_by_hand() -> None:
    """All are attacked, those wrong before, too, and may be right then."""
    measurement = Prescribed(OUTCOMES)
    measurement.pessimistic = False
    rows = worked(Tally(measurement, CLEAN)).rows(Split.SAMPLE)
    assert figures(rows) == {
        ("member-1", "member-1"): 5.0,
        ("member-2", "member-2"): 4.0,
        ("mixture", "mixture"): 5.0,
    }
    every = [("member-1", 0, i) for i in range(7)] + [("member-2", 0, i) for i in range(7)]
    assert measurement.asked == [*every, *(("mixture", 0, i) for i in range(7))]


@pytest.mark.parametrize(("pessimistic", "due"), [(True, (3, 3, 4, 3.5)), (False, (5, 4, 6, 4.5))])
def test_not_aimed_by_hand(pessimistic: bool, due: tuple[float, ...]) -> None:
    """One try for all models and all images; a random member's image counts for a share."""
    outcome = bits("1011101", "1100110", "1101111")
    measurement = Prescribed({("mixture", 0): outcome})
    measurement.aimed, measurement.pessimistic = False, pessimistic
    rows = worked(Tally(measurement, CLEAN)).rows(Split.SAMPLE)
    assert [row.model for row in rows] == ["member-1", "member-2", "mixture", "random-member"]
    assert tuple(figures(rows).values()) == pytest.approx(due)
    assert all("victim" not in row.parameters for row in rows)
    assert measurement.asked == [("mixture", 0, i) for i in range(7)]


def test_clean_rows_by_hand() -> None:
    tally = Tally(Clean(), CLEAN)
    _, _, positions = tally.next(100)
    tally.add(positions, CLEAN, 0.0)
    found = figures(tally.rows(Split.TEST))
    assert list(found.values()) == pytest.approx([5, 4, 5, 4.5])


# --- any outcomes, against a slow count ---


def chance(seed: int, members: int, images: int, restarts: int, share: float) -> Any:
    """Clean answers and outcomes by chance."""
    generator = torch.Generator().manual_seed(seed)
    names = [f"member-{i + 1}" for i in range(members)]
    names += ["mixture", "mixture-logit", "mixture-loss"]

    def draw() -> Tensor:
        return torch.rand(members + 1, images, generator=generator) < share

    return draw(), {(name, r): draw() for name in names for r in range(restarts)}


def slow_count(clean: Tensor, outcomes: Outcomes, restarts: int) -> tuple[Asked, dict[Any, Any]]:
    """Image by image from the words: what is asked for, and the figures."""
    members, images = len(clean) - 1, clean.shape[1]
    names = list(dict.fromkeys(name for name, _ in outcomes))
    asked: Asked = []
    held: dict[tuple[str, int], list[bool]] = {}
    share: dict[tuple[str, int], float] = {}
    for name in names:
        for image in range(images):
            now = clean[:, image].tolist()
            least = sum(now[:members]) / members
            for restart in range(restarts):
                if name.startswith("member-"):
                    stands = now[int(name[7:]) - 1] or now[-1]
                elif name == "mixture-loss":
                    stands = least > 0 or now[-1]
                else:
                    stands = now[-1]
                if not stands:
                    break
                asked.append((name, restart, image))
                found = outcomes[name, restart][:, image].tolist()
                now = [a and b for a, b in zip(now, found, strict=True)]
                least = min(least, sum(found[:members]) / members)
            held[name, image], share[name, image] = now, least
    due: dict[Any, Any] = {}
    for name in names:
        model = name if name.startswith("member-") else "mixture"
        place = int(name[7:]) - 1 if name.startswith("member-") else -1
        due[model, name] = sum(held[name, image][place] for image in range(images))
    alone = [name for name in names if name.startswith("member-")]
    for label, group in (("worst", names), ("members", alone)):
        due["mixture", label] = sum(
            all(held[name, image][-1] for name in group) for image in range(images)
        )
    due["random-member", "worst"] = sum(
        min(share[name, image] for name in names) for image in range(images)
    )
    return asked, due


@pytest.mark.parametrize("seed", range(12))
def test_any_outcomes_are_counted_as_a_slow_loop_does(seed: int) -> None:
    members, restarts, share = 1 + seed % 4, 1 + seed % 3, (0.5, 0.9)[seed % 2]
    clean, outcomes = chance(seed, members, 30, restarts, share)
    asked, due = slow_count(clean, outcomes, restarts)
    measurement = Prescribed(outcomes, restarts, (LOGIT, LOSS))
    rows = worked(Tally(measurement, clean), size=7).rows(Split.SAMPLE)
    assert sorted(measurement.asked) == sorted(asked)
    assert figures(rows) == pytest.approx(due)
    assert len(set(measurement.asked)) == len(measurement.asked)


@pytest.mark.parametrize("seed", range(6))
def test_the_worst_case_is_above_none_of_its_parts(seed: int) -> None:
    clean, outcomes = chance(seed, 3, 60, 3, 0.8)
    found: list[dict[tuple[str, str], float]] = []
    for restarts in (1, 2, 3):
        tally = worked(Tally(Prescribed(outcomes, restarts, (LOGIT, LOSS)), clean))
        found.append(figures(tally.rows(Split.SAMPLE)))
    for one in found:
        parts = [
            v for (model, victim), v in one.items() if model == "mixture" and victim != "worst"
        ]
        assert len(parts) == 4
        assert one["mixture", "worst"] <= min(parts)
        assert one["mixture", "worst"] <= clean[-1].sum()
        assert one["random-member", "worst"] <= clean[:-1].double().mean(0).sum() + 1e-9
    for key in found[0]:
        assert found[0][key] >= found[1][key] >= found[2][key]
    assert found[0] != found[2]


@pytest.mark.parametrize("clean", [bits("000", "000", "000"), bits("000", "110", "000")])
def test_where_nothing_stands_nothing_is_attacked(clean: Tensor) -> None:
    """Also at the very first: a single image may be wrong before."""
    outcomes = {(str(v), 0): bits("111", "111", "111") for v in (Victim(0), Victim(1), MIXTURE)}
    measurement = Prescribed(outcomes)
    rows = worked(Tally(measurement, clean)).rows(Split.SAMPLE)
    assert measurement.asked == [("member-2", 0, i) for i in (0, 1) if clean[1, i]]
    assert figures(rows)["member-2", "member-2"] == clean[1].sum()
    assert figures(rows)["mixture", "worst"] == 0


# --- stopping and going on ---


def carried(state: dict[str, Any]) -> dict[str, Any]:
    """As a run keeps it."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    found: dict[str, Any] = torch.load(file, weights_only=True)
    return found


def stops(make: Any, size: int) -> Iterator[tuple[Tally, dict[str, Any]]]:
    """A tally at each of its steps, with its state."""
    tally = make()
    while not tally.done:
        yield tally, carried(tally.state_dict())
        step(tally, size, seconds=0.25)
        tally.warnings.append(f"warned {len(tally.warnings)} times")
    yield tally, carried(tally.state_dict())


def test_going_on_from_every_step() -> None:
    clean, outcomes = chance(3, 2, 10, 2, 0.8)

    def make() -> Tally:
        return Tally(Prescribed(outcomes, 2, (LOGIT, LOSS)), clean)

    *before, (last, _) = stops(make, 4)
    assert isinstance(last.measurement, Prescribed)
    due, whole = last.rows(Split.SAMPLE), last.measurement.asked
    states = [state for _, state in before]
    assert len(states) > 20
    left = len(states)
    for state in states:
        tally = make()
        assert isinstance(tally.measurement, Prescribed)
        tally.load_state_dict(state)
        assert tally.warnings == [f"warned {i} times" for i in range(len(states) - left)]
        count = 0
        while not tally.done:
            step(tally, 4, seconds=0.25)
            tally.warnings.append(f"warned {len(tally.warnings)} times")
            count += 1
        assert count == left
        assert tally.rows(Split.SAMPLE) == due
        asked = tally.measurement.asked
        assert asked == whole[len(whole) - len(asked) :]
        left -= 1


@pytest.mark.parametrize(("members", "images"), [(2, 11), (3, 10)])
def test_a_state_of_another_measurement_is_refused(members: int, images: int) -> None:
    clean, outcomes = chance(0, 2, 10, 1, 0.5)
    other = Tally(Prescribed({}), chance(0, members, images, 1, 0.5)[0])
    with pytest.raises(RunError, match=r"the saved state does not fit: held has torch\.Size"):
        other.load_state_dict(Tally(Prescribed(outcomes), clean).state_dict())


def test_progress_rises_to_one() -> None:
    clean, outcomes = chance(5, 3, 40, 3, 0.9)
    tally = Tally(Prescribed(outcomes, 3, (LOGIT, LOSS)), clean)
    found = [tally.progress()]
    assert 0 <= found[0] < 0.1
    while not tally.done:
        step(tally, 6)
        found.append(tally.progress())
    assert found == sorted(found)
    assert found[-1] == 1
    assert len(set(found)) > 20


def test_seconds_are_of_the_attacks_behind_a_figure() -> None:
    measurement = Prescribed(OUTCOMES, restarts=2, more=(LOGIT, LOSS))
    tally, spent = Tally(measurement, CLEAN), dict.fromkeys(map(str, measurement.victims(2)), 0.0)
    generator = random.Random(0)
    while not tally.done:
        seconds = generator.random()
        spent[str(tally.next(3)[0])] += seconds
        step(tally, 3, seconds)
    for row in tally.rows(Split.SAMPLE):
        victim = row.parameters["victim"]
        behind = {"worst": list(spent), "members": ["member-1", "member-2"]}.get(victim, [victim])
        assert row.seconds == pytest.approx(sum(spent[name] for name in behind), abs=1e-3)


def test_warnings_are_in_every_row() -> None:
    tally = Tally(Prescribed(OUTCOMES), CLEAN)
    tally.warnings.append("careful")
    rows = worked(tally).rows(Split.SAMPLE)
    assert all(row.warnings == ["careful"] for row in rows)
    assert {parse_victim(r.parameters["victim"]) for r in rows[:2]} == {Victim(0), Victim(1)}
