"""One optimisation step of several independent members, by two equal ways.

Both train each member on its own batch with its own SGD state. They are the same computation
up to rounding; which is faster depends on the device (`python -m dverge bench`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from dverge.models import Conv, StackedConv

Batch = tuple[Tensor, Tensor]


class Engine(Protocol):
    """Steps members in place of the caller; `members` are up to date after sync()."""

    def step(self, batches: Sequence[Batch], learning_rate: float) -> Tensor:
        """One SGD step on a batch a member; the M mean losses, left on the device."""

    def sync(self) -> None:
        """Bring the members' own weights up to date."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Sequential:
    """One member after the other: the faster way on a CPU."""

    def __init__(self, members: Sequence[Conv], momentum: float, weight_decay: float) -> None:
        self.members = members
        self.optimizers = [
            torch.optim.SGD(
                member.parameters(), momentum=momentum, weight_decay=weight_decay, fused=True
            )
            for member in members
        ]

    def step(self, batches: Sequence[Batch], learning_rate: float) -> Tensor:
        losses = []
        for member, optimizer, (x, y) in zip(self.members, self.optimizers, batches, strict=True):
            optimizer.param_groups[0]["lr"] = learning_rate
            optimizer.zero_grad(set_to_none=True)
            loss = F.cross_entropy(member(x), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        return torch.stack(losses)

    def sync(self) -> None:
        pass

    def state_dict(self) -> dict[str, Any]:
        return {
            "members": [member.state_dict() for member in self.members],
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for member, weights in zip(self.members, state["members"], strict=True):
            member.load_state_dict(weights)
        for optimizer, values in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(values)


class Stacked:
    """All members as one stacked network: fewer, larger kernels, the faster way on a GPU."""

    def __init__(self, members: Sequence[Conv], momentum: float, weight_decay: float) -> None:
        self.members = members
        self.network = StackedConv(members).to(next(members[0].parameters()).device)
        self.optimizer = torch.optim.SGD(
            self.network.parameters(), momentum=momentum, weight_decay=weight_decay, fused=True
        )

    def step(self, batches: Sequence[Batch], learning_rate: float) -> Tensor:
        images = torch.stack([x for x, _ in batches])
        labels = torch.stack([y for _, y in batches])
        self.optimizer.param_groups[0]["lr"] = learning_rate
        self.optimizer.zero_grad(set_to_none=True)
        logits = self.network(images)
        each = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
        losses = each.view(labels.shape).mean(1)
        losses.sum().backward()
        self.optimizer.step()
        return losses.detach()

    def sync(self) -> None:
        self.network.copy_to(self.members)

    def state_dict(self) -> dict[str, Any]:
        return {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])


def engine_for(device: torch.device) -> type[Sequential] | type[Stacked]:
    """The faster engine for a device."""
    return Stacked if device.type == "cuda" else Sequential
