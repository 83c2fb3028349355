"""What each setting of a training is called and explained as on the screen, and its limits."""

from __future__ import annotations

import dataclasses
from typing import Any

from dverge.data import Augmentation
from dverge.training import TRAINING_IMAGES, Attacked, Diversity, LayerChoice, Schedule

FRESH = "fresh submodels"


@dataclasses.dataclass(frozen=True)
class Whole:
    """A field that holds a whole number."""

    title: str
    low: int
    high: int
    help: str
    step: int = 1


@dataclasses.dataclass(frozen=True)
class Real:
    """A field that holds a number."""

    title: str
    low: float
    high: float
    step: float
    help: str


@dataclasses.dataclass(frozen=True)
class Choice:
    """A field that holds one of several texts, each with its words for the screen."""

    title: str
    options: dict[str, str]
    help: str


@dataclasses.dataclass(frozen=True)
class Switch:
    """A field that is on or off."""

    title: str
    help: str


Field = Whole | Real | Choice | Switch

FIELDS: dict[str, Field] = {
    "members": Whole("Submodels", 1, 16, "Classifiers trained side by side."),
    "epochs": Whole("Epochs", 1, 1000, "Passes over the training images."),
    "learning_rate": Real(
        "Learning rate",
        1e-6,
        10.0,
        0.001,
        "Of SGD. The report found 0.001 right, 0.01 too large, 0.0001 too small.",
    ),
    "seed": Whole("Seed", 0, 2**31 - 1, "Of initial weights, image order and all other draws."),
    "alpha": Real(
        "Diversity weight α",
        0.0,
        100.0,
        0.1,
        "Weight of what submodels learn from each other's distilled features.",
    ),
    "layer": Choice(
        "Layer to distil from",
        {
            LayerChoice.EPOCH: "drawn each epoch",
            LayerChoice.BATCH: "drawn each batch",
            LayerChoice.LAYER_1: "1: first convolution",
            LayerChoice.LAYER_2: "2: second convolution",
            LayerChoice.LAYER_3: "3: first hidden layer",
            LayerChoice.LAYER_4: "4: second hidden layer",
            LayerChoice.LAYER_5: "5: logits",
        },
        "Algorithm 1 draws one of the five layers for each epoch.",
    ),
    "distill_eps": Real(
        "Feature eps",
        0.0,
        1.0,
        0.01,
        "How far a distilled feature may be from its source, L-inf, of pixels in 0 to 1. "
        "0.07 is 18/255.",
    ),
    "distill_step_size": Real("Feature step size", 0.0, 1.0, 0.001, "Change of a pixel in a step."),
    "distill_steps": Whole(
        "Feature steps", 1, 1000, "Gradient steps from source to distilled feature."
    ),
    "distill_momentum": Real(
        "Feature momentum",
        0.0,
        1.0,
        0.1,
        "Of the steps' L1-normalised gradients: 1 in the original authors' code, 0 in the report.",
    ),
    "distill_random_start": Switch(
        "Random feature start", "Begin at a random point of the ball, not at the source."
    ),
    "diversity": Choice(
        "Objective",
        {Diversity.EQ4: "Eq. 4, in practice", Diversity.EQ3: "Eq. 3, experimental"},
        "Eq. 4: learn the sources' labels on the others' distilled features. Eq. 3: unlearn the "
        "targets' labels there. That has no lower bound: it may diverge, and is stopped then.",
    ),
    "cap": Real(
        "Cap for Eq. 3",
        0.0,
        1000.0,
        0.5,
        "No image's cross-entropy is raised above so many nats. 0: no cap.",
    ),
    "clean_weight": Real(
        "Clean weight",
        0.0,
        100.0,
        0.1,
        "Weight of the cross-entropy on clean images. For DVERGE, 0 is Algorithm 1 and what made "
        "the report's tables; 1 is Eq. 4 as printed.",
    ),
    "attacked": Choice(
        "Attacked",
        {Attacked.MEMBERS: "each submodel", Attacked.MIXTURE: "the mixture"},
        "What the adversarial examples are made against. Each submodel learns its own ones, or "
        "all learn the mixture's.",
    ),
    "joint": Switch(
        "Learn as one",
        "The submodels learn as one network: what is lowered is the mixture's loss, not that of "
        "each. Only where the mixture is attacked.",
    ),
    "adv_eps": Real("Attack eps", 0.0, 1.0, 0.005, "L-inf budget of the PGD examples learned."),
    "adv_step_size": Real("Attack step size", 0.0, 1.0, 0.001, "Change of a pixel in a step."),
    "adv_steps": Whole("Attack steps", 1, 1000, "Gradient steps of an example."),
    "adv_random_start": Switch(
        "Random attack start", "Begin at a random point of the ball, not at the image."
    ),
    "adv_weight": Real(
        "Adversarial weight", 0.0, 100.0, 0.1, "Weight of the cross-entropy on PGD examples."
    ),
    "momentum": Real("SGD momentum", 0.0, 0.999, 0.05, "Of the optimiser."),
    "weight_decay": Real("Weight decay", 0.0, 1.0, 1e-4, "L2 penalty on the weights."),
    "schedule": Choice(
        "Schedule",
        {
            Schedule.CONSTANT: "constant",
            Schedule.COSINE: "falls along a cosine",
            Schedule.STEPS: "falls in two steps",
        },
        "Of the learning rate: constant, falling along a cosine to 0, or divided by 10 at half "
        "and again at three quarters.",
    ),
    "average_last": Whole(
        "Average last epochs",
        0,
        1000,
        "So many epochs at the end have their weights averaged, which is often better than any of "
        "them. 0: the last weights as they are.",
    ),
    "training_images": Whole(
        "Training images",
        1,
        TRAINING_IMAGES,
        "The first so many of the 48,976; the other 1,024 are for validation.",
        step=1000,
    ),
    "batch_size": Whole(
        "Batch size", 1, TRAINING_IMAGES, "Images a step; at most the number of training images."
    ),
    "augmentation": Choice(
        "Augmentation",
        {
            Augmentation.NONE: "none",
            Augmentation.FLIP: "mirror",
            Augmentation.CROP_FLIP: "shift and mirror",
        },
        "Mirrors half of the training images, and may shift each by up to 4 pixels.",
    ),
    "snapshot_every": Whole(
        "Snapshot every",
        0,
        1000,
        "Epochs after which the submodels are kept as a checkpoint of its own, for the lab. "
        "0: only at the end.",
    ),
}


def title_of(name: str) -> str:
    """A field's name for the screen."""
    titles = {"start": "Starts from", "device": "Device", "start_digest": "Start's digest"}
    return FIELDS[name].title if name in FIELDS else titles.get(name, name)


def words_of(name: str, value: Any) -> str:
    """A field's value for the screen."""
    field = FIELDS.get(name)
    if isinstance(field, Choice):
        return field.options.get(value, str(value))
    if isinstance(value, bool):
        return "on" if value else "off"
    if name == "start":
        return value or FRESH
    return f"{value:g}" if isinstance(value, float) else str(value)
