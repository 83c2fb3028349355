"""The bundled sample: 1,000 test images, the first 100 of each class, in test order.

`sample.webp` is one lossless picture of 25 rows of 40 images; `sample.json` has their labels,
their positions in the test file, and the digest of both. To write both files again from the full
data: `write_sample(load(Split.TEST))`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from dverge.data.images import ImageSet, Split
from dverge.errors import DataError, FileError
from dverge.stored import Count, read_json

COLUMNS = 40
SAMPLE_SIZE = 1000
PICTURE = Path(__file__).with_name("sample.webp")
FACTS = Path(__file__).with_name("sample.json")
HOW_TO_RESTORE = "Copy the files of dverge/data again from where you got this program."


@dataclass(frozen=True)
class _Facts:
    labels: list[Count]
    indices: list[Count]
    digest: str


@lru_cache(maxsize=1)
def load_sample() -> ImageSet:
    """The bundled sample, verified. Raises DataError if its files are missing or damaged."""
    return read_sample(PICTURE, FACTS)


def read_sample(picture: Path, facts: Path) -> ImageSet:
    """Read and verify a sample from its two files. Raises DataError."""
    try:
        known = read_json(facts, _Facts)
        with Image.open(picture, formats=("WEBP",)) as opened:
            tiles = np.asarray(opened.convert("RGB")).copy()
        labels, indices = torch.tensor(known.labels), torch.tensor(known.indices)
        images = ImageSet(Split.SAMPLE, cut_tiles(tiles), labels, indices)
        intact = images.digest == known.digest
    except (OSError, UnidentifiedImageError, ValueError, FileError, DataError) as error:
        raise DataError(f"The bundled sample cannot be read ({error}). {HOW_TO_RESTORE}") from error
    if not intact:
        raise DataError(
            f"The bundled sample {picture} is damaged: its SHA-256 differs. {HOW_TO_RESTORE}"
        )
    return images


def write_sample(
    test: ImageSet, picture: Path = PICTURE, facts: Path = FACTS, *, effort: int = 6
) -> None:
    """Write the two files of the sample of a test set; more effort (0–6) makes them smaller.

    Raises:
        OSError: a file cannot be written.
    """
    chosen = test.balanced(SAMPLE_SIZE)
    known = {
        "digest": chosen.digest,
        "indices": chosen.indices.tolist(),
        "labels": chosen.labels.tolist(),
    }
    temporary = picture.with_name(f".{picture.name}")
    Image.fromarray(lay_tiles(chosen.images, COLUMNS)).save(
        temporary, "WEBP", lossless=True, quality=100, method=effort, exact=True
    )
    temporary.replace(picture)
    facts.write_text(json.dumps(known, separators=(",", ":")) + "\n", encoding="utf-8")


def cut_tiles(tiles: np.ndarray) -> Tensor:
    """Cut a picture of rows of 32×32 tiles, H×W×3 uint8, into images, uint8 N×3×32×32."""
    height, width = tiles.shape[0] // 32, tiles.shape[1] // 32
    cut = torch.from_numpy(tiles).reshape(height, 32, width, 32, 3)
    return cut.permute(0, 2, 4, 1, 3).reshape(height * width, 3, 32, 32).contiguous()


def lay_tiles(images: Tensor, columns: int) -> np.ndarray:
    """The inverse of cut_tiles, for a whole number of rows of `columns` images."""
    laid = images.reshape(-1, columns, 3, 32, 32).permute(0, 3, 1, 4, 2)
    return laid.reshape(-1, 32 * columns, 3).contiguous().numpy()
