"""Threads that share the calls of the compiled kernels."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch

from dverge.models.kernels.layout import Workspace, workspace


class WorkerPool:
    """The calling thread and some helpers, each with a workspace of its own.

    Args:
        threads: how many work at once; as many as PyTorch uses if None.
    """

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads or torch.get_num_threads()
        self._helpers = ThreadPoolExecutor(max(1, self._threads - 1), "lanes")
        self._local = threading.local()

    def map(self, task: Callable[..., Any], arguments: Iterable[tuple[int, ...]]) -> list[Any]:
        """Call the task with each tuple of arguments; the results, in the order of the tuples."""
        work = list(arguments)
        results: list[Any] = [None] * len(work)
        remaining = iter(range(len(work)))  # shared: a thread that is free takes the next

        def take() -> None:
            for i in remaining:
                results[i] = task(*work[i])

        helpers: list[Future[None]] = []
        # A RuntimeError means that Python is ending and starts no more work: go on alone.
        with contextlib.suppress(RuntimeError):
            for _ in range(min(self._threads, len(work)) - 1):
                helpers.append(self._helpers.submit(take))
        take()
        for helper in helpers:
            helper.result()
        return results

    def workspace(self, dtype: torch.dtype) -> Workspace:
        """The calling thread's workspace for arrays of a type."""
        workspaces = self._local.__dict__.setdefault("workspaces", {})
        if dtype not in workspaces:
            workspaces[dtype] = workspace(dtype)
        return workspaces[dtype]
