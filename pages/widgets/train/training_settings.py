"""The settings of a training on screen: title, limits and explanation of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dverge.data import Augmentation
from dverge.training import TRAINING_IMAGES, Attacked, Diversity, LayerChoice, Schedule

FRESH = "fresh submodels"


@dataclass(frozen=True)
class Number:
    """A field for a number: a whole one if limits and step are whole."""

    title: str
    low: float
    high: float
    step: float
    help: str


@dataclass(frozen=True)
class Choice:
    """A field for one of several options, each with its text for the screen."""

    title: str
    options: dict[str, str]
    help: str


@dataclass(frozen=True)
class Switch:
    """A field that is on or off."""

    title: str
    help: str


FIELDS: dict[str, Number | Choice | Switch] = {
    "members": Number("Submodels", 1, 16, 1, "Classifiers trained side by side."),
    "epochs": Number("Epochs", 1, 1000, 1, "Passes over the training images."),
    "learning_rate": Number(
        "Learning rate",
        1e-6,
        10.0,
        0.001,
        "Of SGD. The report found 0.001 good, 0.01 too large, 0.0001 too small.",
    ),
    "seed": Number(
        "Seed", 0, 2**31 - 1, 1, "For initial weights, image order and everything else random."
    ),
    "alpha": Number(
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
    "distill_eps": Number(
        "Feature eps",
        0.0,
        1.0,
        0.01,
        "How far a distilled feature may be from its source, L-inf, for pixels in 0 to 1. "
        "0.07 is 18/255.",
    ),
    "distill_step_size": Number(
        "Feature step size", 0.0, 1.0, 0.001, "Change of a pixel in a step."
    ),
    "distill_steps": Number(
        "Feature steps", 1, 1000, 1, "Gradient steps from source to distilled feature."
    ),
    "distill_momentum": Number(
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
        "targets' labels there. Eq. 3 has no lower bound, so it may diverge and is then stopped.",
    ),
    "cap": Number(
        "Cap for Eq. 3",
        0.0,
        1000.0,
        0.5,
        "No image's cross-entropy is raised above this many nats. 0: no cap.",
    ),
    "clean_weight": Number(
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
        "The victim of the adversarial examples. Each submodel learns from its own examples, or "
        "all learn from the mixture's.",
    ),
    "joint": Switch(
        "Learn as one",
        "The submodels learn as one network: the loss is the mixture's, not that of each. Only "
        "where the mixture is attacked.",
    ),
    "adv_eps": Number("Attack eps", 0.0, 1.0, 0.005, "L-inf budget of the PGD examples."),
    "adv_step_size": Number("Attack step size", 0.0, 1.0, 0.001, "Change of a pixel in a step."),
    "adv_steps": Number("Attack steps", 1, 1000, 1, "Gradient steps of an example."),
    "adv_random_start": Switch(
        "Random attack start", "Begin at a random point of the ball, not at the image."
    ),
    "adv_weight": Number(
        "Adversarial weight", 0.0, 100.0, 0.1, "Weight of the cross-entropy on PGD examples."
    ),
    "momentum": Number("SGD momentum", 0.0, 0.999, 0.05, "Of the optimiser."),
    "weight_decay": Number("Weight decay", 0.0, 1.0, 1e-4, "L2 penalty on the weights."),
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
    "average_last": Number(
        "Average last epochs",
        0,
        1000,
        1,
        "Average the weights of this many epochs at the end, which is often better than any one "
        "of them. 0: take the last weights.",
    ),
    "training_images": Number(
        "Training images",
        1,
        TRAINING_IMAGES,
        1000,
        "How many of the 48,976, from the first; the other 1,024 are for validation.",
    ),
    "batch_size": Number(
        "Batch size",
        1,
        TRAINING_IMAGES,
        1,
        "Images per step; at most the number of training images.",
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
    "snapshot_every": Number(
        "Snapshot every",
        0,
        1000,
        1,
        "After every so many epochs the submodels are saved as a checkpoint of their own, for the "
        "lab. 0: only at the end.",
    ),
}


def field_title(name: str) -> str:
    """A field's name for the screen."""
    titles = {"start": "Starts from", "device": "Device", "start_digest": "Start's digest"}
    return FIELDS[name].title if name in FIELDS else titles.get(name, name)


def value_text(name: str, value: Any) -> str:
    """A field's value for the screen."""
    field = FIELDS.get(name)
    if isinstance(field, Choice):
        return field.options.get(value, str(value))
    if isinstance(value, bool):
        return "on" if value else "off"
    if name == "start":
        return value or FRESH
    return f"{value:g}" if isinstance(value, float) else str(value)
