"""An ensemble: its members and their mixture."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dverge.errors import require


class Ensemble(nn.Module):
    """Any number of members; its output is their mixture.

    The mixture's probability is the mean of the members' probabilities. It is returned as
    log-probabilities, computed as logsumexp of the members' log-softmax minus log M, so that
    neither values nor gradients under- or overflow.
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        require(len(members) > 0, "members", len(members), "at least one member")
        self.members = nn.ModuleList(members)

    def __len__(self) -> int:
        return len(self.members)

    def member_log_probs(self, images: Tensor) -> Tensor:
        """M×N×10 log-probabilities of images N×3×32×32 in [0, 1]."""
        return torch.stack([member(images).log_softmax(1) for member in self.members])

    def forward(self, images: Tensor) -> Tensor:
        """N×10 log-probabilities of the mixture for images N×3×32×32 in [0, 1]."""
        return mix(self.member_log_probs(images))


def mix(member_log_probs: Tensor) -> Tensor:
    """Mixture log-probabilities N×10 of member log-probabilities M×N×10."""
    return member_log_probs.logsumexp(0) - math.log(len(member_log_probs))
