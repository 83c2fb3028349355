"""Protocols: which attacks are measured together, on which images by default."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Any

from dverge.attacks import Attack, Norm, fgsm, pgd
from dverge.data import Split
from dverge.devices import check_device_name
from dverge.errors import require, require_choice, require_integer
from dverge.evaluation.autoattack import Auto, Square, autoattack_available, require_autoattack
from dverge.evaluation.measurements import (
    Clean,
    Gradient,
    Measurement,
    Noise,
    Report,
    ZeroGradient,
)
from dverge.stored import complete

EPS = 8 / 255  # the usual L-inf budget
REPORT_EPS = 0.03
L2_EPS = 0.5
RESTARTS = 3
LADDER = (2 / 255, 4 / 255, EPS, 16 / 255, 0.25)
STEPS = (1, 5, 10, 50)
CURVE = (0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07)
CURVE_STEPS = 20


class Protocol(enum.StrEnum):
    """What to measure.

    STANDARD: FGSM and projected PGD with restarts, each mixture also attacked through its mean
    logit, its mean loss and its members. REPORT: the report's own attacks, for comparison with its
    tables only. AUTOATTACK: the standard set of Croce & Hein. CURVE: accuracy against eps. SANITY:
    what the sanity panel is computed from.
    """

    STANDARD = "standard"
    REPORT = "report"
    AUTOATTACK = "autoattack"
    CURVE = "curve"
    SANITY = "sanity"


@dataclass(frozen=True)
class _Plan:
    """A protocol's content.

    Attributes:
        measurements: for a seed.
        split: the images it is about.
        images: how many by default; None for all.
        version: to be raised whenever its figures change their meaning, so that kept ones expire.
    """

    measurements: Callable[[int], list[Measurement]]
    split: Split = Split.TEST
    images: int | None = 1000
    version: int = 1


def _standard(seed: int) -> list[Measurement]:
    def thorough(attack: str, norm: Norm, eps: float, steps: int) -> Gradient:
        config = pgd(norm, eps, steps=steps, restarts=RESTARTS, seed=seed)
        return Gradient(attack, config, thorough=True)

    return [
        Clean(),
        Gradient("fgsm", fgsm(REPORT_EPS), thorough=True),
        thorough("pgd-linf", Norm.LINF, REPORT_EPS, 10),
        thorough("pgd-linf", Norm.LINF, REPORT_EPS, 50),
        thorough("pgd-linf", Norm.LINF, EPS, 10),
        thorough("pgd-linf", Norm.LINF, EPS, 50),
        thorough("pgd-l2", Norm.L2, L2_EPS, 50),
    ]


def _report(seed: int) -> list[Measurement]:
    clean = Clean(draws=10, draw_size=256, seed=seed)
    return [clean, *(Report(attack) for attack in Attack)]


def _autoattack(seed: int) -> list[Measurement]:
    return [
        Clean(),
        Auto(Norm.LINF, REPORT_EPS, seed),
        Auto(Norm.LINF, EPS, seed),
        Auto(Norm.L2, L2_EPS, seed),
    ]


def _one_try(eps: float, steps: int, seed: int) -> Gradient:
    return Gradient("pgd-linf", pgd(Norm.LINF, eps, steps=steps, seed=seed))


def _curve(seed: int) -> list[Measurement]:
    return [Clean(), *(_one_try(eps, CURVE_STEPS, seed) for eps in CURVE)]


def _sanity(seed: int) -> list[Measurement]:
    found: list[Measurement] = [Clean(), Noise(EPS, seed), ZeroGradient()]
    found.append(Gradient("fgsm", fgsm(EPS), thorough=True))
    found += [_one_try(EPS, steps, seed) for steps in STEPS]
    found += [_one_try(eps, CURVE_STEPS, seed) for eps in LADDER]
    return [*found, Square(EPS, seed)]


PLANS = {
    Protocol.STANDARD: _Plan(_standard, images=None),
    Protocol.REPORT: _Plan(_report, Split.VALIDATION, None),
    Protocol.AUTOATTACK: _Plan(_autoattack),
    Protocol.CURVE: _Plan(_curve),
    Protocol.SANITY: _Plan(_sanity, images=500),
}


@dataclass(frozen=True)
class EvaluationConfig:
    """What to measure of which checkpoints.

    Attributes:
        checkpoints: names or folders, at least one.
        protocol: which attacks.
        split: TEST, VALIDATION or SAMPLE.
        images: how many, balanced over the classes and the same for all; None for all there are.
        seed: of all that is random.
        device: auto, cpu, cuda or cuda:N.

    Raises:
        ConfigError: a value is outside its range.
    """

    checkpoints: tuple[str, ...]
    protocol: Protocol = Protocol.STANDARD
    split: Split = Split.TEST
    images: int | None = None
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        require(len(self.checkpoints) > 0, "checkpoints", "", "at least one checkpoint")
        for name, kind in (("protocol", Protocol), ("split", Split)):
            object.__setattr__(self, name, require_choice(kind, name, getattr(self, name)))
        known = self.split is not Split.TRAIN
        require(known, "split", str(self.split), "test, validation or sample")
        if self.images is not None:
            require_integer("images", self.images, 1, 10_000)
        require_integer("seed", self.seed, 0, 2**31 - 1)
        check_device_name(self.device)

    @classmethod
    def of(cls, checkpoints: tuple[str, ...], protocol: Protocol, **given: Any) -> EvaluationConfig:
        """The protocol's defaults, and what was given in their place."""
        plan = PLANS[require_choice(Protocol, "protocol", protocol)]
        defaults: dict[str, Any] = {"split": plan.split}
        if "split" not in given:
            defaults["images"] = plan.images
        return cls(checkpoints, protocol, **(defaults | given))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> EvaluationConfig:
        """The config of to_dict, with all of its fields. Raises ConfigError for anything else."""
        checkpoints = complete(values, cls)["checkpoints"]
        require(isinstance(checkpoints, list), "checkpoints in config", checkpoints, "a list")
        unknown = ", ".join(sorted(values.keys() - {each.name for each in fields(cls)}))
        require(not unknown, "unknown field in config", unknown, "left out")
        return cls(**(values | {"checkpoints": tuple(checkpoints)}))

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self) | {"checkpoints": list(self.checkpoints)}

    def measurements(self) -> list[Measurement]:
        """What is measured, in order; without what needs a package that is not there.

        Raises:
            ConfigError: AutoAttack is asked for and not installed.
        """
        if self.protocol is Protocol.AUTOATTACK:
            require_autoattack()
        known = self.known_measurements()
        return [each for each in known if autoattack_available() or not each.needs_package]

    def known_measurements(self) -> list[Measurement]:
        """All that the protocol can hold."""
        return PLANS[self.protocol].measurements(self.seed)

    @property
    def version(self) -> int:
        """Of the protocol's meaning."""
        return PLANS[self.protocol].version
