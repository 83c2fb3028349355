"""AutoAttack and Square: never weaker than PGD, repeatable, and their warnings are reported."""

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
    AutoAttack,
    Square,
    autoattack_available,
    require_autoattack,
)
from dverge.evaluation.evaluation import Evaluation
from dverge.evaluation.measurements import AimedAttack, Batch, Clean, ProjectedGradient
from dverge.evaluation.predictions import answers
from dverge.evaluation.protocols import NEEDS_AUTOATTACK, PLANS, EvaluationConfig, Protocol
from dverge.models import Ensemble, compiled

REQUIREMENTS = Path(__file__).parents[1] / "requirements.txt"
needs_package = pytest.mark.skipif(not autoattack_available(), reason="needs pyautoattack")


@pytest.fixture(scope="module")
def fast(shipped: Path) -> Ensemble:
    return compiled(checkpoints.load(shipped))


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few iterations: the last attacks take minutes where an image stays correct."""
    import pyautoattack

    class Short(pyautoattack.AutoAttack):
        def __init__(self, *inputs: Any, **named: Any) -> None:
            super().__init__(*inputs, **named)
            self.apgd.n_iter = 40
            self.apgd_targeted.n_iter = self.fab.n_iter = self.square.n_queries = 12
            self.apgd_targeted.n_target_classes = self.fab.n_target_classes = 3

    monkeypatch.setattr(pyautoattack, "AutoAttack", Short)
    monkeypatch.setattr("dverge.evaluation.autoattack.SQUARE_QUERIES", 100)


def batch_of(*positions: int) -> Batch:
    some = load(Split.SAMPLE).balanced(10).subset(list(positions) or list(range(10)))
    return Batch(some.pixels(), some.labels, some.indices.tolist(), [])


# --- adversarial images ---


@needs_package
@pytest.mark.parametrize(("norm", "eps"), [(Norm.LINF, 0.012), (Norm.L2, 0.2)])
def test_it_is_no_weaker_than_pgd_and_stays_in_the_ball(
    fast: Ensemble, short: None, norm: Norm, eps: float
) -> None:
    batch, stronger = batch_of(0, 2, 6, 7, 9), 0
    for victim, row in ((Victim(0), 0), (MIXTURE, -1)):
        adversarial = AutoAttack(norm, eps).changed(fast, batch, victim, 0)
        correct = (answers(fast, adversarial) == batch.labels)[row]
        by_pgd = ProjectedGradient("pgd", pgd(norm, eps, steps=3)).answers(fast, batch, victim, 0)
        by_pgd = by_pgd == batch.labels
        assert not (correct & ~by_pgd[row]).any()
        assert correct.any()
        stronger += int((by_pgd[row] & ~correct).sum())
        delta = adversarial - batch.pixels
        length = delta.abs().amax((1, 2, 3)) if norm is Norm.LINF else lengths(delta).flatten()
        assert length.max() <= eps * (1 + 1e-4)
        assert 0 <= adversarial.min() <= adversarial.max() <= 1
        fooled = (answers(fast, batch.pixels) == batch.labels)[row] & ~correct
        assert (length[fooled] > 0).all() and fooled.any()
        assert not length[~fooled].any()  # images that were wrong before, or stay correct
    assert stronger > 0
    assert batch.warnings == []


@needs_package
def test_the_whole_attack_in_an_evaluation(
    tmp_path: Path, shipped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It fools all at a large budget. Log-probabilities are logits: they cause no warning."""
    attacks = [AutoAttack(Norm.LINF, 0.06), AutoAttack(Norm.LINF, 0.06, on_members=True)]
    plan = replace(PLANS[Protocol.AUTOATTACK], measurements=lambda seed: [Clean(), *attacks])
    monkeypatch.setitem(PLANS, Protocol.AUTOATTACK, plan)
    two = Ensemble(list(checkpoints.load(shipped).members)[:2])
    checkpoints.save("two", two, method="vanilla", root=tmp_path)
    config = EvaluationConfig(("two",), Protocol.AUTOATTACK, Split.SAMPLE, 4, device="cpu")
    evaluation = Evaluation(config, root=tmp_path)
    results = [each for finished in evaluation.run() for each in finished or []]
    assert evaluation.failures == []
    clean = {each.model: each.accuracy for each in results if each.attack == "clean"}
    assert min(clean.values()) > 0
    attacked = {r.parameters["victim"]: r for r in results if r.attack == "aa-linf"}
    assert list(attacked) == ["mixture", "member-1", "member-2", "members"]
    for each in attacked.values():
        assert each.accuracy == 0 and each.warnings == []
        assert each.parameters["version"] == "standard"


@needs_package
def test_square_needs_no_gradient(fast: Ensemble) -> None:
    class NoGradient(nn.Module):
        def __init__(self, inner: Ensemble) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, images: Tensor) -> Tensor:
            assert not images.requires_grad
            with torch.no_grad():
                return self.inner.members[0](images)

    batch, blind = batch_of(), Ensemble([NoGradient(fast)])
    adversarial = Square(0.03).changed(blind, batch, Victim(0), 0)
    assert (adversarial - batch.pixels).abs().max() <= 0.03 + 1e-6
    assert 0 <= adversarial.min() <= adversarial.max() <= 1
    before = (answers(blind, batch.pixels) == batch.labels)[0]
    after = (answers(blind, adversarial) == batch.labels)[0]
    assert after.sum() < before.sum() and not (after & ~before).any()


