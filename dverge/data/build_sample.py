"""Build the bundled sample anew from the full data: `python -m dverge.data.build_sample`.

Needs the full data (`python -m dverge data`). Writes sample.webp and sample.json beside this file.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from dverge.data.images import CLASSES, ImageSet, Split
from dverge.data.loading import load
from dverge.data.sample import (
    FACTS,
    PICTURE,
    SAMPLE_COLUMNS,
    SAMPLE_PER_CLASS,
    lay_tiles,
)


def choose(labels: Tensor) -> Tensor:
    """Positions of the first 100 images of each class, int64, in ascending order."""
    firsts = [torch.nonzero(labels == each)[:SAMPLE_PER_CLASS, 0] for each in range(len(CLASSES))]
    return torch.cat(firsts).sort().values


def build(test: ImageSet, picture: Path = PICTURE, facts: Path = FACTS, *, effort: int = 6) -> None:
    """Write the two files of the sample of a test set; more effort (0–6) makes them smaller.

    Raises:
        OSError: a file cannot be written.
    """
    chosen = test.subset(choose(test.labels))
    sample = ImageSet(Split.SAMPLE, chosen.images, chosen.labels, chosen.indices)
    known = {
        "digest": sample.digest,
        "indices": sample.indices.tolist(),
        "labels": sample.labels.tolist(),
    }
    written = picture.with_name(f".{picture.name}")
    Image.fromarray(lay_tiles(sample.images, SAMPLE_COLUMNS)).save(
        written, "WEBP", lossless=True, quality=100, method=effort, exact=True
    )
    written.replace(picture)
    facts.write_text(json.dumps(known, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    build(load(Split.TEST))
    print(f"{PICTURE} and {FACTS.name} are written.")
