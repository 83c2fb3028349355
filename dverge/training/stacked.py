"""The engine for a GPU: the members as one network, and an iteration as one captured graph.

On a CPU the same code runs without the capture; the tests hold it against the plain loop there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from dverge.attacks import AttackConfig
from dverge.models import LAYERS, Conv, StackedConv
from dverge.training.engine import Engine, Given, Term

Terms = Callable[[Engine, Given, int], Sequence[Term]]


class Stacked(Engine):
    """Images are S×N×3×32×32."""

    def __init__(self, members: Sequence[Conv], momentum: float, weight_decay: float) -> None:
        super().__init__(members, momentum, weight_decay)
        self.network = StackedConv(self.weights)
        self._rate = self.weights.new_zeros(())
        self._graphs: dict[Hashable, Captured] = {}
        self._indices: dict[Hashable, Tensor] = {}  # a graph cannot copy them from the host

    def encode(self, images: Tensor) -> Tensor:
        return images

    def decode(self, images: Tensor, count: int) -> Tensor:
        return images[:, :count]

    def distill(
        self, source: Tensor, target: Tensor, start: Tensor, layer: int, config: AttackConfig
    ) -> Tensor:
        with torch.no_grad():
            goal = self.network.features(self._for_all(target), layer)

        def farness(images: Tensor) -> Tensor:
            return (self.network.features(images, layer) - goal).square().sum()

        return _descend(farness, start, source, config)

    def attack(
        self, images: Tensor, labels: Tensor, start: Tensor, config: AttackConfig, mixture: bool
    ) -> Tensor:
        def confidence(examples: Tensor) -> Tensor:
            logits = self.network.features(self._for_all(examples), LAYERS)
            log_probs = logits.log_softmax(2)
            if mixture:
                log_probs = log_probs.logsumexp(0, keepdim=True)
            return log_probs.gather(2, labels.unsqueeze(2)).sum()

        return _descend(confidence, start, images, config)

    def step(self, terms: Sequence[Term], learning_rate: float | Tensor) -> Tensor:
        chosen = [self._index(term.learners) for term in terms]
        images = [term.images[sets].flatten(1, 2) for term, sets in zip(terms, chosen, strict=True)]
        logits = self.network.features(torch.cat(images, 1), LAYERS)
        values, parts, first = [], [], 0
        for term, sets in zip(terms, chosen, strict=True):
            labels = term.labels[sets].flatten(1)
            part = logits[:, first : first + labels.shape[1]]
            first += labels.shape[1]
            each = F.cross_entropy(part.flatten(0, 1), labels.flatten(), reduction="none")
            if term.cap is not None:
                each = torch.where(each > term.cap, each.new_full((), term.cap), each)
            of_members = each.view(labels.shape)
            if term.joint:  # the mixture's, which is one loss of all members
                joint = math.log(self.count) - (-of_members).logsumexp(0)
                value = joint.sum() / term.labels.shape[1]
                parts.append(term.weight * value)
                values.append(value.expand(self.count))
            else:
                values.append(of_members.sum(1) / term.labels.shape[1])
                parts.append(term.weight * values[-1].sum())
        loss = torch.stack(parts).sum()
        self._descend(torch.autograd.grad(loss, self.network.parameters), learning_rate)
        return torch.stack(values).detach().double()

    def iterate(self, terms: Terms, given: Given, layer: int, learning_rate: float) -> Tensor:
        if not self.weights.is_cuda:
            return super().iterate(terms, given, layer, learning_rate)
        self._rate.fill_(learning_rate)
        key = (layer, given.labels.shape)
        if key not in self._graphs:
            self._graphs[key] = Captured(
                lambda *inputs: self.step(terms(self, Given(*inputs), layer), self._rate),
                given,
                keeps=(self.weights, self.velocity),
            )
        return self._graphs[key](given)

    def _index(self, learners: tuple[tuple[int, ...], ...]) -> Tensor:
        if learners not in self._indices:
            self._indices[learners] = torch.tensor(learners, device=self.weights.device)
        return self._indices[learners]

    def _for_all(self, images: Tensor) -> Tensor:
        return images.expand(self.count, *images.shape[1:])

    @torch.no_grad()
    def _descend(self, gradients: Sequence[Tensor], learning_rate: float | Tensor) -> None:
        gradient = torch.cat([each.flatten(1) for each in gradients], 1)
        self.velocity.mul_(self.momentum).add_(gradient)
        self.velocity.add_(self.weights, alpha=self.weight_decay)
        self.weights.sub_(self.velocity * learning_rate)


class Captured:
    """A function of tensors recorded as a CUDA graph, which costs one launch to run again.

    Args:
        function: of as many tensors as there are inputs; returns one.
        inputs: whose shapes it is recorded for.
        keeps: tensors the function changes; the warm-up before the recording leaves them alone.
    """

    def __init__(
        self, function: Callable[..., Tensor], inputs: Sequence[Tensor], keeps: Sequence[Tensor]
    ) -> None:
        self._inputs = [each.clone() for each in inputs]
        kept = [each.clone() for each in keeps]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                function(*self._inputs)
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._output = function(*self._inputs)
        for tensor, before in zip(keeps, kept, strict=True):
            tensor.copy_(before)

    def __call__(self, inputs: Sequence[Tensor]) -> Tensor:
        """The function's result, in a tensor that the next call overwrites."""
        for own, given in zip(self._inputs, inputs, strict=True):
            own.copy_(given)
        self._graph.replay()
        return self._output


def _descend(
    objective: Callable[[Tensor], Tensor], start: Tensor, origin: Tensor, config: AttackConfig
) -> Tensor:
    """Lower the objective by signed steps in the L-inf ball about the origin and the pixel box."""
    images, velocity = start, torch.zeros_like(start)
    for _ in range(config.steps):
        with torch.enable_grad():
            x = images.detach().requires_grad_()
            (direction,) = torch.autograd.grad(objective(x), x)
        if config.momentum:
            length = direction.flatten(2).norm(p=1, dim=2).clamp_min(1e-12)
            velocity = config.momentum * velocity + direction / length[..., None, None, None]
            direction = velocity
        delta = images - config.step_size * direction.sign() - origin
        images = (origin + delta.clamp(-config.eps, config.eps)).clamp(0, 1)
    return images
