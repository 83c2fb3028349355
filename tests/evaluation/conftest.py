"""The checkpoints that the tests of evaluation measure, and their results under a short curve."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from dverge import checkpoints
from dverge.evaluation.measurements import AimedAttack, Batch, Query
from dverge.models import Ensemble
from tests.evaluation.small import Call, Calls, Expected, Patch, all_results, evaluation_of, prepare


@pytest.fixture(scope="session")
def shipped() -> Path:
    """A shipped checkpoint's folder: three members, correct on some images, robust on fewer."""
    return Path(__file__).parents[2] / "checkpoints" / "vanilla-3xconv-s0"


@pytest.fixture(scope="session")
def trained(shipped: Path) -> Ensemble:
    """The shipped ensemble in float64, where the order of sums hardly matters."""
    return checkpoints.load(shipped).double()


@pytest.fixture(scope="session")
def unmeasured(tmp_path_factory: pytest.TempPathFactory, shipped: Path) -> Path:
    """Two checkpoints without results: the shipped one, and one of two of its members. Copy it."""
    root = tmp_path_factory.mktemp("unmeasured")
    shutil.copytree(shipped, root / "three", ignore=shutil.ignore_patterns("evaluations"))
    two = Ensemble(list(checkpoints.load(shipped).members)[1:])
    checkpoints.save("two", two, method="vanilla", root=root)
    return root


@pytest.fixture
def root(tmp_path: Path, unmeasured: Path) -> Path:
    """A copy of the two checkpoints."""
    return shutil.copytree(unmeasured, tmp_path / "checkpoints")


@pytest.fixture
def prepared(monkeypatch: Patch) -> None:
    """The short curve of small.py for this test."""
    prepare(monkeypatch)


@pytest.fixture(scope="session")
def measured(tmp_path_factory: pytest.TempPathFactory, unmeasured: Path) -> Path:
    """Both checkpoints with results. Copy it."""
    root = tmp_path_factory.mktemp("measured") / "checkpoints"
    shutil.copytree(unmeasured, root)
    with Patch.context() as monkeypatch:
        prepare(monkeypatch)
        all_results(evaluation_of(root))
    return root


@pytest.fixture(scope="session")
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
        before = kind.answers

        def answers(self: Any, ensemble: Ensemble, batch: Batch, victim: Any, attempt: int) -> Any:
            network, numbers = type(ensemble.members[0]), tuple(batch.numbers)
            made.append(Call(self.attack, str(victim), attempt, numbers, network))
            return before(self, ensemble, batch, victim, attempt)

        monkeypatch.setattr(kind, "answers", answers)

    record(Query)
    record(AimedAttack)
    return made
