"""Attacks and models written out plainly, one image at a time: what results are held against."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from dverge.attacks import AttackConfig, Norm
from dverge.models import Ensemble


class Mixture(nn.Module):
    """The logarithm of the mean probability."""

    def __init__(self, members: nn.ModuleList) -> None:
        super().__init__()
        self.members = members

    def forward(self, images: Tensor) -> Tensor:
        return torch.stack([member(images).softmax(1) for member in self.members]).mean(0).log()


def models(ensemble: Ensemble) -> list[nn.Module]:
    """The members and the mixture."""
    return [*ensemble.members, Mixture(ensemble.members).eval()]


def correct(ensemble: Ensemble, pixels: Tensor, labels: Tensor) -> Tensor:
    """Bool (M+1)×N, the models that predict the labels."""
    with torch.no_grad():
        return torch.stack([model(pixels).argmax(1) == labels for model in models(ensemble)])


def attacked(
    loss: Callable[[Tensor], Tensor], image: Tensor, start: Tensor, config: AttackConfig
) -> Tensor:
    """One attempt at one image; the ball is about the image, not about the start."""
    x, velocity, iterates = start, torch.zeros_like(image), []
    for step in range(config.steps + 1):
        x = x.detach().requires_grad_()
        value = loss(x)
        iterates.append((value.item(), -step, x.detach()))
        (gradient,) = torch.autograd.grad(value, x)
        if config.momentum:
            gradient = velocity = config.momentum * velocity + gradient / gradient.abs().sum()
        direction = gradient.sign() if config.norm is Norm.LINF else gradient / gradient.norm()
        delta = x.detach() + config.step_size * direction - image
        if config.norm is Norm.LINF:
            delta = delta.clip(-config.eps, config.eps)
        elif delta.norm() > config.eps:
            delta = delta * config.eps / delta.norm()
        x = (image + delta).clip(0, 1)
    return max(iterates, key=lambda it: it[:2])[2] if config.best_iterate else iterates[-1][2]
