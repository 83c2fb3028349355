"""What matters in the tuned recipe: short trainings, each with one setting changed.

`ablation.json` keeps their settings and results. `python -m dverge ablation` measures what is
missing, and resumes where it was stopped.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from dverge import checkpoints
from dverge.data import Split, load
from dverge.devices import describe_device, resolve_device
from dverge.errors import require
from dverge.evaluation.evaluation import Evaluation
from dverge.evaluation.protocols import EPS, L2_EPS, REPORT_EPS, EvaluationConfig, Protocol
from dverge.evaluation.store import LoadImages
from dverge.models import Ensemble
from dverge.results import MIXTURE_NAME, Result, headlines
from dverge.stored import Setting, read_json, write_json
from dverge.training import PRESETS, AdvtConfig, Method, Training, load_start, with_fixed_start

FILE = Path(__file__).with_name("ablation.json")
SHORT = {"epochs": 8, "average_last": 4}  # instead of the recipe's own
START = "dverge-advt-3xconv-s0"
VARIANTS: dict[str, dict[str, Any]] = {
    "tuned recipe": {},
    "a loss for each submodel": {"joint": False},
    "each submodel attacked by itself": {"joint": False, "attacked": "members"},
    "double weight of the clean term": {"clean_weight": 2.5},
    "no clean term": {"clean_weight": 0.0},
    "no crops and flips": {"augmentation": "none"},
    "ten attack steps of 0.007": {"adv_steps": 10, "adv_step_size": 0.007},
    "a tenth of the learning rate": {"learning_rate": 3e-3},
    "constant learning rate": {"schedule": "constant"},
    "the last weights, not a mean of them": {"average_last": 0},
    "from the vanilla submodels": {"start": "vanilla-3xconv-s0"},
}
"""The settings that differ from the tuned recipe, by title."""
COLUMNS: dict[str, dict[str, Any]] = {
    "clean": {},
    "fgsm": {"eps": REPORT_EPS, "victim": "worst"},
    "strong-linf": {"eps": EPS},
    "strong-l2": {"eps": L2_EPS},
}
"""The attacks of the standard protocol whose results are kept, with their setting."""
ABOUT = (
    "Each line is the tuned recipe with one thing changed, and shorter: {epochs} epochs, and the "
    "mean of the weights of the last {average_last}. So figures are lower than the checkpoint's. "
    f"All start from {START} but for one. Seed 0; one training each, so that differences of a "
    "point or two say little."
).format(**SHORT)


@dataclass(frozen=True)
class Variant:
    """A short training with one setting changed, and the accuracy of its mixture.

    Attributes:
        title: a key of VARIANTS.
        config: the settings it was trained with.
        seconds: the time that the training took.
        device: what it was trained on.
        figures: the mixture's results, in the order of COLUMNS.
    """

    title: str
    config: dict[str, Setting]
    seconds: float
    device: str
    figures: list[Result]

    def __post_init__(self) -> None:
        require(self.title in VARIANTS, "title", self.title, "one of VARIANTS")


def read_ablation(file: Path = FILE) -> list[Variant]:
    """The variants measured so far, in the order of VARIANTS.

    Raises:
        FileError: the file is damaged.
    """
    variants = read_json(file, list[Variant]) if file.exists() else []
    return sorted(variants, key=lambda variant: list(VARIANTS).index(variant.title))


def config_of(title: str) -> AdvtConfig:
    """The settings of a variant.

    Raises:
        CheckpointError: the checkpoint that it starts from is missing.
    """
    tuned = PRESETS[Method.ADVT]["tuned"].to_dict()
    changed = {"start": START} | SHORT | VARIANTS[title]
    return with_fixed_start(AdvtConfig.from_dict(tuned | changed))


def ablate(file: Path = FILE, load_images: LoadImages = load) -> Iterator[tuple[str, float]]:
    """Train and measure the variants that the file lacks, and save each when it is done.

    They are measured on the validation images: a choice made on test images spoils their figures.

    Yields:
        A variant's title and the share of its training that is done, 0 to 1.

    Raises:
        CheckpointError: a checkpoint to start from is missing.
        DataError: the full data set is not on this machine.
    """
    done = {variant.title: variant for variant in read_ablation(file)}
    for title in VARIANTS:
        config = config_of(title)
        if title in done and _is_current(done[title], config):
            continue
        images = load_images(Split.TRAIN), load_images(Split.VALIDATION)
        device = resolve_device(config.device)
        training = Training(config, *images, device, load_start(config))
        seconds = 0.0
        for metrics in training.run():
            seconds += getattr(metrics, "seconds", 0.0)
            yield title, training.progress()
        results = _measure(training.ensemble(), load_images)
        about = (title, config.to_dict(), round(seconds, 1), describe_device(device))
        done[title] = Variant(*about, results)
        write_json(file, [_plain(done[each]) for each in VARIANTS if each in done])


def about(variants: Sequence[Variant]) -> str:
    """What the figures of some variants are of, in sentences."""
    images = dict.fromkeys(f"{f.n:,} {f.split} images" for v in variants for f in v.figures)
    return f"{ABOUT} Mixtures, protocol standard, {' and '.join(images)}."


def _is_current(variant: Variant, config: AdvtConfig) -> bool:
    """Whether it was trained with these settings, and measured on the images to choose by."""
    splits = {each.split for each in variant.figures}
    return variant.config == config.to_dict() and splits == {Split.VALIDATION}


def _plain(variant: Variant) -> dict[str, Any]:
    """As plain JSON values."""
    return asdict(variant) | {"figures": [each.stored() for each in variant.figures]}


def _measure(ensemble: Ensemble, load_images: LoadImages) -> list[Result]:
    """The mixture's results under those attacks of the standard protocol that are in COLUMNS."""
    with tempfile.TemporaryDirectory() as folder:
        info = checkpoints.save("variant", ensemble, method="advt", root=Path(folder))
        config = EvaluationConfig((info.name,), Protocol.STANDARD, Split.VALIDATION)
        evaluation = Evaluation(config, load_images, Path(folder))
        evaluation.measurements = [
            each
            for each in evaluation.measurements
            if each.attack in COLUMNS and _fits(COLUMNS[each.attack], each.parameters())
        ]
        results = [result for measured in evaluation.run() for result in measured or []]
    mixture = headlines(result for result in results if result.model == MIXTURE_NAME)
    return [
        replace(result, held="", answers="")
        for attack, setting in COLUMNS.items()
        for result in mixture
        if result.attack == attack and setting.items() <= result.parameters.items()
    ]


def _fits(column: dict[str, Any], parameters: dict[str, Any]) -> bool:
    return all(parameters[name] == value for name, value in column.items() if name != "victim")
