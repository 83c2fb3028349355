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
from dverge.evaluation.blackbox import BlackBox
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
BUDGETS = ((Norm.LINF, REPORT_EPS), (Norm.LINF, EPS), (Norm.L2, L2_EPS))
LADDER = (2 / 255, 4 / 255, EPS, 16 / 255, 0.25)
STEPS = (1, 5, 10, 50)
CURVE = (0.005, 0.01, 0.02, EPS, 0.04, 0.05, 0.07)


class Protocol(enum.StrEnum):
    """What to measure.

    STANDARD: clean, FGSM, projected PGD with restarts, also through the mixture's mean logit, its
    mean loss and its members, and the strong attack. HEADLINE: clean, and strong at L-inf 8/255.
    REPORT: the report's own attacks, for comparison with its tables only. AUTOATTACK: the standard
    set of Croce & Hein 2020 on the mixture; AUTOATTACK_MEMBERS: on each member. BLACK_BOX: images
    that were made on other ensembles. CURVE: accuracy against eps. SANITY: the figures behind the
    sanity panel.
    """

    STANDARD = "standard"
    HEADLINE = "headline"
    REPORT = "report"
    AUTOATTACK = "autoattack"
    AUTOATTACK_MEMBERS = "autoattack-members"
    BLACK_BOX = "black-box"
    CURVE = "curve"
    SANITY = "sanity"


@dataclass(frozen=True)
class _Plan:
    """The content of a protocol.

    Attributes:
        measurements: makes them from a seed.
        split, images: the default images, and how many; None for all.
        version: raise it whenever results change their meaning, so that kept ones expire.
        change: what the version changed, to end a sentence with.
    """

    measurements: Callable[[int], list[Measurement]]
    split: Split = Split.TEST
    images: int | None = 1000
    version: int = 1
    change: str = ""


STRONGER = "the strong attack has taken the place of PGD"


def _standard(seed: int) -> list[Measurement]:
    return [
        Clean(),
        ProjectedGradient("fgsm", fgsm(REPORT_EPS), thorough=True),
        _pgd(EPS, 50, seed, RESTARTS),
        StrongAttack(Norm.LINF, REPORT_EPS, seed),
        StrongAttack(Norm.LINF, EPS, seed),
        StrongAttack(Norm.L2, L2_EPS, seed),
    ]


def _headline(seed: int) -> list[Measurement]:
    return [Clean(), StrongAttack(Norm.LINF, EPS, seed)]


def _report(seed: int) -> list[Measurement]:
    return [Clean(), *(ReportAttack(attack) for attack in Attack)]


def _autoattack(seed: int) -> list[Measurement]:
    return [Clean(), *(AutoAttack(norm, eps, seed) for norm, eps in BUDGETS)]


def _autoattack_members(seed: int) -> list[Measurement]:
    return [Clean(), *(AutoAttack(norm, eps, seed, on_members=True) for norm, eps in BUDGETS)]


def _black_box(seed: int) -> list[Measurement]:
    return [Clean(), BlackBox(REPORT_EPS, seed), BlackBox(EPS, seed)]


def _curve(seed: int) -> list[Measurement]:
    return [Clean(), *(StrongAttack(Norm.LINF, eps, seed, cumulative=True) for eps in CURVE)]


def _sanity(seed: int) -> list[Measurement]:
    return [
        Clean(),
        Noise(EPS, seed),
        ZeroGradient(),
        ProjectedGradient("fgsm", fgsm(EPS), thorough=True),
        *(_pgd(EPS, steps, seed) for steps in STEPS),
        *(StrongAttack(Norm.LINF, eps, seed) for eps in LADDER),
        Square(EPS, seed),
    ]


def _pgd(eps: float, steps: int, seed: int, restarts: int = 1) -> ProjectedGradient:
    config = pgd(Norm.LINF, eps, steps=steps, restarts=restarts, seed=seed)
    return ProjectedGradient("pgd-linf", config, thorough=restarts > 1)


PLANS = {
    Protocol.STANDARD: _Plan(
        _standard,
        images=None,
        version=2,
        change="the strong attack joined it, and what each model answers is kept",
    ),
    Protocol.HEADLINE: _Plan(_headline, images=None),
    Protocol.REPORT: _Plan(_report, Split.VALIDATION, None),
    Protocol.AUTOATTACK: _Plan(_autoattack),
    Protocol.AUTOATTACK_MEMBERS: _Plan(_autoattack_members),
    Protocol.BLACK_BOX: _Plan(_black_box),
    Protocol.CURVE: _Plan(_curve, version=2, change=STRONGER),
    Protocol.SANITY: _Plan(_sanity, images=500, version=2, change=STRONGER),
}
NEEDS_AUTOATTACK = (Protocol.AUTOATTACK, Protocol.AUTOATTACK_MEMBERS)


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
        if self.protocol in NEEDS_AUTOATTACK:
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
