"""The engine for a CPU: compiled kernels that work on one image a vector lane.

Work is cut into tasks of one member and one block of images each, which the threads take in
turn. What a task computes does not depend on who computes it, and sums over tasks are taken in
a fixed order: the result is the same, bit for bit, for any number of threads.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dverge.attacks import AttackConfig
from dverge.models import Conv, kernels
from dverge.models.kernels import IMAGE, UNKNOWN, Workspace
from dverge.models.simd import LANES
from dverge.training.engine import Engine, Term


class Lanes(Engine):
    """Images are S×B×(3·32·32·LANES): blocks of LANES images, of which the last ones may be black.

    Args:
        threads: how many work at once; as many as PyTorch uses if None.
    """

    def __init__(
        self,
        members: Sequence[Conv],
        momentum: float,
        weight_decay: float,
        threads: int | None = None,
    ) -> None:
        super().__init__(members, momentum, weight_decay)
        self._threads = threads or torch.get_num_threads()
        self._others = ThreadPoolExecutor(max(1, self._threads - 1), "lanes")
        self._own = threading.local()
        self._gradients = torch.zeros(0)

    def encode(self, images: Tensor) -> Tensor:
        sets, count = images.shape[:2]
        blocks = -(-count // LANES)
        if count < blocks * LANES:
            black = images.new_zeros(sets, blocks * LANES - count, *images.shape[2:])
            images = torch.cat([images, black], 1)
        split = images.view(sets, blocks, LANES, IMAGE)
        return split.transpose(2, 3).contiguous().view(sets, blocks, IMAGE * LANES)

    def decode(self, images: Tensor, count: int) -> Tensor:
        split = images.view(*images.shape[:2], IMAGE, LANES).transpose(2, 3)
        return split.reshape(len(images), -1, 3, 32, 32)[:, :count]

    def distill(
        self, source: Tensor, target: Tensor, start: Tensor, layer: int, config: AttackConfig
    ) -> Tensor:
        result = start.clone(memory_format=torch.contiguous_format)
        images, w = result.numpy(), self.weights.numpy()
        sources, targets = source[0].numpy(), target[0].numpy()

        def task(m: int, block: int) -> None:
            kernels.distill(
                w[m],
                sources[block],
                targets[block],
                images[m, block],
                self._workspace(),
                layer,
                *_numbers(config),
            )

        self._each(task, np.ndindex(*images.shape[:2]))
        return result

    def attack(
        self, images: Tensor, labels: Tensor, start: Tensor, config: AttackConfig, mixture: bool
    ) -> Tensor:
        result = start.clone(memory_format=torch.contiguous_format)
        examples, origins, w = result.numpy(), images.numpy(), self.weights.numpy()
        known = _padded(labels, examples.shape[1])

        def task(s: int, block: int) -> None:
            kernels.attack(
                w if mixture else w[s : s + 1],
                origins[s, block],
                known[s, block],
                examples[s, block],
                self._workspace(),
                *_numbers(config),
            )

        self._each(task, np.ndindex(*examples.shape[:2]))
        return result

    def step(self, terms: Sequence[Term], learning_rate: float | Tensor) -> Tensor:
        work = [
            (t, m, s, block)
            for m in range(self.count)
            for t, term in enumerate(terms)
            for s in term.learners[m]
            for block in range(term.images.shape[1])
        ]
        gradients = self._room(len(work))
        images = [term.images.numpy() for term in terms]
        labels = [_padded(term.labels, term.images.shape[1]) for term in terms]
        w, velocity = self.weights.numpy(), self.velocity.numpy()

        def learn(i: int) -> float:
            t, m, s, block = work[i]
            term, count = terms[t], terms[t].labels.shape[1]
            cap = np.inf if term.cap is None else term.cap
            scale, block_labels = term.weight / count, labels[t][s, block]
            own = self._workspace()
            image, out = images[t][s, block], gradients[i]
            return kernels.learn(w[m], image, block_labels, scale, cap, own, out) / count

        losses = self._each(learn, ((i,) for i in range(len(work))))
        of_member = np.searchsorted([m for _, m, _, _ in work], range(self.count + 1))

        def descend(m: int) -> None:
            rows = gradients[of_member[m] : of_member[m + 1]]
            rate = float(learning_rate)
            kernels.descend(w[m], velocity[m], rows, rate, self.momentum, self.weight_decay)

        self._each(descend, ((m,) for m in range(self.count)))
        sums = np.zeros((len(terms), self.count))
        for (t, m, _, _), loss in zip(work, losses, strict=True):
            sums[t, m] += loss
        return torch.from_numpy(sums)

    def _each(self, task: Callable[..., Any], arguments: Iterable[tuple[int, ...]]) -> list[Any]:
        """The results of a task for each of its arguments, in order."""
        work = list(arguments)
        results: list[Any] = [None] * len(work)
        numbers = iter(range(len(work)))  # shared: whoever is free takes the next

        def take() -> None:
            for i in numbers:
                results[i] = task(*work[i])

        others: list[Future[None]] = []
        with contextlib.suppress(RuntimeError):  # Python ends and takes no new work: go on alone
            for _ in range(self._threads - 1):
                others.append(self._others.submit(take))
        take()
        for other in others:
            other.result()
        return results

    def _workspace(self) -> Workspace:
        """The one of the thread that asks."""
        if not hasattr(self._own, "workspace"):
            self._own.workspace = kernels.workspace(self._zeros)
        return self._own.workspace

    def _zeros(self, length: int) -> kernels.Array:
        """Zeros in torch's memory, which is aligned to vectors as NumPy's is not.

        They are written by NumPy: torch would start a team of OpenMP threads for this thread,
        and a process with more of those than cores makes all its teams slower.
        """
        array = torch.empty(length, dtype=self.weights.dtype).numpy()
        array.fill(0)
        return array

    def _room(self, tasks: int) -> kernels.Array:
        """A row for each task's gradient."""
        if len(self._gradients) < tasks:
            self._gradients = self.weights.new_zeros(tasks, kernels.PARAMETERS)
        return self._gradients.numpy()[:tasks]


def _numbers(config: AttackConfig) -> tuple[float, float, int, float]:
    """What a kernel needs of a config, of the types that it is compiled for."""
    return float(config.eps), float(config.step_size), config.steps, float(config.momentum)


def _padded(labels: Tensor, blocks: int) -> kernels.Array:
    """S×N labels as S×B×LANES, UNKNOWN where a lane holds no image."""
    missing = blocks * LANES - labels.shape[1]
    padded = torch.nn.functional.pad(labels, (0, missing), value=UNKNOWN)
    return padded.view(len(labels), blocks, LANES).contiguous().numpy()
