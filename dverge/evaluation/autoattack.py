"""AutoAttack (Croce & Hein 2020) and its Square attack, from the optional package pyautoattack.

The package wants logits; the mixture's log-probabilities are logits of its probabilities.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dverge.attacks import MIXTURE, Norm, Victim
from dverge.errors import ConfigError
from dverge.evaluation.measurements import AimedAttack, Batch
from dverge.models import Ensemble
from dverge.seeds import derive_seed

PACKAGE = "pyautoattack"
VERSION = "0.2.0"
NORMS = {Norm.LINF: "Linf", Norm.L2: "L2"}
SQUARE_QUERIES = 1000
BATCH = 250  # the package's default, on every device: its random draws depend on the batch
_GLOBAL_GENERATOR = threading.Lock()


def autoattack_available() -> bool:
    """Whether the optional package is installed."""
    return importlib.util.find_spec(PACKAGE) is not None


def require_autoattack() -> None:
    """Raise ConfigError with the command to install the package, if it is missing."""
    if not autoattack_available():
        raise ConfigError(
            f"AutoAttack is not installed; install it with: pip install {PACKAGE}=={VERSION}"
        )


@dataclass(frozen=True)
class AutoAttack(AimedAttack):
    """The standard set: APGD on the cross-entropy, targeted APGD and FAB, and Square.

    Attributes:
        norm, eps: the budget.
        seed: of all random choices.
        on_members: attack each member in place of the mixture. It takes several times as long and
            has hardly ever changed the mixture's figure.
    """

    norm: Norm
    eps: float
    seed: int = 0
    on_members: bool = False
    needs_pyautoattack = True

    @property
    def attack(self) -> str:  # type: ignore[override]
        return f"aa-{self.norm}"

    def parameters(self) -> dict[str, Any]:
        shown = {"eps": self.eps, "version": "standard", "seed": self.seed}
        return shown | ({"on_members": True} if self.on_members else {})

    def victims(self, members: int) -> Sequence[Victim]:
        return [*map(Victim, range(members))] if self.on_members else [MIXTURE]

    def cost(self) -> float:
        return 1500.0  # images correct to the end cost some 5,000 gradients; most fall early

    def batch_size(self, device: torch.device) -> int:
        return BATCH

    def changed(self, ensemble: Ensemble, batch: Batch, victim: Victim, attempt: int) -> Tensor:
        import pyautoattack

        device = batch.pixels.device
        with _global_generator_restored(device), _warnings_into(batch.warnings):
            attack = pyautoattack.AutoAttack(
                _victim_network(ensemble, victim),
                norm=NORMS[self.norm],
                eps=self.eps,
                seed=_seed(self.seed, batch),
                device=device,
            )
            adversarial, _ = attack.run_standard_evaluation(batch.pixels, batch.labels)
        return adversarial.clamp(0, 1)


@dataclass(frozen=True)
class Square(AimedAttack):
    """The Square attack (Andriushchenko et al. 2020), L-inf: it only queries, without gradients."""

    eps: float
    seed: int = 0
    attack = "square"
    needs_pyautoattack = True

    def parameters(self) -> dict[str, Any]:
        return {"eps": self.eps, "queries": SQUARE_QUERIES, "seed": self.seed}

    def cost(self) -> float:
        return SQUARE_QUERIES / 6

    def batch_size(self, device: torch.device) -> int:
        return BATCH

    def changed(self, ensemble: Ensemble, batch: Batch, victim: Victim, attempt: int) -> Tensor:
        from pyautoattack.square import SquareAttack

        attack = SquareAttack(
            _victim_network(ensemble, victim),
            norm="Linf",
            eps=self.eps,
            n_queries=SQUARE_QUERIES,
            seed=_seed(self.seed, batch),
            device=batch.pixels.device,
        )
        with _global_generator_restored(batch.pixels.device):
            return attack.perturb(batch.pixels, batch.labels)


def _victim_network(ensemble: Ensemble, victim: Victim) -> nn.Module:
    return ensemble if victim.member is None else ensemble.members[victim.member]


def _seed(seed: int, batch: Batch) -> int:
    return derive_seed(seed, "autoattack", int(batch.numbers[0])) % 2**31


@contextlib.contextmanager
def _global_generator_restored(device: torch.device) -> Iterator[None]:
    """Lend the package torch's global generator, one caller at a time, and restore its state."""
    devices = [device] if device.type == "cuda" else []
    with _GLOBAL_GENERATOR, torch.random.fork_rng(devices):
        yield


@contextlib.contextmanager
def _warnings_into(texts: list[str]) -> Iterator[None]:
    """Append each text that the package logs as a warning in this thread to a list, once."""
    logger, thread = logging.getLogger("auto-attack"), threading.get_ident()

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            text = record.getMessage()
            if record.thread == thread and text not in texts:
                texts.append(text)

    listener = Listener(logging.WARNING)
    logger.addHandler(listener)
    try:
        yield
    finally:
        logger.removeHandler(listener)
