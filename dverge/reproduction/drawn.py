"""The report's own clean accuracy: a mean over random draws of the validation images."""

from __future__ import annotations

import torch

from dverge.results import Result

DRAWS, SIZE, SEED = 10, 256, 0


def drawn_mean(result: Result) -> float:
    """The mean accuracy over ten random draws of 256 of a result's images, in per cent.

    It moves by a point with the draws, so a table has the accuracy on all images instead.

    Raises:
        ValueError: the result does not keep on which images the model is correct.
    """
    right = result.right().double()
    if not len(right):
        raise ValueError("it is not kept on which images the model is correct")
    generator = torch.Generator().manual_seed(SEED)
    drawn = [torch.randperm(len(right), generator=generator)[:SIZE] for _ in range(DRAWS)]
    return 100 * right[torch.stack(drawn)].mean().item()
