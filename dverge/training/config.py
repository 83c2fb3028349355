"""Settings of the trainings: one class for each method."""

from __future__ import annotations

import enum
import math
from dataclasses import Field, asdict, dataclass, field, fields
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
    """How the learning rate changes over the epochs."""

    CONSTANT = "constant"
    COSINE = "cosine"  # falls to zero along half a cosine, batch by batch
    STEPS = "steps"  # a tenth after half of the epochs, a hundredth after three quarters

    def factor(self, progress: float) -> float:
        """The factor of the learning rate when this share of all batches is done."""
        if self is Schedule.COSINE:
            return (1 + math.cos(math.pi * progress)) / 2
        if self is Schedule.STEPS:
            return 0.01 if progress >= 0.75 else 0.1 if progress >= 0.5 else 1.0
        return 1.0


class LayerChoice(enum.StrEnum):
    """The layer whose features are distilled: drawn for each epoch or batch, or fixed."""

    EPOCH = "epoch"
    BATCH = "batch"
    LAYER_1 = "1"
    LAYER_2 = "2"
    LAYER_3 = "3"
    LAYER_4 = "4"
    LAYER_5 = "5"

    @property
    def fixed(self) -> int | None:
        """The layer, or None if it is drawn."""
        return int(self) if self.isdigit() else None


class Diversity(enum.StrEnum):
    """The diversity loss on the distilled features of the other members."""

    EQ4 = "eq4"  # minimise the cross-entropy of the sources' labels
    EQ3 = "eq3"  # maximise the cross-entropy of the targets' labels; may diverge


class Attacked(enum.StrEnum):
    """The victim of the adversarial examples in adversarial training."""

    MEMBERS = "members"
    MIXTURE = "mixture"


def _ranged(default: float, low: float, high: float) -> Any:
    """A field for a number from low to high; for a whole number if the default is an int."""
    return field(default=default, metadata={"range": (low, high)})


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """The settings that every training has; the defaults are the report's (section 3.1).

    Attributes:
        members: number of classifiers, trained side by side.
        epochs: number of epochs.
        batch_size: at most training_images.
        learning_rate: of SGD.
        momentum: of SGD.
        weight_decay: coefficient of the L2 penalty.
        schedule: how the learning rate changes.
        augmentation: random flips of the training images, or crops and flips, or none.
        seed: of everything random.
        device: auto (CUDA if there is one), cpu, cuda or cuda:N.
        training_images: how many of the 48,976 are used, the first ones.
        average_last: the final weights are the mean of the weights at the ends of this many
            last epochs (Izmailov et al. 2018); 0 for the last weights. At most epochs.
        snapshot_every: a checkpoint is saved every so many epochs; 0 for never.

    Raises:
        ConfigError: a value has the wrong type or is outside its range.
    """

    method: ClassVar[Method]

    members: int = _ranged(3, 1, 16)
    epochs: int = _ranged(30, 1, 1000)
    batch_size: int = 32
    learning_rate: float = _ranged(1e-3, 1e-8, 10)
    momentum: float = _ranged(0.9, 0, 0.999)
    weight_decay: float = _ranged(0.0, 0, 1)
    schedule: Schedule = Schedule.CONSTANT
    augmentation: Augmentation = Augmentation.NONE
    seed: int = _ranged(0, 0, 2**31 - 1)
    device: str = "auto"
    training_images: int = _ranged(TRAINING_IMAGES, 1, TRAINING_IMAGES)
    average_last: int = 0
    snapshot_every: int = _ranged(0, 0, 1000)

    def __post_init__(self) -> None:
        check_device_name(self.device)
        for each in fields(self):
            object.__setattr__(self, each.name, _checked(each, getattr(self, each.name)))
        require_integer("batch_size", self.batch_size, 1, self.training_images)
        require_integer("average_last", self.average_last, 0, self.epochs)

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of to_dict; fields that are left out have their defaults.

        Raises:
            ConfigError: a field is unknown, or a value is outside its range.
        """
        unknown = values.keys() - {each.name for each in fields(cls)}
        if unknown:
            raise ConfigError(f"training config has unknown fields: {', '.join(sorted(unknown))}.")
        return cls(**values)


def _checked(setting: Field[Any], value: Any) -> Any:
    """The value if the field allows it; JSON's bare value of an enum becomes its member."""
    name, default = setting.name, setting.default
    if isinstance(default, enum.StrEnum):
        return require_choice(type(default), name, value)
    if isinstance(default, bool):
        require(isinstance(value, bool), name, value, "true or false")
    elif isinstance(default, str):
        require(isinstance(value, str), name, value, "a text")
    elif "range" in setting.metadata:
        check = require_integer if isinstance(default, int) else require_number
        check(name, value, *setting.metadata["range"])
    return value


