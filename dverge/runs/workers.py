"""Where a worker thread belongs, and how it stays out of the pages' way."""

from __future__ import annotations

import contextlib
import os
import sys
import threading

import torch

from dverge.devices import resolve_device
from dverge.evaluation.protocols import EvaluationConfig
from dverge.training import TrainingConfig

LOW_PRIORITY = 5  # niceness of worker threads, so that pages stay quick beside them


def queue_of(config: TrainingConfig | EvaluationConfig) -> str:
    """The name of the queue a run belongs in: one a physical device, however it is named.

    On a CPU, evaluations have one of their own: nobody wants to wait for hours of training to see
    a figure. On a GPU they have not: a graph cannot be captured beside another thread's work.

    Raises:
        ConfigError: the device is not on this machine.
    """
    device = resolve_device(config.device)
    if device.type == "cuda":
        return f"cuda:{torch.cuda.current_device() if device.index is None else device.index}"
    return f"{device}-evaluation" if isinstance(config, EvaluationConfig) else str(device)


def lower_priority() -> None:
    """Make this thread, and the compute threads it starts, yield to the others (Linux only)."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # a sandbox may forbid it; it is a courtesy only
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOW_PRIORITY)
