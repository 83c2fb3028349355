"""AutoAttack and Square: never weaker than PGD, repeatable, and silent about nothing they say."""

from __future__ import annotations

import importlib.util
import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dverge import checkpoints
from dverge.attacks import MIXTURE, Norm, Victim, pgd
from dverge.attacks.geometry import lengths
from dverge.data import Split, load
from dverge.errors import ConfigError
from dverge.evaluation.autoattack import (
    VERSION,
    Auto,
    Square,
    autoattack_available,
    require_autoattack,
)
from dverge.evaluation.evaluation import Evaluation
from dverge.evaluation.measurements import Batch, Clean, Gradient, Measurement
from dverge.evaluation.predictions import answers
from dverge.evaluation.protocols import PLANS, EvaluationConfig, Protocol
from dverge.evaluation.tally import Tally
from dverge.models import Ensemble, compiled
from dverge.results import Result

needs_package = pytest.mark.skipif(not autoattack_available(), reason="needs pyautoattack")
ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "checkpoints" / "vanilla-3xconv-s0"


@pytest.fixture(scope="module")
def trained() -> Ensemble:
    return compiled(checkpoints.load(SHIPPED))


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its attacks cut short: the last ones take minutes where something stands."""
    import pyautoattack

    class Short(pyautoattack.AutoAttack):
        def __init__(self, *given: Any, **named: Any) -> None:
            super().__init__(*given, **named)
            self.apgd.n_iter = 40
            self.apgd_targeted.n_iter = self.fab.n_iter = self.square.n_queries = 12
            self.apgd_targeted.n_target_classes = self.fab.n_target_classes = 3

    monkeypatch.setattr(pyautoattack, "AutoAttack", Short)
    monkeypatch.setattr("dverge.evaluation.autoattack.SQUARE_QUERIES", 100)


def batch_of(*positions: int) -> Batch:
    some = load(Split.SAMPLE).balanced(10).subset(list(positions) or list(range(10)))
    return Batch(some.pixels(), some.labels, some.indices.tolist(), [])


# --- what they find ---

CASES = [(Norm.LINF, 0.012), (Norm.L2, 0.2)]


@needs_package
@pytest.mark.parametrize(("norm", "eps"), CASES)
def test_it_is_not_above_pgd_and_in_the_ball(
    trained: Ensemble, short: None, norm: Norm, eps: float
) -> None:
    batch, below = batch_of(0, 2, 6, 7, 9), 0
    for victim, row in ((Victim(0), 0), (MIXTURE, -1)):
        found = Auto(norm, eps).changed(trained, batch, victim, 0)
        right = answers(trained, found) == batch.labels
        weaker = Gradient("pgd", pgd(norm, eps, steps=3)).right(trained, batch, victim, 0)
        clean = Clean().right(trained, batch, victim, 0)
        assert not (right[row] & ~weaker[row]).any()
        assert right[row].any()
        below += int((weaker[row] & ~right[row]).sum())
        delta = found - batch.pixels
        length = delta.abs().amax((1, 2, 3)) if norm is Norm.LINF else lengths(delta).flatten()
        assert length.max() <= eps * (1 + 1e-4)
        assert 0 <= found.min() <= found.max() <= 1
        fooled = clean[row] & ~right[row]
        assert (length[fooled] > 0).all() and fooled.any()
        assert not length[~fooled].any()  # what was wrong before, and what stands
    assert below > 0
    assert batch.warnings == []


@needs_package
def test_the_whole_of_it_where_nothing_stands_for_long(trained: Ensemble) -> None:
    right = Auto(Norm.LINF, 0.06).right(trained, batch_of(1, 2, 3, 4), MIXTURE, 0)
    assert not right[-1].any()


@needs_package
def test_square_fools_by_queries_alone(trained: Ensemble) -> None:
    class NoGradient(nn.Module):
        def __init__(self, inner: Ensemble) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, images: Tensor) -> Tensor:
            assert not images.requires_grad
            with torch.no_grad():
                return self.inner.members[0](images)

    batch, blind = batch_of(), Ensemble([NoGradient(trained)])
    found = Square(0.03).changed(blind, batch, Victim(0), 0)
    assert (found - batch.pixels).abs().max() <= 0.03 + 1e-6
    assert 0 <= found.min() <= found.max() <= 1
    clean = Clean().right(blind, batch, MIXTURE, 0)[0]
    right = Square(0.03).right(blind, batch, Victim(0), 0)[0]
    assert right.sum() < clean.sum()
    assert not (right & ~clean).any()


def measured(measurement: Measurement, ensemble: Ensemble, batch: Batch) -> list[Result]:
    tally = Tally(measurement, Clean().right(ensemble, batch, MIXTURE, 0))
    while not tally.done:
        victim, restart, at = tally.next(4)
        numbers = [batch.numbers[i] for i in at.tolist()]
        part = Batch(batch.pixels[at], batch.labels[at], numbers, tally.warnings)
        tally.add(at, measurement.right(ensemble, part, victim, restart), 0.0)
    return tally.rows(Split.SAMPLE)


# --- what is left as it was ---

MAKERS: dict[str, Callable[[int], Measurement]] = {
    "auto": lambda seed: Auto(Norm.LINF, 0.01, seed),
    "square": lambda seed: Square(0.05, seed),
}


@needs_package
@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
def test_the_seed_alone_decides_and_the_global_generator_stays(
    trained: Ensemble, short: None, make: Callable[[int], Measurement]
) -> None:
    batch, found = batch_of(1, 7), []
    for seed, other in ((5, 0), (5, 1), (6, 0)):
        torch.manual_seed(other)
        state = torch.get_rng_state()
        found.append(make(seed).changed(trained, batch, MIXTURE, 0))
        assert torch.get_rng_state().equal(state)
    assert found[0].equal(found[1])
    assert not found[0].equal(found[2])


@needs_package
def test_an_error_leaves_the_global_generator_and_no_listener(trained: Ensemble) -> None:
    class Broken(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            torch.rand(3)
            raise ZeroDivisionError

    logger = logging.getLogger("auto-attack")
    handlers, state = list(logger.handlers), torch.get_rng_state()
    for measurement in (Auto(Norm.LINF, 0.01), Square(0.01)):
        with pytest.raises(ZeroDivisionError):
            measurement.changed(Ensemble([Broken()]), batch_of(0), Victim(0), 0)
        assert torch.get_rng_state().equal(state)
        assert logger.handlers == handlers
    Auto(Norm.LINF, 0.06).changed(trained, batch_of(2), MIXTURE, 0)  # nothing is locked


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
def test_what_is_together_does_not_hang_on_the_device(make: Callable[[int], Measurement]) -> None:
    sizes = {make(0).batch_size(torch.device(name)) for name in ("cpu", "cuda")}
    assert len(sizes) == 1


# --- warnings ---


class Shares(nn.Module):
    """Returns probabilities where logits are due."""

    def __init__(self, foreign: str = "") -> None:
        super().__init__()
        self.foreign = foreign

    def forward(self, images: Tensor) -> Tensor:
        if self.foreign:
            say = logging.getLogger("auto-attack").warning
            other = threading.Thread(target=say, args=(self.foreign,))
            other.start()
            other.join()
        return (10 * images[:, 0, 3, :10]).softmax(1)


@needs_package
def test_warnings_are_in_every_row_each_once(short: None) -> None:
    ensemble, batch = Ensemble([Shares(), Shares("of another thread")]), batch_of()
    with torch.no_grad():
        labels = ensemble(batch.pixels).argmax(1)
    rows = measured(Auto(Norm.LINF, 0.03), ensemble, replace(batch, labels=labels))
    assert len(rows) == 6
    for row in rows:
        warned = [text for text in row.warnings if "probability distribution" in text]
        assert len(warned) == 1
        assert "of another thread" not in row.warnings
        assert len(set(row.warnings)) == len(row.warnings)
        assert row.to_dict()["warnings"] == row.warnings


@needs_package
def test_log_probabilities_are_logits_enough(trained: Ensemble) -> None:
    batch = batch_of(2, 3)
    Auto(Norm.LINF, 0.06).changed(trained, batch, MIXTURE, 0)
    assert batch.warnings == []


# --- as a protocol ---


def few(seed: int) -> list[Measurement]:
    return [Clean(), Auto(Norm.LINF, 0.02, seed)]


@needs_package
def test_an_evaluation(tmp_path: Path, short: None, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = replace(PLANS[Protocol.AUTOATTACK], measurements=few)
    monkeypatch.setitem(PLANS, Protocol.AUTOATTACK, plan)
    one = Ensemble([checkpoints.load(SHIPPED).members[0]])
    checkpoints.save("one", one, method="vanilla", root=tmp_path)
    config = EvaluationConfig.of(
        ("one",), Protocol.AUTOATTACK, split=Split.SAMPLE, images=6, device="cpu"
    )
    evaluation = Evaluation(config, root=tmp_path)
    rows = [row for rows in evaluation.run() for row in rows or []]
    assert evaluation.failures == []
    attacked = {(r.model, r.parameters["victim"]): r for r in rows if r.attack == "aa-linf"}
    clean = {row.model: row for row in rows if row.attack == "clean"}
    assert {key[0] for key in attacked} == {"member-1", "mixture", "random-member"}
    for (model, _), row in attacked.items():
        assert row.accuracy <= clean[model].accuracy
        assert row.parameters["version"] == "standard"
    assert attacked["mixture", "worst"].accuracy <= attacked["mixture", "mixture"].accuracy


@needs_package
def test_what_the_protocol_is_made_of() -> None:
    config = EvaluationConfig.of(("one",), Protocol.AUTOATTACK, seed=3)
    clean, *rest = config.measurements()
    assert clean == Clean()
    assert rest == [
        Auto(Norm.LINF, 0.03, 3),
        Auto(Norm.LINF, 8 / 255, 3),
        Auto(Norm.L2, 0.5, 3),
    ]
    assert [m.attack for m in rest] == ["aa-linf", "aa-linf", "aa-l2"]


# --- without the package ---


@pytest.fixture
def absent(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec

    def find_no_attack(name: str, *given: Any) -> Any:
        return None if name.startswith("pyautoattack") else find(name, *given)

    monkeypatch.setattr(importlib.util, "find_spec", find_no_attack)


def test_without_the_package_it_says_how_to_get_it(absent: None) -> None:
    assert not autoattack_available()
    message = rf"AutoAttack is not installed; install it with: pip install pyautoattack=={VERSION}$"
    with pytest.raises(ConfigError, match=message):
        require_autoattack()
    config = EvaluationConfig.of((str(SHIPPED),), Protocol.AUTOATTACK, split=Split.SAMPLE)
    with pytest.raises(ConfigError, match=message):
        Evaluation(config)


def test_without_the_package_the_others_go_on(absent: None) -> None:
    for protocol in set(Protocol) - {Protocol.AUTOATTACK}:
        measurements = EvaluationConfig.of(("one",), protocol).measurements()
        assert len(measurements) > 1
        assert not any(isinstance(each, Square) for each in measurements)


@needs_package
def test_with_it_the_sanity_protocol_has_square(monkeypatch: pytest.MonkeyPatch) -> None:
    require_autoattack()
    last = EvaluationConfig.of(("one",), Protocol.SANITY, seed=2).measurements()[-1]
    assert last == Square(8 / 255, 2)


@needs_package
def test_the_version_is_the_one_that_is_tested() -> None:
    assert version("pyautoattack") == VERSION
    required = (ROOT / "tests" / "requirements.txt").read_text().splitlines()
    assert f"pyautoattack=={VERSION}" in required