@dataclass(frozen=True, kw_only=True)
class VanillaConfig(TrainingConfig):
    """Members trained independently on clean images."""

    method = Method.VANILLA


@dataclass(frozen=True, kw_only=True)
class StartedConfig(TrainingConfig):
    """A training that may start from the members of a checkpoint.

    Attributes:
        start: name or folder of that checkpoint, whose first members are used; "" for fresh
            members.
        start_digest: digest that the checkpoint's weights must have; "" for any.
    """

    start: str = ""
    start_digest: str = ""


@dataclass(frozen=True, kw_only=True)
class AdversarialConfig:
    """Further settings of methods that train on L-inf PGD examples (Madry et al. 2018).

    Attributes:
        adv_eps: budget.
        adv_step_size: length of a step.
        adv_steps: number of steps.
        adv_random_start: start at a point drawn uniformly from the ball.
    """

    adv_eps: float = _ranged(0.03, 0, 1)
    adv_step_size: float = _ranged(0.007, 0, 1)
    adv_steps: int = _ranged(10, 1, 1000)
    adv_random_start: bool = True

    @property
    def pgd(self) -> AttackConfig:
        """The attack; the training draws its random start."""
        return AttackConfig(Norm.LINF, self.adv_eps, self.adv_step_size, self.adv_steps)


@dataclass(frozen=True, kw_only=True)
class DvergeConfig(StartedConfig):
    """DVERGE (Algorithm 1); the defaults are the report's settings (section 3.2).

    Attributes:
        alpha: coefficient of the diversity loss.
        clean_weight: weight of the cross-entropy on clean targets: 0 is Algorithm 1, which
            trained the ensembles of the report's tables; 1 is Eq. 4 as printed.
        layer: the layer whose features are distilled.
        distill_eps, distill_step_size, distill_steps: L-inf budget and steps of Eq. 1.
        distill_momentum: decay of the accumulated L1-normalised gradients (Dong et al. 2018); 1 is
            the original authors' setting, 0 the report's.
        distill_random_start: start at a point drawn uniformly from the ball.
        diversity: Eq. 4 or, as an experiment, Eq. 3 with the metric of Eq. 2.
        cap: with Eq. 3, no image's cross-entropy is raised above this many nats; 0 for no cap.
    """

    method = Method.DVERGE

    members: int = _ranged(3, 2, 8)
    epochs: int = _ranged(200, 1, 1000)
    alpha: float = _ranged(1.0, 0, 100)
    clean_weight: float = _ranged(0.0, 0, 100)
    layer: LayerChoice = LayerChoice.EPOCH
    distill_eps: float = _ranged(0.07, 0, 1)
    distill_step_size: float = _ranged(0.007, 0, 1)
    distill_steps: int = _ranged(10, 1, 1000)
    distill_momentum: float = _ranged(0.0, 0, 1)
    distill_random_start: bool = False
    diversity: Diversity = Diversity.EQ4
    cap: float = _ranged(0.0, 0, 1000)

    @property
    def distillation(self) -> AttackConfig:
        """The descent of Eq. 1; the training draws its random start."""
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
        adv_weight: weight of the cross-entropy on adversarial examples.
    """

    method = Method.DVERGE_ADVT

    epochs: int = _ranged(50, 1, 1000)
    adv_weight: float = _ranged(1.0, 0, 100)


@dataclass(frozen=True, kw_only=True)
class AdvtConfig(AdversarialConfig, StartedConfig):
    """Adversarial training alone (Madry et al. 2018): the baseline of DVERGE+AdvT.

    Attributes:
        attacked: MEMBERS: each member learns its own examples, from its own stream of images, so
            that members are independent. MIXTURE: all members learn the mixture's examples.
        joint: minimise the mixture's cross-entropy instead of each member's own. Only where the
            mixture is attacked.
        clean_weight: weight of the cross-entropy on the clean images.
    """

    method = Method.ADVT

    epochs: int = _ranged(50, 1, 1000)
    attacked: Attacked = Attacked.MEMBERS
    joint: bool = False
    clean_weight: float = _ranged(0.0, 0, 100)

    def __post_init__(self) -> None:
        super().__post_init__()
        allowed = not self.joint or self.attacked is Attacked.MIXTURE
        require(allowed, "joint", self.joint, "false where each member is attacked")


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
