"""The report's network."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dverge.errors import require_integer

LAYERS = 5
CLASS_COUNT = 10
IMAGE_SHAPE = (3, 32, 32)


class Conv(nn.Module):
    """Two convolutions and three fully connected layers, 62,006 parameters.

    conv 3→6 k5, ReLU, max-pool 2; conv 6→16 k5, ReLU, max-pool 2; fc 400→120→84→10. No batch
    norm and no dropout, so training and evaluation mode are the same function.
    """

    architecture = "conv"

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 5)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(400, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, CLASS_COUNT)

    def features(self, images: Tensor, layer: int) -> Tensor:
        """Features of one layer, before its ReLU.

        Args:
            images: N×3×32×32 in [0, 1].
            layer: 1 and 2 are the convolutions, 3 and 4 the hidden layers, 5 the logits.

        Raises:
            ConfigError: layer is not 1–5.
        """
        require_integer("layer", layer, 1, LAYERS)
        x = self.conv1(images)
        if layer == 1:
            return x
        # ReLU and max pooling commute; pooling first leaves ReLU a quarter of the numbers.
        x = self.conv2(F.relu(F.max_pool2d(x, 2)))
        if layer == 2:
            return x
        x = self.fc1(F.relu(F.max_pool2d(x, 2)).flatten(1))
        if layer == 3:
            return x
        x = self.fc2(F.relu(x))
        if layer == 4:
            return x
        return self.fc3(F.relu(x))

    def forward(self, images: Tensor) -> Tensor:
        """Logits N×10 of images N×3×32×32 in [0, 1]."""
        return self.features(images, LAYERS)


def seeded_conv(seed: int) -> Conv:
    """A newly initialised Conv whose weights depend on the seed alone.

    Torch's layers draw their weights from the global generator, which other threads also draw
    from. So the layers are made without values here, and then initialised as torch does it
    (uniform within ±1/√fan-in), but from a generator of their own.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.device("meta"):
        network = Conv()
    network.to_empty(device="cpu")
    for layer in network.children():
        weight, bias = layer.get_parameter("weight"), layer.get_parameter("bias")
        nn.init.kaiming_uniform_(weight, a=math.sqrt(5), generator=generator)
        bound = 1 / math.sqrt(weight[0].numel())
        nn.init.uniform_(bias, -bound, bound, generator=generator)
    return network
