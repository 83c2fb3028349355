"""AutoAttack (Croce & Hein 2020) and its Square attack, from the package pyautoattack.

The package is optional. It takes the mixture's log-probabilities as logits, which they are.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dverge.attacks import Norm, Victim
from dverge.errors import ConfigError
from dverge.evaluation.measurements import Batch, Measurement
from dverge.models import Ensemble
from dverge.seeds import derive_seed

PACKAGE = "pyautoattack"
VERSION = "0.2.0"
NORMS = {Norm.LINF: "Linf", Norm.L2: "L2"}
SQUARE_QUERIES = 1000
_GLOBAL_GENERATOR = threading.Lock()


def autoattack_available() -> bool:
    """Whether the optional package is installed."""
    return importlib.util.find_spec(PACKAGE) is not None


def require_autoattack() -> None:
    """Raise ConfigError saying how to install the package unless it is there."""
    if not autoattack_available():
        raise ConfigError(
            f"AutoAttack is not installed; install it with: pip install {PACKAGE}=={VERSION}"
        )


@dataclass(frozen=True)
class Auto(Measurement):
    """The standard set: APGD on the cross-entropy, targeted APGD and FAB, and Square."""

    norm: Norm
    eps: float
    seed: int = 0
    needs_package = True

    @property
    def attack(self) -> str:  # type: ignore[override]
        return f"aa-{self.norm}"

    def parameters(self) -> dict[str, Any]:
        return {"eps": self.eps, "version": "standard", "seed": self.seed}

    def cost(self) -> float:
        return 1500.0  # of some 5,000 gradients and queries, for the few images that stand so long

    def batch_size(self, device: torch.device) -> int:
        """The package's own; fixed, as what it draws depends on which images are together."""
        return 250

    def changed(self, ensemble: Ensemble, batch: Batch, victim: Victim, restart: int) -> Tensor:
        from pyautoattack import AutoAttack

        device = batch.pixels.device
        with _own_generator(device), _warnings_into(batch.warnings):
            attack = AutoAttack(
                _network(ensemble, victim),
                norm=NORMS[self.norm],
                eps=self.eps,
                seed=_seed(self.seed, batch),
                device=device,
            )
            found, _ = attack.run_standard_evaluation(batch.pixels, batch.labels)
        return found.clamp(0, 1)


@dataclass(frozen=True)
class Square(Measurement):
    """The Square attack (Andriushchenko et al. 2020): L-inf, by queries alone, no gradient."""

    eps: float
    seed: int = 0
    attack = "square"
    needs_package = True

    def parameters(self) -> dict[str, Any]:
        return {"eps": self.eps, "queries": SQUARE_QUERIES, "seed": self.seed}

    def cost(self) -> float:
        return SQUARE_QUERIES / 6

    def batch_size(self, device: torch.device) -> int:
        return 250

    def changed(self, ensemble: Ensemble, batch: Batch, victim: Victim, restart: int) -> Tensor:
        from pyautoattack.square import SquareAttack

        attack = SquareAttack(
            _network(ensemble, victim),
            norm="Linf",
            eps=self.eps,
            n_queries=SQUARE_QUERIES,
            seed=_seed(self.seed, batch),
            device=batch.pixels.device,
        )
        with _own_generator(batch.pixels.device):
            return attack.perturb(batch.pixels, batch.labels)


def _network(ensemble: Ensemble, victim: Victim) -> nn.Module:
    return ensemble if victim.member is None else ensemble.members[victim.member]


def _seed(seed: int, batch: Batch) -> int:
    return derive_seed(seed, "autoattack", int(batch.numbers[0])) % 2**31


@contextlib.contextmanager
def _own_generator(device: torch.device) -> Iterator[None]:
    """The package seeds and draws from torch's global generator: one at a time, and put back."""
    devices = [device] if device.type == "cuda" else []
    with _GLOBAL_GENERATOR, torch.random.fork_rng(devices):
        yield


@contextlib.contextmanager
def _warnings_into(found: list[str]) -> Iterator[None]:
    """Add what the package warns of, in this thread, to a list, each text once."""
    logger, thread = logging.getLogger("auto-attack"), threading.get_ident()

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            text = record.getMessage()
            if record.thread == thread and text not in found:
                found.append(text)

    listener = Listener(logging.WARNING)
    logger.addHandler(listener)
    try:
        yield
    finally:
        logger.removeHandler(listener)
