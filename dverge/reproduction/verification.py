"""Kept results measured again from the weights, and compared image by image."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dverge.checkpoints import CheckpointInfo
from dverge.data import ImageSet, Split, load
from dverge.errors import CheckpointError
from dverge.evaluation.evaluation import Evaluation
from dverge.evaluation.protocols import EvaluationConfig, Protocol
from dverge.evaluation.store import FOLDER, LoadImages, ResultFile, all_results, find_images
from dverge.results import Result

VERIFIED = (Protocol.REPORT, Protocol.STANDARD)
ALLOWED = 0.01  # share of outcomes that may differ by another processor's rounding


@dataclass(frozen=True)
class Verification:
    """How a checkpoint's results under a protocol compare with those of a second measurement.

    An outcome is whether one model is correct on one image under one attack.

    Attributes:
        checkpoint, protocol, split: what was measured.
        images: how many.
        outcomes: those compared, over all images, models and attacks.
        turned: of these, those that differ.
        turned_images: the images with such an outcome.
        skipped: why nothing was measured; "" if it was.
    """

    checkpoint: str
    protocol: Protocol
    split: Split
    images: int = 0
    outcomes: int = 0
    turned: int = 0
    turned_images: int = 0
    skipped: str = ""

    @property
    def holds(self) -> bool:
        """No more outcomes differ than another processor's rounding explains."""
        return self.turned <= ALLOWED * self.outcomes

    def __str__(self) -> str:
        about = f"{self.checkpoint}, protocol {self.protocol}"
        if self.skipped:
            return f"{about}: not measured again: {self.skipped}"
        verdict = "the shipped figures are reproduced" if self.holds else "THEY DIFFER"
        return (
            f"{about}, {self.images:,} {self.split} images: {self.turned:,} of "
            f"{self.outcomes:,} outcomes differ, on {self.turned_images:,} images; {verdict}"
        )


def verify(
    info: CheckpointInfo, most: int, load_images: LoadImages = load
) -> Iterator[Verification | float]:
    """Measure a checkpoint's results again, without changing its folder.

    Args:
        info: the checkpoint.
        most: images to measure under the standard protocol; the report's, which is quick, is
            measured on all that its results are of.
        load_images: loads a split's images.

    Yields:
        The share done, 0 to 1, and at the end of each protocol a Verification.

    Raises:
        CheckpointError: the weights are not those of the card.
    """
    for kept in all_results(info):
        if kept.protocol not in VERIFIED:
            continue
        images = find_images(kept.images, load_images)
        if images is None:
            reason = f"its {kept.n:,} {kept.split} images are not on this machine."
            yield Verification(info.name, kept.protocol, kept.split, skipped=reason)
            continue
        count = min(most, kept.n) if kept.protocol is Protocol.STANDARD else kept.n
        yield from _measure_again(info, kept, images, count)


def _measure_again(
    info: CheckpointInfo, kept: ResultFile, images: ImageSet, count: int
) -> Iterator[Verification | float]:
    """Measure on some of the images, in a copy of the checkpoint, and compare."""
    part = images.balanced(count)
    config = EvaluationConfig((info.name,), kept.protocol, kept.split, count, kept.seed)
    results: list[Result] = []
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / info.name
        shutil.copytree(info.folder, copy, ignore=shutil.ignore_patterns(FOLDER))
        evaluation = Evaluation(config, lambda _split: part, copy.parent)
        for measured in evaluation.run():
            results += measured or []
            yield evaluation.progress()
    if evaluation.failures:
        raise CheckpointError(" ".join(evaluation.failures))
    where = torch.isin(images.indices, part.indices)
    before = {_key(result): result.right()[where] for result in kept.results if result.held}
    differ = [before[_key(r)] != r.right() for r in results if r.held and _key(r) in before]
    turned = torch.stack(differ) if differ else torch.zeros(0, count, dtype=torch.bool)
    counts = (turned.numel(), int(turned.sum()), int(turned.any(0).sum()))
    yield Verification(info.name, kept.protocol, kept.split, count, *counts)


def _key(result: Result) -> tuple[Any, ...]:
    return result.model, result.attack, *sorted(result.parameters.items())
