"""The guided tour's pictures, chosen by code from what the shipped checkpoints do.

`tour.json` holds the choice, with the checkpoints it was made on and how many images would have
done as well. To choose anew: `python -m dverge tour`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from dverge import checkpoints
from dverge.attacks import MIXTURE, Norm, Victim, attack, pgd
from dverge.checkpoints import CheckpointInfo
from dverge.data import ImageSet, Split, load
from dverge.errors import CheckpointError
from dverge.evaluation.diversity import Pairs, draw_pairs
from dverge.evaluation.predictions import answers, predictions
from dverge.evaluation.transfer import transfer
from dverge.exploration.distilled import Counts, distilled
from dverge.exploration.examine import examine
from dverge.exploration.noise import noise_test
from dverge.models import LAYERS, Ensemble, compiled
from dverge.stored import read_json, write_json

FILE = Path(__file__).with_name("tour.json")
SHOWN = ("vanilla-3xconv-s0", "dverge-3xconv-s0", "dverge-advt-3xconv-s0")
ATTACK = pgd(Norm.LINF, 8 / 255, random_start=False)
DRAWS = 100  # of random noise
PAIRS = 200  # of which one is shown
LAYER = LAYERS  # whose features are distilled: the logits
IMAGES = 500  # for the transfer between members
SEED = 0


@dataclass(frozen=True)
class Tour:
    """What the tour shows.

    Attributes:
        ensembles: digests by name: a vanilla, a DVERGE and a DVERGE+AdvT checkpoint.
        image: number in the test file of the image under attack.
        fitting, looked_at: so many images show all that the tour says, of those that every model
            of the three ensembles gets right.
        source, target: numbers of the images whose distilled features are shown.
        pairs_fitting: so many of PAIRS random pairs show what the tour says of them.
        overlap: by name, answers of members that take a feature distilled on another member for
            the target, and how many answers there were, over PAIRS pairs.
        transfer: by name, attacks on one member that fool another one, and how many there were.
    """

    ensembles: dict[str, str]
    image: int
    fitting: int
    looked_at: int
    source: int
    target: int
    pairs_fitting: int
    overlap: dict[str, tuple[int, int]]
    transfer: dict[str, tuple[int, int]]


def read_tour(file: Path = FILE) -> Tour:
    """The tour that is shipped. Raises FileError where its file is damaged."""
    return read_json(file, Tour)


def write_tour(tour: Tour, file: Path = FILE) -> None:
    """Ship this one."""
    write_json(file, asdict(tour))


def checkpoints_of(tour: Tour) -> list[CheckpointInfo]:
    """The three checkpoints, in the tour's order.

    Raises:
        CheckpointError: one is missing, or has other weights than those the tour was chosen on.
    """
    infos = [checkpoints.read(checkpoints.find(name)) for name in tour.ensembles]
    for info in infos:
        if info.digest != tour.ensembles[info.name]:
            raise CheckpointError(
                f"checkpoint {info.name!r} has other weights than those the tour was chosen on. "
                "Restore it, or choose the tour anew: python -m dverge tour"
            )
    return infos


def choose_tour(names: Sequence[str] = SHOWN, images: ImageSet | None = None) -> Tour:
    """Choose the image and the pair, and measure what is said beside them.

    Args:
        names: of a vanilla, a DVERGE and a DVERGE+AdvT checkpoint.
        images: to choose from; the bundled sample if None.

    Raises:
        CheckpointError: a checkpoint is missing, or no image shows all that the tour says.
    """
    images = load(Split.SAMPLE) if images is None else images
    infos = [checkpoints.read(checkpoints.find(name)) for name in names]
    ensembles = [compiled(checkpoints.load(info)) for info in infos]
    candidates = _right_everywhere(ensembles, images)
    fitting = _that_show_all(ensembles, candidates)
    if not len(fitting):
        raise CheckpointError(f"none of {len(images)} images shows all that the tour says.")
    compared = dict(zip(names, ensembles[:2], strict=False))
    pairs = _singles(draw_pairs(images, PAIRS, SEED))
    counts = [[_counts(each, pair) for each in compared.values()] for pair in pairs]
    telling = [i for i, of_pair in enumerate(counts) if _tells(*of_pair)]
    if not telling:
        raise CheckpointError(f"none of {len(pairs)} pairs shows what the tour says.")
    shown = pairs[telling[0]]
    return Tour(
        {info.name: info.digest for info in infos},
        int(fitting.indices[0]),
        len(fitting),
        len(candidates),
        int(shown.sources.indices[0]),
        int(shown.targets.indices[0]),
        len(telling),
        {
            name: (sum(c[k].others for c in counts), sum(c[k].others_of for c in counts))
            for k, name in enumerate(compared)
        },
        {name: _transfer(ensemble, images) for name, ensemble in compared.items()},
    )


def _right_everywhere(ensembles: Sequence[Ensemble], images: ImageSet) -> ImageSet:
    """The images that every model of all ensembles gets right."""
    right = [(predictions(each, images) == images.labels).all(0) for each in ensembles]
    return images.subset(torch.stack(right).all(0).nonzero().flatten())


def _that_show_all(ensembles: Sequence[Ensemble], images: ImageSet) -> ImageSet:
    """The images that, attacked, show each thing that the tour says.

    Attacks on one vanilla member fool all others, those on one DVERGE member no other; the attack
    on the mixture fools the vanilla and the DVERGE mixture, and not that of DVERGE+AdvT; noise of
    its size never fools the vanilla mixture.
    """
    vanilla, diverse, trained = (_fooled(each, images) for each in ensembles)
    members = len(vanilla) - 1
    others = ~torch.eye(members, dtype=torch.bool)
    spread, kept = vanilla[:members, :members][others], diverse[:members, :members][others]
    mixtures = vanilla[-1, -1] & diverse[-1, -1] & ~trained[-1, -1]
    found = images.subset((spread.all(0) & ~kept.any(0) & mixtures).nonzero().flatten())
    quiet = [i for i in range(len(found)) if not _noise_fools(ensembles[0], found, i)]
    return found.subset(torch.tensor(quiet, dtype=torch.long))


def _fooled(ensemble: Ensemble, images: ImageSet) -> torch.Tensor:
    """(M+1)×(M+1)×N booleans: the attack on one model (row) fools another (column)."""
    pixels, labels = images.pixels(), images.labels
    victims = [*map(Victim, range(len(ensemble))), MIXTURE]
    found = [attack(ensemble, pixels, labels, ATTACK, victim).images for victim in victims]
    return torch.stack([answers(ensemble, each) != labels for each in found])


def _noise_fools(ensemble: Ensemble, images: ImageSet, position: int) -> bool:
    image, label = images.pixels(position), int(images.labels[position])
    outcome = examine(ensemble, image, label, ATTACK)
    return noise_test(ensemble, outcome, DRAWS, SEED).fooled[-1] > 0


def _singles(pairs: Pairs) -> list[Pairs]:
    return [Pairs(pairs.sources.subset(i), pairs.targets.subset(i)) for i in range(len(pairs))]


def _counts(ensemble: Ensemble, pair: Pairs) -> Counts:
    """How often the features of one layer are taken for the target."""
    return distilled(ensemble, pair).counts(layer=LAYER)


def _tells(vanilla: Counts, diverse: Counts) -> bool:
    """Every member takes its own features for the target, with vanilla most others do, too.

    With DVERGE no other does.
    """
    own = all(each.own == each.own_of for each in (vanilla, diverse))
    return own and 2 * vanilla.others > vanilla.others_of and diverse.others == 0


def _transfer(ensemble: Ensemble, images: ImageSet) -> tuple[int, int]:
    """Attacks on one member that fool another, and how many there are."""
    found = transfer(ensemble, ensemble, images.balanced(min(IMAGES, len(images))), ATTACK)
    members = len(ensemble)
    own = found.fooled[:members, :members]
    return int(own.sum() - own.diagonal().sum()), found.n * members * (members - 1)
