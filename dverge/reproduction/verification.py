"""Shipped figures measured again from the weights, and compared image by image."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dverge.checkpoints import CheckpointInfo
from dverge.data import ImageSet, Split, load
from dverge.errors import CheckpointError, DataError
from dverge.evaluation.evaluation import Evaluation, LoadImages
from dverge.evaluation.protocols import EvaluationConfig, Protocol
from dverge.evaluation.store import FOLDER, ResultFile, all_results
from dverge.results import Result

VERIFIED = (Protocol.REPORT, Protocol.STANDARD)
ALLOWED = 0.01  # share of outcomes that another processor's rounding may turn
Progress = Iterator["Verification | float"]


@dataclass(frozen=True)
class Verification:
    """What a checkpoint's figures under a protocol came to when they were measured again.

    An outcome is whether one model is right on one image under one attack.

    Attributes:
        checkpoint, protocol, split: what was measured.
        images: how many.
        outcomes: compared, over all images, models and attacks.
        turned: of these, those that differ.
        turned_images: images with such an outcome.
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
        """No more outcomes differ than another processor's rounding may turn."""
        return self.turned <= ALLOWED * self.outcomes

    def __str__(self) -> str:
        about = f"{self.checkpoint}, protocol {self.protocol}"
        if self.skipped:
            return f"{about}: not measured again: {self.skipped}"
        verdict = "the shipped figures come back" if self.holds else "THEY DIFFER"
        return (
            f"{about}, {self.images:,} {self.split} images: {self.turned:,} of "
            f"{self.outcomes:,} outcomes differ, on {self.turned_images:,} images; {verdict}"
        )


def verify(info: CheckpointInfo, most: int, load_images: LoadImages = load) -> Progress:
    """Measure a checkpoint's figures again, leaving its folder alone.

    Args:
        info: the checkpoint.
        most: images to measure under the standard protocol; the report's, which is quick, is
            measured on all that it was kept of.
        load_images: where the images come from.

    Yields:
        The share done, 0 to 1, as often as there is news, and a Verification a protocol at its end.

    Raises:
        CheckpointError: the weights are not those of the card.
    """
    for kept in all_results(info):
        about = kept
        if about.protocol in VERIFIED:
            images = _images_of(kept, load_images)
            if images is None:
                words = f"its {about.n:,} {about.split} images are not on this machine."
                yield Verification(info.name, about.protocol, about.split, skipped=words)
                continue
            count = min(most, about.n) if about.protocol is Protocol.STANDARD else about.n
            yield from _again(info, kept, images, count)


def _images_of(kept: ResultFile, load_images: LoadImages) -> ImageSet | None:
    """The images that these results are of; None if they are not here."""
    about = kept
    for split in (about.split, Split.SAMPLE):
        try:
            images = load_images(split)
        except DataError:
            continue
        if len(images) >= about.n and (chosen := images.balanced(about.n)).digest == about.data:
            return ImageSet(about.split, chosen.images, chosen.labels, chosen.indices)
    return None


def _again(info: CheckpointInfo, kept: ResultFile, images: ImageSet, count: int) -> Progress:
    """Measure on some of the images in a copy of the checkpoint, and compare."""
    about = kept
    part = images.balanced(count)
    where = torch.isin(images.indices, part.indices)
    config = EvaluationConfig((info.name,), about.protocol, about.split, count, about.seed)
    found: list[Result] = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        unwanted = shutil.ignore_patterns(FOLDER)
        shutil.copytree(info.folder, root / info.name, ignore=unwanted)
        evaluation = Evaluation(config, lambda _split: part, root)
        for rows in evaluation.run():
            found += rows or []
            yield evaluation.progress()
    if evaluation.failures:
        raise CheckpointError(" ".join(evaluation.failures))
    then = {_key(row): row.right()[where] for row in kept.results if row.held}
    turned = [then[key] != row.right() for row in found if row.held and (key := _key(row)) in then]
    yield _compared(info.name, kept, count, turned)


def _key(row: Result) -> tuple[Any, ...]:
    return row.model, row.attack, *sorted(row.parameters.items())


def _compared(name: str, kept: ResultFile, count: int, turned: list[Tensor]) -> Verification:
    about = kept
    differ = torch.stack(turned) if turned else torch.zeros(0, count, dtype=torch.bool)
    return Verification(
        name,
        about.protocol,
        about.split,
        count,
        differ.numel(),
        int(differ.sum()),
        int(differ.any(0).sum()),
    )
