"""Settings of the trainings, one class a method."""

from __future__ import annotations

import enum
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Self

from dverge.attacks import AttackConfig, Norm
from dverge.data import Augmentation
from dverge.devices import check_device_name
from dverge.errors import ConfigError, require, require_choice, require_integer, require_number
from dverge.stored import complete

TRAINING_IMAGES = 48_976  # all but the 1,024 validation images


class Method(enum.StrEnum):
    """How an ensemble is trained."""

    VANILLA = "vanilla"
    DVERGE = "dverge"
    DVERGE_ADVT = "dverge-advt"
    ADVT = "advt"


class Schedule(enum.StrEnum):
    """How the learning rate goes over the epochs."""

    CONSTANT = "constant"
    COSINE = "cosine"  # falls to zero along half a cosine, batch by batch
    STEPS = "steps"  # a tenth after half of the epochs, a hundredth after three quarters


class LayerChoice(enum.StrEnum):
    """Where the features to distil are taken from: drawn anew each epoch or batch, or fixed."""

    EPOCH = "epoch"
    BATCH = "batch"
    LAYER_1 = "1"
    LAYER_2 = "2"
    LAYER_3 = "3"
    LAYER_4 = "4"
    LAYER_5 = "5"

    @property
    def fixed(self) -> int | None:
        """The layer, if it is a fixed one."""
        return int(self) if self.isdigit() else None


class Diversity(enum.StrEnum):
    """How the members' vulnerabilities are driven apart."""

    EQ4 = "eq4"  # each member learns the sources' labels on the others' distilled features
    EQ3 = "eq3"  # each member unlearns the targets' labels there; may diverge


class Attacked(enum.StrEnum):
    """What the adversarial examples of adversarial training are made against."""

    MEMBERS = "members"
    MIXTURE = "mixture"


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """What all trainings have; the defaults are the report's (section 3.1).

    Attributes:
        members: classifiers trained side by side, 1 to 16.
        epochs: 1 to 1,000.
        batch_size: 1 to the number of training images.
        learning_rate: of SGD, above 0, at most 10.
        momentum: of SGD, 0 to 0.999.
        weight_decay: L2 penalty, 0 to 1.
        schedule: course of the learning rate.
        augmentation: random flips of the training images, or crops and flips, or none.
        seed: of all that is random.
        device: auto (CUDA if there is one), cpu, cuda or cuda:N.
        training_images: how many of the 48,976 are used, the first ones.
        average_last: epochs at the end whose weights are averaged, each as it was when the epoch
            was done (Izmailov et al. 2018); 0 to take the last ones. At most the epochs.
        snapshot_every: epochs after which the members are kept as a checkpoint, 0 for never.

    Raises:
        ConfigError: a value is outside its range.
    """

    method: ClassVar[Method]

    members: int = 3
    epochs: int = 30
    batch_size: int = 32
    learning_rate: float = 1e-3
    momentum: float = 0.9
    weight_decay: float = 0.0
    schedule: Schedule = Schedule.CONSTANT
    augmentation: Augmentation = Augmentation.NONE
    seed: int = 0
    device: str = "auto"
    training_images: int = TRAINING_IMAGES
    average_last: int = 0
    snapshot_every: int = 0

    def __post_init__(self) -> None:
        require_integer("members", self.members, 1, 16)
        require_integer("epochs", self.epochs, 1, 1000)
        require_integer("training_images", self.training_images, 1, TRAINING_IMAGES)
        require_integer("batch_size", self.batch_size, 1, self.training_images)
        require_number("learning_rate", self.learning_rate, 1e-8, 10)
        require_number("momentum", self.momentum, 0, 0.999)
        require_number("weight_decay", self.weight_decay, 0, 1)
        require_integer("seed", self.seed, 0, 2**31 - 1)
        require_integer("average_last", self.average_last, 0, self.epochs)
        require_integer("snapshot_every", self.snapshot_every, 0, 1000)
        check_device_name(self.device)
        self._choose(Schedule, "schedule")
        self._choose(Augmentation, "augmentation")

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of to_dict.

        Raises:
            ConfigError: a field is unknown or a value outside its range.
        """
        unknown = values.keys() - {field.name for field in fields(cls)}
        if unknown:
            raise ConfigError(f"training config has unknown fields: {', '.join(sorted(unknown))}.")
        return cls(**values)

    def _choose(self, kind: type[enum.StrEnum], name: str) -> None:
        """Make a field its enum's member: a config read from JSON holds the bare value."""
        object.__setattr__(self, name, require_choice(kind, name, getattr(self, name)))


@dataclass(frozen=True, kw_only=True)
class VanillaConfig(TrainingConfig):
    """Members trained independently on clean images."""

    method = Method.VANILLA


@dataclass(frozen=True, kw_only=True)
class StartedConfig(TrainingConfig):
    """A training of members that there may be already.

    Attributes:
        start: name or folder of the checkpoint whose first members it goes on from; "" for
            fresh ones.
        start_digest: of that checkpoint's weights; "" if any will do.
    """

    start: str = ""
    start_digest: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("start", "start_digest"):
            require(isinstance(getattr(self, name), str), name, getattr(self, name), "a text")


