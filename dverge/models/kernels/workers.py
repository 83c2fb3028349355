"""Threads that share out calls of the compiled kernels, and the kernels' layout of images."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from dverge.models.kernels.passes import Array, Workspace, workspace
from dverge.models.kernels.simd import LANES


class Crew:
    """The thread that asks and some others, each with a workspace of its own.

    Args:
        threads: how many work at once; as many as PyTorch uses if None.
    """

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads or torch.get_num_threads()
        self._others = ThreadPoolExecutor(max(1, self._threads - 1), "lanes")
        self._own = threading.local()

    def each(self, task: Callable[..., Any], arguments: Iterable[tuple[int, ...]]) -> list[Any]:
        """The results of a task for each of its arguments, in order."""
        work = list(arguments)
        results: list[Any] = [None] * len(work)
        numbers = iter(range(len(work)))  # shared: whoever is free takes the next

        def take() -> None:
            for i in numbers:
                results[i] = task(*work[i])

        others: list[Future[None]] = []
        with contextlib.suppress(RuntimeError):  # Python ends and takes no new work: go on alone
            for _ in range(min(self._threads, len(work)) - 1):
                others.append(self._others.submit(take))
        take()
        for other in others:
            other.result()
        return results

    def workspace(self, dtype: torch.dtype) -> Workspace:
        """The one of the thread that asks."""
        spaces = self._own.__dict__.setdefault("spaces", {})
        if dtype not in spaces:
            spaces[dtype] = workspace(lambda length: _zeros(length, dtype))
        return spaces[dtype]


def _zeros(length: int, dtype: torch.dtype) -> Array:
    """Zeros in torch's memory, which is aligned to vectors as NumPy's is not.

    They are written by NumPy: torch would start a team of OpenMP threads for this thread, and a
    process with more of those than cores makes all its teams slower.
    """
    array = torch.empty(length, dtype=dtype).numpy()
    array.fill(0)
    return array


def to_lanes(values: Tensor) -> Tensor:
    """N×… numbers as B×(F·LANES): blocks of LANES images, of which the last ones may be zero."""
    count, blocks = len(values), -(-len(values) // LANES)
    flat = values.reshape(count, math.prod(values.shape[1:]))
    if count < blocks * LANES:
        flat = torch.cat([flat, flat.new_zeros(blocks * LANES - count, flat.shape[1])])
    width = flat.shape[1]
    return flat.view(blocks, LANES, width).transpose(1, 2).reshape(blocks, width * LANES)


def from_lanes(blocks: Tensor, count: int) -> Tensor:
    """The inverse of to_lanes for `count` images, as count×F."""
    width = blocks.shape[1] // LANES
    split = blocks.view(len(blocks), width, LANES).transpose(1, 2)
    return split.reshape(len(blocks) * LANES, width)[:count]
