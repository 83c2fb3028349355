"""The engine for a CPU: compiled kernels that work on one image a vector lane.

Work is cut into tasks of one member and one block of images each, which the threads take in
turn. What a task computes does not depend on who computes it, and sums over tasks are taken in
a fixed order: the result is the same, bit for bit, for any number of threads.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from dverge.attacks import AttackConfig
from dverge.models import Conv, kernels
from dverge.models.kernels import LANES, UNKNOWN, WorkerPool, from_lanes, to_lanes
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
        self._pool = WorkerPool(threads)
        self._gradients = torch.zeros(0)

    def encode(self, images: Tensor) -> Tensor:
        return torch.stack([to_lanes(each) for each in images])

    def decode(self, images: Tensor, count: int) -> Tensor:
        return torch.stack([from_lanes(each, count).view(count, 3, 32, 32) for each in images])

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
                self._pool.workspace(self.weights.dtype),
                layer,
                *_numbers(config),
            )

        self._pool.map(task, np.ndindex(*images.shape[:2]))
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
                self._pool.workspace(self.weights.dtype),
                *_numbers(config),
            )

        self._pool.map(task, np.ndindex(*examples.shape[:2]))
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
        shares, of_mixture = self._shares(terms, images, labels)

        def learn(i: int) -> float:
            t, m, s, block = work[i]
            term, count = terms[t], terms[t].labels.shape[1]
            cap = np.inf if term.cap is None else term.cap
            scale, block_labels = term.weight / count, labels[t][s, block]
            own = self._pool.workspace(self.weights.dtype)
            image, out = images[t][s, block], gradients[i]
            part = shares[t][s, block, m]
            return kernels.learn(w[m], image, block_labels, scale, cap, part, own, out) / count

        losses = self._pool.map(learn, ((i,) for i in range(len(work))))
        of_member = np.searchsorted([m for _, m, _, _ in work], range(self.count + 1))

        def descend(m: int) -> None:
            rows = gradients[of_member[m] : of_member[m + 1]]
            rate = float(learning_rate)
            kernels.descend(w[m], velocity[m], rows, rate, self.momentum, self.weight_decay)

        self._pool.map(descend, ((m,) for m in range(self.count)))
        sums = np.zeros((len(terms), self.count))
        for (t, m, _, _), loss in zip(work, losses, strict=True):
            sums[t, m] += loss
        for t, loss in of_mixture.items():
            sums[t] = loss
        return torch.from_numpy(sums)

    def _shares(
        self,
        terms: Sequence[Term],
        images: Sequence[kernels.Array],
        labels: Sequence[kernels.Array],
    ) -> tuple[list[kernels.Array], dict[int, float]]:
        """By how much each image counts for each member, T times S×B×M×LANES, and joint losses.

        The mixture's cross-entropy has the gradient Σ_m r_m ∇CE_m, where r_m is the share of
        member m in the probability of the label; any other counts in full.
        """
        kind = self.weights.numpy().dtype
        shares = [np.ones((*known.shape[:2], self.count, LANES), kind) for known in labels]

        def share(t: int, s: int, block: int) -> float:
            own = self._pool.workspace(self.weights.dtype)
            at = (s, block)
            return kernels.shares(
                self.weights.numpy(), images[t][at], labels[t][at], own, shares[t][at]
            )

        losses = {}
        for t, term in enumerate(terms):
            if term.joint:
                found = self._pool.map(share, ((t, *at) for at in np.ndindex(labels[t].shape[:2])))
                losses[t] = sum(found) / term.labels.shape[1]
        return shares, losses

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
