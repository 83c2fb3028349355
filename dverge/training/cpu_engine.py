"""The engine for CPUs: compiled kernels in which each SIMD lane computes one image.

The work is cut into tasks of one member and one block of images, which the threads share. No
result of a task depends on the thread, and sums over tasks are taken in a fixed order: the result
is the same, bit for bit, for any number of threads.
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


class CpuEngine(Engine):
    """Images are S×B×(3·32·32·LANES): B blocks of LANES images; the last block may have padding.

    Args:
        threads: number of threads; None for as many as PyTorch uses.
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
        images, weights = result.numpy(), self.weights.numpy()
        sources, targets = source[0].numpy(), target[0].numpy()

        def distill_block(m: int, block: int) -> None:
            kernels.distill(
                weights[m],
                sources[block],
                targets[block],
                images[m, block],
                self._pool.workspace(self.weights.dtype),
                layer,
                *_kernel_arguments(config),
            )

        self._pool.map(distill_block, np.ndindex(*images.shape[:2]))
        return result

    def attack(
        self, images: Tensor, labels: Tensor, start: Tensor, config: AttackConfig, mixture: bool
    ) -> Tensor:
        result = start.clone(memory_format=torch.contiguous_format)
        examples, origins, weights = result.numpy(), images.numpy(), self.weights.numpy()
        block_labels = _label_blocks(labels, examples.shape[1])

        def attack_block(s: int, block: int) -> None:
            kernels.attack(
                weights if mixture else weights[s : s + 1],
                origins[s, block],
                block_labels[s, block],
                examples[s, block],
                self._pool.workspace(self.weights.dtype),
                *_kernel_arguments(config),
            )

        self._pool.map(attack_block, np.ndindex(*examples.shape[:2]))
        return result

    def step(self, terms: Sequence[Term], learning_rate: float | Tensor) -> Tensor:
        tasks = [
            (t, m, s, block)
            for m in range(self.count)
            for t, term in enumerate(terms)
            for s in term.learners[m]
            for block in range(term.images.shape[1])
        ]
        gradients = self._gradient_rows(len(tasks))
        images = [term.images.numpy() for term in terms]
        labels = [_label_blocks(term.labels, term.images.shape[1]) for term in terms]
        weights, velocity = self.weights.numpy(), self.velocity.numpy()
        shares, joint_losses = self._shares(terms, images, labels)

        def loss_and_gradient(i: int) -> float:
            t, m, s, block = tasks[i]
            count, cap = terms[t].labels.shape[1], terms[t].cap
            loss = kernels.learn(
                weights[m],
                images[t][s, block],
                labels[t][s, block],
                terms[t].weight / count,
                np.inf if cap is None else cap,
                shares[t][s, block, m],
                self._pool.workspace(self.weights.dtype),
                gradients[i],
            )
            return loss / count

        losses = self._pool.map(loss_and_gradient, ((i,) for i in range(len(tasks))))
        first_task = np.searchsorted([m for _, m, _, _ in tasks], range(self.count + 1))

        def update(m: int) -> None:
            rows = gradients[first_task[m] : first_task[m + 1]]
            rate = float(learning_rate)
            kernels.descend(weights[m], velocity[m], rows, rate, self.momentum, self.weight_decay)

        self._pool.map(update, ((m,) for m in range(self.count)))
        values = np.zeros((len(terms), self.count))
        for (t, m, _, _), loss in zip(tasks, losses, strict=True):
            values[t, m] += loss
        for t, loss in joint_losses.items():
            values[t] = loss
        return torch.from_numpy(values)

    def _shares(
        self,
        terms: Sequence[Term],
        images: Sequence[kernels.Array],
        labels: Sequence[kernels.Array],
    ) -> tuple[list[kernels.Array], dict[int, float]]:
        """The factors of the images' gradients, S×B×M×LANES for each term, and the joint losses.

        The mixture's cross-entropy has the gradient Σ_m r_m ∇CE_m, where r_m is the share of
        member m in the probability of the label. In other terms the factor is 1.
        """
        weights = self.weights.numpy()
        shares = [np.ones((*each.shape[:2], self.count, LANES), weights.dtype) for each in labels]

        def joint_loss(t: int, s: int, block: int) -> float:
            workspace, at = self._pool.workspace(self.weights.dtype), (s, block)
            return kernels.shares(weights, images[t][at], labels[t][at], workspace, shares[t][at])

        losses = {}
        for t, term in enumerate(terms):
            if term.joint:
                blocks = ((t, *at) for at in np.ndindex(labels[t].shape[:2]))
                losses[t] = sum(self._pool.map(joint_loss, blocks)) / term.labels.shape[1]
        return shares, losses

    def _gradient_rows(self, count: int) -> kernels.Array:
        """One row for the gradient of each task, count×62,006, in memory that is used again."""
        if len(self._gradients) < count:
            self._gradients = self.weights.new_zeros(count, kernels.PARAMETERS)
        return self._gradients.numpy()[:count]


def _kernel_arguments(config: AttackConfig) -> tuple[float, float, int, float]:
    """The attack's settings, in the types that the kernels are compiled for."""
    return float(config.eps), float(config.step_size), config.steps, float(config.momentum)


def _label_blocks(labels: Tensor, blocks: int) -> kernels.Array:
    """S×N labels as S×B×LANES, with UNKNOWN in the padding."""
    missing = blocks * LANES - labels.shape[1]
    padded = torch.nn.functional.pad(labels, (0, missing), value=UNKNOWN)
    return padded.view(len(labels), blocks, LANES).contiguous().numpy()
