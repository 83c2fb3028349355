"""Protocols: which measurements belong together, and on which images by default."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Any

from dverge.attacks import Attack, Norm, fgsm, pgd
from dverge.data import Split
from dverge.devices import check_device_name
from dverge.errors import require, require_choice, require_integer
from dverge.evaluation.autoattack import (
    AutoAttack,
    Square,
    autoattack_available,
    require_autoattack,
)
from dverge.evaluation.measurements import (
    Clean,
    Measurement,
    Noise,
    ProjectedGradient,
    ReportAttack,
    ZeroGradient,
)
from dverge.evaluation.strong import StrongAttack
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

    STANDARD: FGSM and projected PGD with restarts, on the mixture also through its mean logit, its
    mean loss and its members; and the strong attack. REPORT: the report's own attacks, for
    comparison with its tables only. AUTOATTACK: the standard set of Croce & Hein 2020. CURVE:
    accuracy against eps. SANITY: the figures behind the sanity panel.
    """

    STANDARD = "standard"
    REPORT = "report"
    AUTOATTACK = "autoattack"
    CURVE = "curve"
    SANITY = "sanity"


@dataclass(frozen=True)
class _Plan:
    """The content of a protocol.

    Attributes:
        measurements: makes them from a seed.
        split, images: the default images, and how many; None for all.
        version: raise it whenever results change their meaning, so that kept ones expire.
    """

    measurements: Callable[[int], list[Measurement]]
    split: Split = Split.TEST
    images: int | None = 1000
    version: int = 1


def _standard(seed: int) -> list[Measurement]:
    def thorough(norm: Norm, eps: float, steps: int) -> ProjectedGradient:
        config = pgd(norm, eps, steps=steps, restarts=RESTARTS, seed=seed)
        return ProjectedGradient(f"pgd-{norm}", config, thorough=True)

    return [
        Clean(),
        ProjectedGradient("fgsm", fgsm(REPORT_EPS), thorough=True),
        thorough(Norm.LINF, REPORT_EPS, 10),
        thorough(Norm.LINF, REPORT_EPS, 50),
        thorough(Norm.LINF, EPS, 10),
        thorough(Norm.LINF, EPS, 50),
        thorough(Norm.L2, L2_EPS, 50),
        StrongAttack(Norm.LINF, REPORT_EPS, seed),
        StrongAttack(Norm.LINF, EPS, seed),
        StrongAttack(Norm.L2, L2_EPS, seed),
    ]


def _report(seed: int) -> list[Measurement]:
    clean = Clean(draws=10, draw_size=256, seed=seed)
    return [clean, *(ReportAttack(attack) for attack in Attack)]


def _autoattack(seed: int) -> list[Measurement]:
    return [
        Clean(),
        AutoAttack(Norm.LINF, REPORT_EPS, seed),
        AutoAttack(Norm.LINF, EPS, seed),
        AutoAttack(Norm.L2, L2_EPS, seed),
    ]


def _curve(seed: int) -> list[Measurement]:
    return [Clean(), *(_one_restart(eps, CURVE_STEPS, seed) for eps in CURVE)]


def _sanity(seed: int) -> list[Measurement]:
    return [
        Clean(),
        Noise(EPS, seed),
        ZeroGradient(),
        ProjectedGradient("fgsm", fgsm(EPS), thorough=True),
        *(_one_restart(EPS, steps, seed) for steps in STEPS),
        *(_one_restart(eps, CURVE_STEPS, seed) for eps in LADDER),
        Square(EPS, seed),
    ]


def _one_restart(eps: float, steps: int, seed: int) -> ProjectedGradient:
    return ProjectedGradient("pgd-linf", pgd(Norm.LINF, eps, steps=steps, seed=seed))


PLANS = {
    Protocol.STANDARD: _Plan(_standard, images=None),
    Protocol.REPORT: _Plan(_report, Split.VALIDATION, None),
    Protocol.AUTOATTACK: _Plan(_autoattack),
    Protocol.CURVE: _Plan(_curve),
    Protocol.SANITY: _Plan(_sanity, images=500),
}


@dataclass(frozen=True)
class EvaluationConfig:
    """What to measure on which checkpoints.

    Attributes:
        checkpoints: names or folders, at least one.
        protocol: which measurements.
        split: TEST, VALIDATION or SAMPLE.
        images: how many, balanced over the classes and the same for all; None for the whole split.
        seed: of all random choices.
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
        held_out = self.split is not Split.TRAIN
        require(held_out, "split", str(self.split), "test, validation or sample")
        if self.images is not None:
            require_integer("images", self.images, 1, 10_000)
        require_integer("seed", self.seed, 0, 2**31 - 1)
        check_device_name(self.device)

    @classmethod
    def of(
        cls, checkpoints: tuple[str, ...], protocol: Protocol, **settings: Any
    ) -> EvaluationConfig:
        """The protocol's defaults, but for these settings."""
        plan = PLANS[require_choice(Protocol, "protocol", protocol)]
        defaults: dict[str, Any] = {"split": plan.split}
        if "split" not in settings:
            defaults["images"] = plan.images
        return cls(checkpoints, protocol, **(defaults | settings))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> EvaluationConfig:
        """Read the config from what to_dict returned.

        Raises:
            ConfigError: a field is missing, unknown or outside its range.
        """
        checkpoints = complete(values, cls)["checkpoints"]
        require(isinstance(checkpoints, list), "checkpoints in config", checkpoints, "a list")
        unknown = ", ".join(sorted(values.keys() - {each.name for each in fields(cls)}))
        require(not unknown, "unknown field in config", unknown, "left out")
        return cls(**(values | {"checkpoints": tuple(checkpoints)}))

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self) | {"checkpoints": list(self.checkpoints)}

    def measurements(self) -> list[Measurement]:
        """What can be measured here, in order; without pyautoattack, all that does not need it.

        Raises:
            ConfigError: the protocol is AutoAttack, and its package is not installed.
        """
        if self.protocol is Protocol.AUTOATTACK:
            require_autoattack()
        every, available = self.known_measurements(), autoattack_available()
        return [each for each in every if available or not each.needs_pyautoattack]

    def known_measurements(self) -> list[Measurement]:
        """All measurements of the protocol, in order."""
        return PLANS[self.protocol].measurements(self.seed)

    @property
    def version(self) -> int:
        """The protocol's version; see the plans."""
        return PLANS[self.protocol].version
