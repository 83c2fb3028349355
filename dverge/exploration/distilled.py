"""The distilled features of one pair, and what every model predicts on them.

For each member i and layer l, all steps of Eq. 1 from the source towards the target,

    x'_{f_i^l}(x, x_s) = argmin_z ‖f_i^l(z) - f_i^l(x)‖²  subject to  ‖z - x_s‖∞ ≤ eps,

and at each step the predictions of all members and their mixture. If another member also
classifies the feature as the target, it shares the weakness of the member it was distilled on.
"""

from __future__ import annotations

import enum
from dataclasses import asdict, dataclass
from typing import Any, cast

import torch
from torch import Tensor

from dverge.attacks import REPORT_DISTILLATION, AttackConfig, distill_path
from dverge.data import CLASSES, ImageSet
from dverge.errors import ConfigError, require, require_integer
from dverge.evaluation.diversity import ALL_LAYERS, Diversity, Pairs
from dverge.evaluation.predictions import input_pixels
from dverge.exploration.examine import model_names
from dverge.models import LAYERS, Conv, Ensemble, mix


class Says(enum.StrEnum):
    """The class that a model predicts on a distilled feature, relative to the pair."""

    TARGET = "target"
    SOURCE = "source"
    OTHER = "other"


@dataclass(frozen=True)
class Counts:
    """How many predictions on distilled features are the target's class, each of how many.

    Attributes:
        own, own_of: predictions of the member that the feature was distilled on.
        others, others_of: predictions of the other members.
        mixture, mixture_of: predictions of the mixture.
    """

    own: int
    own_of: int
    others: int
    others_of: int
    mixture: int
    mixture_of: int


@dataclass(frozen=True, eq=False)
class Distilled:
    """One pair on one ensemble of M members; models are the members in order, then the mixture.

    Layers are 1 to 5, at index 0 to 4; step 0 is the start, the last step the distilled feature.

    Attributes:
        pair: one source and one target.
        config: budget and steps about the source.
        images: M×5×(steps+1)×3×32×32 in [0, 1] on the CPU, every iterate by member and layer.
        distances: float64, M×5×(steps+1), ‖f(z) - f(x)‖² of Eq. 1, in the features' own unit.
        log_probs: float64, M×5×(steps+1)×(M+1)×10, every model's log-probabilities there.
        unchanged: float64, 2×(M+1)×10, log-probabilities of the source and of the target.
    """

    pair: Pairs
    config: AttackConfig
    images: Tensor
    distances: Tensor
    log_probs: Tensor
    unchanged: Tensor

    @property
    def members(self) -> int:
        """M, the number of members."""
        return len(self.images)

    @property
    def steps(self) -> int:
        """The number of steps."""
        return self.config.steps

    @property
    def source(self) -> int:
        """The source's class, 0–9."""
        return int(self.pair.sources.labels[0])

    @property
    def target(self) -> int:
        """The target's class, 0–9."""
        return int(self.pair.targets.labels[0])

    @property
    def is_correct(self) -> bool:
        """Whether every member classifies the source and the target correctly."""
        predicted = self.unchanged[:, :-1].argmax(2)
        return bool((predicted == torch.tensor([[self.source], [self.target]])).all())

    def says(self, answer: int) -> Says:
        """Whether a predicted class, 0–9, is this pair's target, its source or another class."""
        if answer == self.target:
            return Says.TARGET
        return Says.SOURCE if answer == self.source else Says.OTHER

    def classes(self, step: int | None = None) -> Tensor:
        """int64, M×5×(M+1), the class that each model predicts at a step; at the last if None.

        Raises:
            ConfigError: there is no such step.
        """
        return self.log_probs[:, :, self.at(step)].argmax(3)

    def course(self) -> Tensor:
        """float64, M×5×(steps+1), the squared distance in per cent of its value at the start."""
        start = self.distances[:, :, :1]
        return 100 * self.distances / start.where(start > 0, 1)

    def counts(self, step: int | None = None, layer: int | None = None) -> Counts:
        """How often models predict the target's class at a step, over all layers or on one.

        Raises:
            ConfigError: there is no such step or layer.
        """
        is_target = self.classes(step) == self.target
        if layer is not None:
            require_integer("layer", layer, 1, LAYERS)
            is_target = is_target[:, [layer - 1]]
        members, mixture = is_target[..., :-1], is_target[..., -1]
        features, own = mixture.numel(), int(members.diagonal(dim1=0, dim2=2).sum())
        return Counts(
            own=own,
            own_of=features,
            others=int(members.sum()) - own,
            others_of=features * (self.members - 1),
            mixture=int(mixture.sum()),
            mixture_of=features,
        )

    def diversity(self, step: int | None = None) -> Diversity:
        """Eq. 2 of this pair alone at a step; at the last step it equals `diversity` of the pair.

        Raises:
            ConfigError: there is no such step.
        """
        log_probs = self.log_probs[:, :, self.at(step), :-1]
        log_probs = log_probs.transpose(0, 1).unsqueeze(3)  # 5×M×M×1×10
        loss, is_target = -log_probs[..., self.target], log_probs.argmax(4) == self.target
        return Diversity(loss, is_target, ALL_LAYERS)

    def loss(self) -> float:
        """Eq. 2 of this pair in nats, the mean over pairs of members; NaN for one member."""
        others = ~torch.eye(self.members, dtype=torch.bool)
        return self.diversity().matrix()[others].mean().item()

    def to_dict(self) -> dict[str, Any]:
        """Settings and results as plain JSON values; probabilities to six digits."""
        models = model_names(self.members)
        source, target = (_rounded(each.exp()) for each in self.unchanged)
        features = [
            {
                "distilled_on": models[i],
                "layer": layer,
                "squared_distance": self.distances[i, layer - 1].tolist(),
                "probabilities": _rounded(self.log_probs[i, layer - 1].exp()),
                "says": [self.says(each) for each in self.classes()[i, layer - 1].tolist()],
            }
            for i in range(self.members)
            for layer in ALL_LAYERS
        ]
        return {
            "distillation": asdict(self.config),
            "source": {**_described(self.pair.sources), "probabilities": source},
            "target": {**_described(self.pair.targets), "probabilities": target},
            "models": models,
            "classes": list(CLASSES),
            "features": features,
            "eq2_nats": self.diversity().matrix().tolist(),
        }

    def at(self, step: int | None) -> int:
        """The step's number, or the last one's if None.

        Raises:
            ConfigError: there is no such step.
        """
        if step is None:
            return self.steps
        require_integer("step", step, 0, self.steps)
        return step


