"""Many Conv members run as one network: one kernel a layer instead of one a member.

A GPU is bound by launches at this network's size, so fewer and larger kernels win there; on a
CPU running the members one after the other is faster.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dverge.models.conv import CLASS_COUNT, Conv


class StackedConv(nn.Module):
    """M Conv members with their parameters stacked along a first dimension of size M."""

    def __init__(self, members: Sequence[Conv]) -> None:
        super().__init__()
        self.count = len(members)
        for name, _ in members[0].named_parameters():
            stack = torch.stack([member.get_parameter(name).detach() for member in members])
            self.register_parameter(name.replace(".", "_"), nn.Parameter(stack))

    def forward(self, images: Tensor) -> Tensor:
        """Logits M×N×10 of images M×N×3×32×32 in [0, 1], a batch of its own for each member."""
        members, batch = images.shape[:2]
        x = images.transpose(0, 1).reshape(batch, members * 3, 32, 32)
        for name in ("conv1", "conv2"):
            weight = self.get_parameter(f"{name}_weight").flatten(0, 1)
            bias = self.get_parameter(f"{name}_bias").flatten()
            x = F.relu(F.max_pool2d(F.conv2d(x, weight, bias, groups=members), 2))
        x = x.view(batch, members, -1).transpose(0, 1)
        for name in ("fc1", "fc2", "fc3"):
            weight = self.get_parameter(f"{name}_weight").transpose(1, 2)
            x = torch.baddbmm(self.get_parameter(f"{name}_bias").unsqueeze(1), x, weight)
            x = x if x.shape[-1] == CLASS_COUNT else F.relu(x)
        return x

    @torch.no_grad()
    def copy_to(self, members: Sequence[Conv]) -> None:
        """Write the stacked parameters back into M members."""
        for i, member in enumerate(members):
            for name, parameter in member.named_parameters():
                parameter.copy_(self.get_parameter(name.replace(".", "_"))[i])
