"""The guided tour's images, chosen by code from what the shipped checkpoints do.

`tour.json` holds the choice, the checkpoints that it was made on, and how many other images were
also suitable. `python -m dverge tour` chooses again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from dverge import checkpoints
from dverge.attacks import Norm, attack, pgd
from dverge.checkpoints import CheckpointInfo
from dverge.data import ImageSet, Split, load
from dverge.errors import CheckpointError
from dverge.evaluation.diversity import Diversity, correct_pairs, diversity, draw_pairs
from dverge.evaluation.predictions import all_correct, answers
from dverge.evaluation.transfer import transfer
from dverge.exploration.examine import examine, victims_of
from dverge.exploration.noise import noise_test
from dverge.models import LAYERS, Ensemble, compiled
from dverge.stored import read_json, write_json

FILE = Path(__file__).with_name("tour.json")
SHOWN = ("vanilla-3xconv-s0", "dverge-3xconv-s0", "dverge-advt-3xconv-s0")
ATTACK = pgd(Norm.LINF, 8 / 255, random_start=False)
DRAWS = 100  # of random noise
PAIRS = 2000  # drawn at random; those of correctly classified images count, and one is shown
LAYER = LAYERS  # whose features are distilled: the logits
IMAGES = 500  # for the transfer between members
SEED = 0


@dataclass(frozen=True)
class Tour:
    """What the tour shows.

    Attributes:
        ensembles: digests by name: a vanilla, a DVERGE and a DVERGE+AdvT checkpoint.
        image: the number, in the test file, of the image under attack.
        looked_at: how many images every model of the three ensembles classifies correctly.
        fitting: how many of these show all that the tour says.
        source, target: the numbers of the images whose distilled features are shown.
        pairs: how many of PAIRS random pairs are of images that every member of the vanilla and
            the DVERGE ensemble classifies correctly.
        pairs_fitting: how many of these show what the tour says of them.
        overlap: by name, over these pairs, how many predictions on a feature distilled on another
            member are the target, and how many predictions there are.
        transfer: by name, how many attacks on one member fool another, and how many there are.
    """

    ensembles: dict[str, str]
    image: int
    fitting: int
    looked_at: int
    source: int
    target: int
    pairs: int
    pairs_fitting: int
    overlap: dict[str, tuple[int, int]]
    transfer: dict[str, tuple[int, int]]


def read_tour(file: Path = FILE) -> Tour:
    """The tour that is shipped. Raises FileError where its file is damaged."""
    return read_json(file, Tour)


def write_tour(tour: Tour, file: Path = FILE) -> None:
    """Write the tour to be shipped."""
    write_json(file, asdict(tour))


def checkpoints_of(tour: Tour) -> list[CheckpointInfo]:
    """The three checkpoints, in the tour's order.

    Raises:
        CheckpointError: one is missing, or its weights are not those that the tour was chosen on.
    """
    infos = [checkpoints.read(checkpoints.find(name)) for name in tour.ensembles]
    for info in infos:
        if info.digest != tour.ensembles[info.name]:
            raise CheckpointError(
                f"checkpoint {info.name!r} has other weights than those the tour was chosen on. "
                "Restore it, or choose the tour again: python -m dverge tour"
            )
    return infos


def choose_tour(names: Sequence[str] = SHOWN, images: ImageSet | None = None) -> Tour:
    """Choose the image and the pair, and measure the figures that the tour gives.

    Args:
        names: of a vanilla, a DVERGE and a DVERGE+AdvT checkpoint.
        images: to choose from; the bundled sample if None.

    Raises:
        CheckpointError: a checkpoint is missing, or no image or pair shows all that the tour says.
        ConfigError: no pair is of correctly classified images.
    """
    images = load(Split.SAMPLE) if images is None else images
    infos = [checkpoints.read(checkpoints.find(name)) for name in names]
    ensembles = [compiled(checkpoints.load(info)) for info in infos]
    candidates = images.subset(all_correct(ensembles, images))
    suitable = _suitable_images(ensembles, candidates)
    if not len(suitable):
        raise CheckpointError(f"none of {len(images)} images shows all that the tour says.")
    compared = dict(zip(names, ensembles[:2], strict=False))
    pairs = draw_pairs(images, PAIRS, SEED)
    pairs = pairs.subset(correct_pairs(pairs, ensembles[:2]))
    features = [diversity(each, pairs, layers=[LAYER]) for each in ensembles[:2]]
    suitable_pairs = _suitable_pairs(*features)
    if not suitable_pairs.any():
        raise CheckpointError(f"none of {len(pairs)} pairs shows what the tour says.")
    shown = pairs.subset(suitable_pairs)
    return Tour(
        ensembles={info.name: info.digest for info in infos},
        image=int(suitable.indices[0]),
        fitting=len(suitable),
        looked_at=len(candidates),
        source=int(shown.sources.indices[0]),
        target=int(shown.targets.indices[0]),
        pairs=len(pairs),
        pairs_fitting=len(shown),
        overlap={
            name: (int(others.sum()), others.numel())
            for name, others in zip(compared, map(_others, features), strict=True)
        },
        transfer={name: _transfer(ensemble, images) for name, ensemble in compared.items()},
    )


def _suitable_images(ensembles: Sequence[Ensemble], images: ImageSet) -> ImageSet:
    """The images that, attacked, show all that the tour says.

    An attack on one vanilla member fools all others, and one on a DVERGE member no other. The
    attack on the mixture fools the vanilla and the DVERGE mixture, but not that of DVERGE+AdvT.
    Noise of the attack's size never fools the vanilla mixture.
    """
    vanilla, diverse, trained = (_fooled(each, images) for each in ensembles)
    members = len(vanilla) - 1
    others = ~torch.eye(members, dtype=torch.bool)
    spreads = vanilla[:members, :members][others].all(0)
    stays = ~diverse[:members, :members][others].any(0)
    mixtures = vanilla[-1, -1] & diverse[-1, -1] & ~trained[-1, -1]
    suitable = images.subset((spreads & stays & mixtures).nonzero().flatten())
    robust = [i for i in range(len(suitable)) if not _noise_fools(ensembles[0], suitable, i)]
    return suitable.subset(torch.tensor(robust, dtype=torch.long))


def _fooled(ensemble: Ensemble, images: ImageSet) -> Tensor:
    """(M+1)×(M+1)×N booleans: the attack on one model (row) fools another (column)."""
    pixels, labels = images.pixels(), images.labels
    attacked = [
        attack(ensemble, pixels, labels, ATTACK, victim).images
        for victim in victims_of(len(ensemble))
    ]
    return torch.stack([answers(ensemble, each) != labels for each in attacked])


def _noise_fools(ensemble: Ensemble, images: ImageSet, position: int) -> bool:
    image, label = images.pixels(position), int(images.labels[position])
    return noise_test(ensemble, examine(ensemble, image, label, ATTACK), DRAWS, SEED).fooled[-1] > 0


def _suitable_pairs(vanilla: Diversity, diverse: Diversity) -> Tensor:
    """Bool N: every member classifies its own feature of the pair as the target.

    So do most others with vanilla, and none with DVERGE.
    """
    own = [each.sees_target[0].diagonal().all(1) for each in (vanilla, diverse)]
    most = _others(vanilla).double().mean(0) > 0.5
    return own[0] & own[1] & most & ~_others(diverse).any(0)


def _others(features: Diversity) -> Tensor:
    """Bool M(M-1)×N: a member classifies the feature of another as the target; of one layer."""
    others = ~torch.eye(features.sees_target.shape[1], dtype=torch.bool)
    return features.sees_target[0, others]


def _transfer(ensemble: Ensemble, images: ImageSet) -> tuple[int, int]:
    """How many attacks on one member fool another, and how many there are."""
    result = transfer(ensemble, ensemble, images.balanced(min(IMAGES, len(images))), ATTACK)
    members = len(ensemble)
    fooled = result.fooled[:members, :members]
    return int(fooled.sum() - fooled.diagonal().sum()), result.n * members * (members - 1)
