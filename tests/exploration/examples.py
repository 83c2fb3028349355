"""What the tests of exploration and charts share: a small ensemble, images, results by hand."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
import torch
from torch import Tensor

from dverge.attacks import AttackConfig, Norm
from dverge.data import ImageSet, Split, load
from dverge.evaluation.diversity import Pairs
from dverge.exploration.distilled import Distilled, one_pair
from dverge.models import Ensemble, compiled
from tests.conftest import untrained_ensemble

FROG, CAT, DOG, SHIP = 6, 3, 5, 8


@pytest.fixture(scope="session")
def ensemble() -> Ensemble:
    """Three untrained members with enlarged weights; no test may change it."""
    return untrained_ensemble()


@pytest.fixture(scope="session", params=[False, True], ids=["plain", "compiled"])
def either(request: pytest.FixtureRequest, ensemble: Ensemble) -> Ensemble:
    """The ensemble as it is, then compiled."""
    return compiled(ensemble) if request.param else ensemble


@pytest.fixture(scope="session")
def images() -> Tensor:
    """Eight sample images of eight classes, 8×3×32×32 in [0, 1]."""
    return load(Split.SAMPLE).pixels(slice(0, None, 125))


@pytest.fixture(scope="session")
def labels(ensemble: Ensemble, images: Tensor) -> Tensor:
    """The mixture's predictions, so that it is correct on every image before an attack."""
    with torch.no_grad():
        return ensemble(images).argmax(1)


@cache
def sample_image(label: int, place: int = 0) -> ImageSet:
    """The place-th sample image of a class."""
    images = load(Split.SAMPLE)
    return images.subset([int((images.labels == label).nonzero()[place])])


@pytest.fixture(scope="session")
def pair() -> Pairs:
    return one_pair(sample_image(FROG), sample_image(CAT))


def distilled_by_hand(predicts: Callable[[int, int, int], int], members: int = 2) -> Distilled:
    """Frog to cat in two steps: every model predicts DOG before the last.

    At the last, model j predicts the class predicts(i, layer, j) on the feature of member i, with
    log-probability -0.5 - i - 10 j.
    """
    log_probs = torch.full((members, 5, 3, members + 1, 10), -99.0, dtype=torch.float64)
    log_probs[..., :2, :, DOG] = -0.1
    for i in range(members):
        for layer in range(1, 6):
            for j in range(members + 1):
                log_probs[i, layer - 1, 2, j, predicts(i, layer, j)] = -0.5 - i - 10 * j
    return Distilled(
        one_pair(sample_image(FROG), sample_image(CAT)),
        AttackConfig(Norm.LINF, 0.1, 0.05, 2),
        torch.zeros(members, 5, 3, 3, 32, 32),
        torch.tensor([4.0, 2.0, 1.0]).double().expand(members, 5, 3),
        log_probs,
        log_probs[0, 0, :2],
    )