@dataclass(frozen=True, kw_only=True)
class AdversarialConfig(TrainingConfig):
    """Cross-entropy on L-inf PGD examples, made anew for each batch.

    Attributes:
        adv_eps: budget, 0 to 1.
        adv_step_size: 0 to 1.
        adv_steps: 1 to 1,000.
        adv_random_start: begin at a point drawn uniformly from the ball.
    """

    adv_eps: float = 0.03
    adv_step_size: float = 0.007
    adv_steps: int = 10
    adv_random_start: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        require_number("adv_eps", self.adv_eps, 0, 1)
        require_number("adv_step_size", self.adv_step_size, 0, 1)
        require_integer("adv_steps", self.adv_steps, 1, 1000)
        flag = isinstance(self.adv_random_start, bool)
        require(flag, "adv_random_start", self.adv_random_start, "true or false")

    @property
    def pgd(self) -> AttackConfig:
        """The attack; its random start is drawn by the training."""
        return AttackConfig(Norm.LINF, self.adv_eps, self.adv_step_size, self.adv_steps)


@dataclass(frozen=True, kw_only=True)
class DvergeConfig(StartedConfig):
    """DVERGE (Algorithm 1); the defaults are the report's settings (section 3.2).

    Attributes:
        members: 2 to 8.
        alpha: coefficient of the diversity loss, 0 to 100.
        clean_weight: of the cross-entropy on clean targets, 0 to 100: 0 is Algorithm 1 and what
            made the report's tables, 1 is Eq. 4 as printed.
        layer: where features are taken from.
        distill_eps, distill_step_size: of Eq. 1, L-inf, 0 to 1.
        distill_steps: of Eq. 1, 1 to 1,000.
        distill_momentum: 0 to 1 of the L1-normalised gradients before; 1 is the original
            authors' setting, 0 the report's.
        distill_random_start: begin at a point drawn uniformly from the ball.
        diversity: Eq. 4, or, as an experiment, Eq. 3 with its metric of Eq. 2.
        cap: with Eq. 3, no image's cross-entropy is raised above this many nats; 0 for no cap.
    """

    method = Method.DVERGE

    epochs: int = 200
    alpha: float = 1.0
    clean_weight: float = 0.0
    layer: LayerChoice = LayerChoice.EPOCH
    distill_eps: float = 0.07
    distill_step_size: float = 0.007
    distill_steps: int = 10
    distill_momentum: float = 0.0
    distill_random_start: bool = False
    diversity: Diversity = Diversity.EQ4
    cap: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_integer("members", self.members, 2, 8)
        require_number("alpha", self.alpha, 0, 100)
        require_number("clean_weight", self.clean_weight, 0, 100)
        self._choose(LayerChoice, "layer")
        require_number("distill_eps", self.distill_eps, 0, 1)
        require_number("distill_step_size", self.distill_step_size, 0, 1)
        require_integer("distill_steps", self.distill_steps, 1, 1000)
        require_number("distill_momentum", self.distill_momentum, 0, 1)
        flag = isinstance(self.distill_random_start, bool)
        require(flag, "distill_random_start", self.distill_random_start, "true or false")
        self._choose(Diversity, "diversity")
        require_number("cap", self.cap, 0, 1000)

    @property
    def distillation(self) -> AttackConfig:
        """The descent of Eq. 1; its random start is drawn by the training."""
        return AttackConfig(
            Norm.LINF,
            self.distill_eps,
            self.distill_step_size,
            self.distill_steps,
            momentum=self.distill_momentum,
        )


@dataclass(frozen=True, kw_only=True)
class DvergeAdvtConfig(AdversarialConfig, DvergeConfig):
    """DVERGE with each member's own adversarial examples of the sources (report, section 4).

    Attributes:
        adv_weight: of the cross-entropy on adversarial examples, 0 to 100.
    """

    method = Method.DVERGE_ADVT

    epochs: int = 50
    adv_weight: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_number("adv_weight", self.adv_weight, 0, 100)


@dataclass(frozen=True, kw_only=True)
class AdvtConfig(AdversarialConfig, StartedConfig):
    """Adversarial training alone (Madry et al. 2018): the baseline of DVERGE+AdvT.

    Attributes:
        attacked: each member's own examples on a stream of images of its own, so that members
            are independent; or the mixture's examples, which all members learn.
        joint: the members learn as one network: the cross-entropy lowered is the mixture's, not
            each member's own. Only where the mixture is attacked.
        clean_weight: of the cross-entropy on the clean images, 0 to 100.
    """

    method = Method.ADVT

    epochs: int = 50
    attacked: Attacked = Attacked.MEMBERS
    joint: bool = False
    clean_weight: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._choose(Attacked, "attacked")
        require(isinstance(self.joint, bool), "joint", self.joint, "true or false")
        alone = self.joint and self.attacked is Attacked.MEMBERS
        require(not alone, "joint", self.joint, "false where each member is attacked")
        require_number("clean_weight", self.clean_weight, 0, 100)


CONFIGS: dict[Method, type[TrainingConfig]] = {
    config.method: config for config in (VanillaConfig, DvergeConfig, DvergeAdvtConfig, AdvtConfig)
}
ADDED_LATER = {"snapshot_every": 0, "joint": False, "average_last": 0}
"""Fields that old runs and cards lack, with what the older versions did."""


def config_from(method: str, values: dict[str, Any]) -> TrainingConfig:
    """The config of a method that a run or a card keeps.

    Raises:
        ConfigError: there is no such method or field, a field is missing that is not in
            ADDED_LATER, or a value is outside its range.
    """
    kind = CONFIGS[require_choice(Method, "method", method)]
    return kind.from_dict(complete(values, kind, ADDED_LATER))
