"""The engine for GPUs: all members as one network, and an iteration as one CUDA graph.

On a CPU the same code runs without the graph, so that tests can compare it with the plain loop.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from dverge.attacks import AttackConfig
from dverge.attacks.gradient import Objective, ascend
from dverge.models import LAYERS, Conv, StackedConv, mix
from dverge.training.engine import BatchInputs, Engine, MakeTerms, Term


class GpuEngine(Engine):
    """Images are S×N×3×32×32."""

    def __init__(self, members: Sequence[Conv], momentum: float, weight_decay: float) -> None:
        super().__init__(members, momentum, weight_decay)
        self.network = StackedConv(self.weights)
        self._learning_rate = self.weights.new_zeros(())  # the graphs read it from here
        self._graphs: dict[Hashable, CapturedFunction] = {}
        self._indices: dict[Hashable, Tensor] = {}  # a graph cannot copy them from the host

    def encode(self, images: Tensor) -> Tensor:
        return images

    def decode(self, images: Tensor, count: int) -> Tensor:
        return images[:, :count]

    def distill(
        self, source: Tensor, target: Tensor, start: Tensor, layer: int, config: AttackConfig
    ) -> Tensor:
        with torch.no_grad():
            goal = self.network.features(self._for_each_member(target), layer)

        def closeness(images: Tensor) -> Tensor:
            features = self.network.features(images, layer)
            return -F.mse_loss(features, goal, reduction="none").flatten(2).sum(2)

        return _ascend(closeness, start, source, config)

    def attack(
        self, images: Tensor, labels: Tensor, start: Tensor, config: AttackConfig, mixture: bool
    ) -> Tensor:
        flat_labels = labels.flatten()

        def cross_entropy(examples: Tensor) -> Tensor:
            logits = self.network.features(self._for_each_member(examples), LAYERS)
            log_probs = logits.log_softmax(2)
            victims = mix(log_probs) if mixture else log_probs.flatten(0, 1)
            return F.nll_loss(victims, flat_labels, reduction="none").view(labels.shape)

        return _ascend(cross_entropy, start, images, config)

    def step(self, terms: Sequence[Term], learning_rate: float | Tensor) -> Tensor:
        sets = [self._index(term.learners) for term in terms]
        images = [term.images[index].flatten(1, 2) for term, index in zip(terms, sets, strict=True)]
        labels = [term.labels[index].flatten(1) for term, index in zip(terms, sets, strict=True)]
        logits = self.network.features(torch.cat(images, 1), LAYERS)
        logits_of_terms = logits.split([each.shape[1] for each in labels], 1)
        losses = [_losses(*each) for each in zip(terms, logits_of_terms, labels, strict=True)]
        weighted = [term.weight * each.sum() for term, each in zip(terms, losses, strict=True)]
        gradients = torch.autograd.grad(torch.stack(weighted).sum(), self.network.parameters)
        self._update(gradients, learning_rate)
        return torch.stack([each.detach().expand(self.count) for each in losses]).double()

    def iterate(
        self, make_terms: MakeTerms, inputs: BatchInputs, layer: int, learning_rate: float
    ) -> Tensor:
        if not self.weights.is_cuda:
            return super().iterate(make_terms, inputs, layer, learning_rate)
        self._learning_rate.fill_(learning_rate)
        key = (layer, inputs.labels.shape)
        if key not in self._graphs:
            self._graphs[key] = CapturedFunction(
                lambda *tensors: self.step(
                    make_terms(self, BatchInputs(*tensors), layer), self._learning_rate
                ),
                inputs,
                changed=(self.weights, self.velocity),
            )
        return self._graphs[key](inputs)

    def _index(self, learners: tuple[tuple[int, ...], ...]) -> Tensor:
        if learners not in self._indices:
            self._indices[learners] = torch.tensor(learners, device=self.weights.device)
        return self._indices[learners]

    def _for_each_member(self, images: Tensor) -> Tensor:
        return images.expand(self.count, *images.shape[1:])

    @torch.no_grad()
    def _update(self, gradients: Sequence[Tensor], learning_rate: float | Tensor) -> None:
        """One step of SGD."""
        gradient = torch.cat([each.flatten(1) for each in gradients], 1)
        self.velocity.mul_(self.momentum).add_(gradient)
        self.velocity.add_(self.weights, alpha=self.weight_decay)
        self.weights.sub_(self.velocity * learning_rate)


class CapturedFunction:
    """A function of tensors recorded as a CUDA graph, which one launch runs again.

    Args:
        function: takes as many tensors as there are inputs; returns one.
        inputs: tensors of the shapes that it is recorded for.
        changed: tensors that the function changes; they are restored after the recording.
    """

    def __init__(
        self, function: Callable[..., Tensor], inputs: Sequence[Tensor], changed: Sequence[Tensor]
    ) -> None:
        self._inputs = [each.clone() for each in inputs]
        before = [each.clone() for each in changed]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):  # warm-up, which PyTorch requires before a capture
                function(*self._inputs)
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._output = function(*self._inputs)
        for tensor, value in zip(changed, before, strict=True):
            tensor.copy_(value)

    def __call__(self, inputs: Sequence[Tensor]) -> Tensor:
        """The function's result, in a tensor that the next call overwrites."""
        for own, value in zip(self._inputs, inputs, strict=True):
            own.copy_(value)
        self._graph.replay()
        return self._output


def _ascend(objective: Objective, start: Tensor, origin: Tensor, config: AttackConfig) -> Tensor:
    """The end of the library's attack loop, here on sets of images S×N×3×32×32."""
    path = ascend(objective, start, origin, config, keep_all=False, evaluate_end=False)
    return path.images[-1]


def _losses(term: Term, logits: Tensor, labels: Tensor) -> Tensor:
    """Each member's cross-entropy, M values; for a joint term the mixture's, one value.

    Args:
        logits: M×K×10, on all the images that each member learns.
        labels: M×K.
    """
    count = term.labels.shape[1]
    each = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
    if term.cap is not None:
        each = each.clamp(max=term.cap)
    each = each.view(labels.shape)
    if term.joint:
        mixture = math.log(len(each)) - (-each).logsumexp(0)
        return mixture.sum(0, keepdim=True) / count
    return each.sum(1) / count
