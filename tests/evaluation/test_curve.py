"""The curve of the strong attack: an image that has fallen stays fallen, against a plain loop."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch

from dverge import checkpoints
from dverge.attacks import MIXTURE, AttackConfig, Norm, Through, Victim, image_starts
from dverge.attacks.margins import margin_attack
from dverge.attacks.strong import Way
from dverge.data import Split, load
from dverge.evaluation.measurements import Clean
from dverge.evaluation.strong import StrongAttack
from dverge.models import Ensemble
from dverge.results import Result, headlines
from tests.evaluation.plain import correct
from tests.evaluation.small import (
    Patch,
    all_results,
    evaluation_of,
    use_batches_of,
    use_plan,
)

BUDGETS = (0.004, 0.012, 0.006)  # the last alone leaves more than the one before
MEMBER = (Way(Through.PROBABILITY, 0, 6), Way(Through.PROBABILITY, 2, 4))
ALL = (*MEMBER, Way(Through.TEMPERED, 0, 5))
COUNT = 10
pytestmark = pytest.mark.usefixtures("prepared")


@pytest.fixture(autouse=True)
def short(prepared: None, monkeypatch: Patch) -> None:
    """Four budgets, and attacks of a moment."""
    monkeypatch.setattr("dverge.attacks.strong.MEMBER_WAYS", MEMBER)
    monkeypatch.setattr("dverge.attacks.strong.MIXTURE_WAYS", ALL)
    attacks = [StrongAttack(Norm.LINF, eps, 0, cumulative=True) for eps in BUDGETS]
    use_plan(monkeypatch, lambda seed: [Clean(), *attacks])


def after(ensemble: Ensemble, image: int, eps: float, stands: list[bool]) -> list[bool]:
    """Which models one image leaves correct at a budget, of those that stood before."""
    one = load(Split.SAMPLE).balanced(COUNT).subset(image)
    pixels, labels = one.pixels(), one.labels
    left = list(stands)
    for row, victim in enumerate([*map(Victim, range(len(ensemble))), MIXTURE]):
        now = list(stands)
        for number, way in enumerate(ALL if victim == MIXTURE else MEMBER):
            if not now[row]:
                break
            config = AttackConfig(Norm.LINF, eps, 0.0, way.steps, random_start=True)
            start = image_starts(pixels, one.indices.tolist(), config, number)
            aimed = Victim(victim.member, way.through)
            changed = margin_attack(ensemble, pixels, labels, config, aimed, way.rank, start)
            said = correct(ensemble, changed.images, labels)[:, 0].tolist()
            now = [a and b for a, b in zip(now, said, strict=True)]
        left[row], left[-1] = left[row] and now[row], left[-1] and now[-1]
    return left


def by_eps(results: list[Result]) -> dict[float, list[Result]]:
    """The rows that count for the members and the mixture."""
    attacked = [row for row in headlines(results) if row.attack != "clean"]
    return {e: [row for row in attacked if row.parameters["eps"] == e] for e in BUDGETS}


@pytest.fixture
def measured(root: Path) -> dict[float, list[Result]]:
    return by_eps(all_results(evaluation_of(root, "two", images=COUNT)))


def test_it_is_a_plain_loop_over_images_and_budgets(
    root: Path, measured: dict[float, list[Result]]
) -> None:
    ensemble, images = checkpoints.load(root / "two"), load(Split.SAMPLE).balanced(COUNT)
    stands = correct(ensemble, images.pixels(), images.labels)
    for eps in BUDGETS:
        columns = [after(ensemble, i, eps, stands[:, i].tolist()) for i in range(COUNT)]
        stands = torch.tensor(columns).T
        assert [row.model for row in measured[eps]] == ["member-1", "member-2", "mixture"]
        for row, expected in zip(measured[eps], stands, strict=True):
            assert row.right().equal(expected), (eps, row.model)


def test_no_image_comes_back(measured: dict[float, list[Result]]) -> None:
    """And what fooled a model first stays its answer."""
    fallen = 0
    for before, now in pairwise(measured.values()):
        for first, then in zip(before, now, strict=True):
            assert first.model == then.model and not (then.right() & ~first.right()).any()
            gone = ~first.right()
            assert then.predicted()[gone].equal(first.predicted()[gone])
            fallen += int((first.right() & ~then.right()).sum())
    assert fallen > 5


def test_it_is_resumed_from_kept_results_with_any_batches(
    root: Path, monkeypatch: Patch, measured: dict[float, list[Result]]
) -> None:
    """A stop between two budgets loses nothing."""
    for folder in root.glob("two/evaluations/*"):
        folder.unlink()
    use_batches_of(5, monkeypatch)
    running = evaluation_of(root, "two", images=COUNT).run()
    finished = 0
    while finished < 3:
        finished += next(running) is not None
    assert by_eps(all_results(evaluation_of(root, "two", images=COUNT))) == measured
