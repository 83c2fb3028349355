"""The tuned recipe on images that it was not chosen on, against a loop over the images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dverge import checkpoints
from dverge.data import Split, load
from dverge.evaluation.protocols import Protocol
from dverge.reproduction.matching import reproduce
from dverge.reproduction.printed import RECIPES, TUNED, TUNED_ADVT
from dverge.reproduction.unseen import on_unseen_images, unseen_text
from dverge.results import result_of, wilson_interval
from tests.reproduction.report_shelf import measure, trained

SEEN = set(load(Split.SAMPLE).indices.tolist())


def test_a_result_is_narrowed_to_the_images_that_are_not_bundled() -> None:
    right = torch.rand(10_000, generator=torch.Generator().manual_seed(1)) < 0.3
    right[sorted(SEEN)] = True  # so that it would matter
    whole = result_of(right, "mixture", "clean", Split.TEST, torch.zeros(10_000).long())
    found = on_unseen_images(whole)
    rest = [bool(right[i]) for i in range(10_000) if i not in SEEN]
    low, high = (100 * end for end in wilson_interval(sum(rest), 9000))
    assert found.right().tolist() == rest and found.answers == ""
    assert (found.n, found.accuracy) == (9000, 100 * sum(rest) / 9000)
    assert (found.ci_low, found.ci_high) == pytest.approx((low, high))


@pytest.mark.parametrize("change", [{"held": ""}, {"split": Split.VALIDATION}])
def test_other_results_are_refused(change: dict[str, str]) -> None:
    whole = result_of(torch.ones(10_000).bool(), "mixture", "clean", Split.TEST)
    with pytest.raises(ValueError, match="only a result on all test images"):
        on_unseen_images(replace(whole, **change))  # type: ignore[arg-type]


def test_both_mixtures_are_compared_once_they_are_measured(tmp_path: Path) -> None:
    """Each is right on the first images of the file."""

    def text() -> str:
        return unseen_text(reproduce(checkpoints.list_all(tmp_path)[0]))

    recipe = RECIPES[TUNED]
    tuned = trained(tmp_path, "advt-3xconv-s0-tuned", "advt", TUNED_ADVT.epochs, **recipe)
    other = trained(tmp_path, "dverge-advt-3xconv-s0", "dverge-advt", 50)
    for info, n, clean, strong in (
        (other, 10_000, 6000, 1000),
        (tuned, 1000, 700, 300),
        (tuned, 10_000, 7000, 3000),
    ):
        assert text().endswith("may flatter it.")
        counts = {"clean": (1, 1, 1, clean), "strong-linf": (1, 1, 1, strong)}
        measure(info, Protocol.HEADLINE, counts, n, f"{n:064}")
    shares = [
        100 * sum(i not in SEEN for i in range(count)) / 9000 for count in (7000, 3000, 6000, 1000)
    ]
    positions = [text().find(f" {share:.1f} % (") for share in shares]
    assert positions == sorted(positions) and positions[0] > 0
    assert "may flatter it. On the other 9,000 test images" in text()
    gains = shares[0] - shares[2], shares[1] - shares[3]
    assert f"The differences: +{gains[0]:.1f} points" in text()
    assert f"and +{gains[1]:.1f} points" in text()
