"""The class on the first image that fools, by hand, through an evaluation and its file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dverge import checkpoints
from dverge.attacks import MIXTURE, Victim
from dverge.data import ImageSet, Split
from dverge.evaluation.evaluation import Evaluation
from dverge.evaluation.measurements import AimedAttack, Batch, Clean, Measurement, Query
from dverge.evaluation.store import all_results as read_results
from dverge.models import Ensemble
from dverge.results import Result
from tests.evaluation.small import Patch, config_of, use_plan

# Both read the class off a grey image: the first its brightness in tenths, the second three tenths
# more; the mixture says what the first says, who is surer.
GREYS, LABELS = (0.31, 0.38, 0.65, 0.12), (3, 3, 6, 5)
WITHOUT_ATTACK = {"member-1": [3, 3, 6, 1], "member-2": [3, 4, 6, 1], "mixture": [3, 3, 6, 1]}
SHIFTS = (0.05, 0.15, 0.35)  # of the brightness, in three attempts


class Grey(nn.Module):
    def __init__(self, more: float, sure: float) -> None:
        super().__init__()
        self.more, self.sure = more, sure

    def forward(self, images: Tensor) -> Tensor:
        said = (10 * images[:, 0, 0, 0] + self.more).long().clamp(0, 9)
        return self.sure * nn.functional.one_hot(said, 10).to(images.dtype)


class Brighter(Query):
    attack = "brighter"

    def parameters(self) -> dict[str, Any]:
        return {}

    def cost(self) -> float:
        return 1.0

    def attempts(self, victim: Victim | None) -> int:
        return len(SHIFTS)

    def shown(self, batch: Batch, attempt: int) -> Tensor:
        return batch.pixels + SHIFTS[attempt]


class Shifted(AimedAttack):
    """Brighter images fool the first member, darker ones the second; the mixture, much brighter."""

    attack = "shifted"

    def parameters(self) -> dict[str, Any]:
        return {}

    def cost(self) -> float:
        return 1.0

    def attempts(self, victim: Victim | None) -> int:
        return len(SHIFTS)

    def changed(self, ensemble: Ensemble, batch: Batch, victim: Victim, attempt: int) -> Tensor:
        if victim == MIXTURE:
            return batch.pixels + 0.5
        return batch.pixels + (1, -1)[victim.member or 0] * SHIFTS[attempt]


EXPECTED: dict[str, dict[tuple[str, str], list[int]]] = {
    "clean": {(model, ""): said for model, said in WITHOUT_ATTACK.items()},
    # Greys after the shifts: 0.36, 0.46, 0.66; 0.43; 0.70; the last was wrong before.
    "brighter": {
        ("member-1", ""): [4, 4, 7, 1],
        ("member-2", ""): [4, 4, 7, 1],
        ("mixture", ""): [4, 4, 7, 1],
    },
    "shifted": {
        ("member-1", "member-1"): [4, 4, 7, 1],
        # Darker: 0.26 is 2 to the first and still 2.9 to the second; 0.60 becomes 0.50.
        ("member-2", "member-2"): [2, 4, 5, 1],
        ("mixture", "worst"): [4, 4, 7, 1],  # by member 1's attack, the first of those that fool it
        ("mixture", "mixture"): [8, 8, 9, 1],
    },
}


@pytest.fixture
def evaluate(root: Path, monkeypatch: Patch) -> Callable[[], list[Result]]:
    """Evaluates the two hand-made members on four images."""
    grey = (255 * torch.tensor(GREYS)).round().to(torch.uint8)[:, None, None, None]
    pixels, labels = grey.repeat(1, 3, 32, 32), torch.tensor(LABELS)
    images = ImageSet(Split.SAMPLE, pixels, labels, torch.arange(4))
    ensemble = Ensemble([Grey(0.0, 5.0), Grey(0.3, 3.0)])
    monkeypatch.setattr(checkpoints, "load", lambda info: ensemble)
    plan: list[Measurement] = [Clean(), Brighter(), Shifted()]
    use_plan(monkeypatch, lambda seed: plan)
    evaluation = Evaluation(config_of("two", images=None), lambda split: images, root)
    return lambda: [each for finished in evaluation.run() for each in finished or []]


def test_the_first_image_that_fools_decides(
    root: Path, evaluate: Callable[[], list[Result]]
) -> None:
    measured = evaluate()
    for results in (measured, read_results(checkpoints.read(root / "two"))[0].results):
        found: dict[str, dict[tuple[str, str], list[int]]] = {}
        for each in results:
            if each.answers:
                key = each.model, str(each.parameters.get("victim", ""))
                found.setdefault(each.attack, {})[key] = each.predicted().tolist()
                assert each.right().equal(each.predicted() == torch.tensor(LABELS))
        assert found == EXPECTED
    single = {r.parameters.get("victim") for r in measured if not r.answers}
    assert single == {None, "members", "worst"}  # a random member, and all members at once