def one_pair(source: ImageSet, target: ImageSet) -> Pairs:
    """The pair of one source and one target.

    Raises:
        ConfigError: there are several images, or both are of one class.
    """
    for name, images in (("sources", source), ("targets", target)):
        require(len(images) == 1, f"the number of {name}", len(images), "1")
    label = int(source.labels[0])
    if label == int(target.labels[0]):
        raise ConfigError(
            f"the source and the target are both of class {CLASSES[label]}; choose a target of "
            "another class."
        )
    return Pairs(source, target)


def distilled(
    ensemble: Ensemble, pair: Pairs, config: AttackConfig = REPORT_DISTILLATION
) -> Distilled:
    """Distil one pair from each layer of each member, and evaluate all models at every step.

    The ensemble is left as it is.

    Args:
        ensemble: members with features(images, layer), on the pair's device.
        pair: one source and one target; see one_pair.
        config: budget and steps about the source, of one restart.

    Raises:
        ConfigError: several pairs, or more than one restart.
    """
    require(len(pair) == 1, "the number of pairs", len(pair), "1")
    source, target = input_pixels(ensemble, pair.sources), input_pixels(ensemble, pair.targets)
    paths = [
        distill_path(cast(Conv, member), source, target, layer, config)
        for member in ensemble.members
        for layer in ALL_LAYERS
    ]
    shape = (len(ensemble), LAYERS, config.steps + 1)
    images = torch.cat([image for path in paths for image in path.images])
    distances = -torch.cat([value for path in paths for value in path.objective])
    log_probs = _log_probs(ensemble, torch.cat([source, target, images]))
    return Distilled(
        pair,
        config,
        images.cpu().view(*shape, *images.shape[1:]),
        distances.double().cpu().view(shape),
        log_probs[2:].view(*shape, *log_probs.shape[1:]),
        log_probs[:2],
    )


@torch.no_grad()
def _log_probs(ensemble: Ensemble, images: Tensor) -> Tensor:
    """float64, N×(M+1)×10 on the CPU, the members' log-probabilities, then the mixture's."""
    logits = torch.stack([member(images).double() for member in ensemble.members])
    members = logits.log_softmax(2)
    return torch.cat([members, mix(members).unsqueeze(0)]).transpose(0, 1).cpu()


def _described(image: ImageSet) -> dict[str, Any]:
    label, number = int(image.labels[0]), int(image.indices[0])
    about = {"split": image.split, "number": number, "class": CLASSES[label]}
    return {**about, "digest": image.digest}


def _rounded(values: Tensor) -> list[Any]:
    return values.mul(1e6).round().div(1e6).tolist()