# --- the global generator and the package's logger ---

MAKERS: dict[str, Callable[[int], AimedAttack]] = {
    "autoattack": lambda seed: AutoAttack(Norm.LINF, 0.01, seed),
    "square": lambda seed: Square(0.05, seed),
}


@needs_package
@pytest.mark.parametrize("name", MAKERS)
def test_the_seed_alone_decides_and_the_global_generator_is_restored(
    fast: Ensemble, short: None, name: str
) -> None:
    batch, images = batch_of(1, 7), []
    for seed, other in ((5, 0), (5, 1), (6, 0)):
        torch.manual_seed(other)
        state = torch.get_rng_state()
        images.append(MAKERS[name](seed).changed(fast, batch, MIXTURE, 0))
        assert torch.get_rng_state().equal(state)
    assert images[0].equal(images[1])
    assert not images[0].equal(images[2])


@needs_package
def test_an_error_leaves_the_global_generator_and_no_listener(fast: Ensemble) -> None:
    class Broken(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            torch.rand(3)
            raise ZeroDivisionError

    logger = logging.getLogger("auto-attack")
    handlers, state = list(logger.handlers), torch.get_rng_state()
    for make in MAKERS.values():
        with pytest.raises(ZeroDivisionError):
            make(0).changed(Ensemble([Broken()]), batch_of(0), Victim(0), 0)
        assert torch.get_rng_state().equal(state)
        assert logger.handlers == handlers
    AutoAttack(Norm.LINF, 0.06).changed(fast, batch_of(2), MIXTURE, 0)  # nothing is locked


@pytest.mark.parametrize("name", MAKERS)
def test_batches_are_the_same_on_every_device(name: str) -> None:
    sizes = {MAKERS[name](0).batch_size(torch.device(device)) for device in ("cpu", "cuda")}
    assert len(sizes) == 1


class Probabilities(nn.Module):
    """Returns probabilities where the package wants logits, as another thread warns."""

    def forward(self, images: Tensor) -> Tensor:
        warn = logging.getLogger("auto-attack").warning
        other = threading.Thread(target=warn, args=("of another thread",))
        other.start()
        other.join()
        return (10 * images[:, 0, 3, :10]).softmax(1)


@needs_package
def test_a_warning_of_the_own_thread_is_reported_once(short: None) -> None:
    ensemble, batch = Ensemble([Probabilities()]), batch_of(1, 2)
    with torch.no_grad():
        batch = replace(batch, labels=ensemble(batch.pixels).argmax(1))
    for _ in range(2):
        AutoAttack(Norm.LINF, 0.03).changed(ensemble, batch, Victim(0), 0)
    assert sum("probability distribution" in text for text in batch.warnings) == 1
    assert len(set(batch.warnings)) == len(batch.warnings)
    assert "of another thread" not in batch.warnings


# --- as a protocol ---


@needs_package
def test_protocols_with_the_package() -> None:
    require_autoattack()
    clean, *attacks = EvaluationConfig(("one",), Protocol.AUTOATTACK, seed=3).measurements()
    assert clean == Clean()
    budgets = [(Norm.LINF, 0.03), (Norm.LINF, 8 / 255), (Norm.L2, 0.5)]
    assert attacks == [AutoAttack(norm, eps, 3) for norm, eps in budgets]
    _, *on_members = EvaluationConfig(("one",), Protocol.AUTOATTACK_MEMBERS, seed=3).measurements()
    assert on_members == [AutoAttack(norm, eps, 3, on_members=True) for norm, eps in budgets]
    assert attacks[0].victims(2) == [MIXTURE] and on_members[0].victims(2) == [Victim(0), Victim(1)]
    assert [each.attack for each in attacks] == ["aa-linf", "aa-linf", "aa-l2"]
    sanity = EvaluationConfig(("one",), Protocol.SANITY, seed=2).measurements()
    assert sanity[-1] == Square(8 / 255, 2)
    assert version("pyautoattack") == VERSION
    assert f"pyautoattack=={VERSION}" in REQUIREMENTS.read_text().splitlines()


def test_without_the_package_only_autoattack_is_refused(
    shipped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec

    def find_no_attack(name: str, *rest: Any) -> Any:
        return None if name.startswith("pyautoattack") else find(name, *rest)

    monkeypatch.setattr(importlib.util, "find_spec", find_no_attack)
    assert not autoattack_available()
    message = rf"AutoAttack is not installed; install it with: pip install pyautoattack=={VERSION}$"
    with pytest.raises(ConfigError, match=message):
        require_autoattack()
    for protocol in NEEDS_AUTOATTACK:
        with pytest.raises(ConfigError, match=message):
            Evaluation(EvaluationConfig((str(shipped),), protocol, Split.SAMPLE))
    for protocol in set(Protocol) - set(NEEDS_AUTOATTACK):
        measurements = EvaluationConfig(("one",), protocol).measurements()
        assert len(measurements) > 1
        assert not any(isinstance(each, Square) for each in measurements)
