"""Distilled features (report, Eq. 1): images that look like a source and have a target's features.

    x'(x, x_s) = argmin_z ‖f^l(z) - f^l(x)‖²  subject to  ‖z - x_s‖∞ ≤ eps

They show which patterns, invisible to a person, a member's layer takes for the target's.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dverge.attacks.config import AttackConfig, Norm
from dverge.attacks.geometry import random_point
from dverge.attacks.gradient import Trajectory, ascend, check_images
from dverge.errors import ConfigError, require_integer
from dverge.models import LAYERS, Conv

REPORT_DISTILLATION = AttackConfig(Norm.LINF, eps=0.07, step_size=0.007, steps=10)


def distill(
    member: Conv,
    sources: Tensor,
    targets: Tensor,
    layer: int,
    config: AttackConfig = REPORT_DISTILLATION,
) -> Tensor:
    """The distilled feature of each pair of a source and a target: N×3×32×32 in [0, 1].

    Features are compared before their ReLU. Each image has its own distance, so that its result
    does not depend on the rest of the batch.

    Args:
        member: the network whose features are distilled; it stays as it is.
        sources: N×3×32×32 in [0, 1], the images that the results look like.
        targets: N×3×32×32 in [0, 1], the images whose features the results take on.
        layer: 1 to 5.
        config: budget and steps about the sources; momentum 1 is the original authors' setting.

    Raises:
        ConfigError: wrong shapes, pixels out of range, no such layer, or more than one restart.
    """
    return _descend(member, sources, targets, layer, config, keep_all=False).images[-1]


def distill_path(
    member: Conv,
    sources: Tensor,
    targets: Tensor,
    layer: int,
    config: AttackConfig = REPORT_DISTILLATION,
) -> Trajectory:
    """All steps+1 iterates of distill, from the start to its result; same arguments and errors.

    The objective is minus Eq. 1's squared distance, in the features' own unit.
    """
    return _descend(member, sources, targets, layer, config, keep_all=True)


def _descend(
    member: Conv,
    sources: Tensor,
    targets: Tensor,
    layer: int,
    config: AttackConfig,
    keep_all: bool,
) -> Trajectory:
    require_integer("layer", layer, 1, LAYERS)
    require_integer("restarts", config.restarts, 1, 1)
    check_images(sources)
    check_images(targets)
    if len(sources) != len(targets):
        raise ConfigError(f"there are {len(sources)} sources for {len(targets)} targets.")
    with torch.no_grad():
        target_features = member.features(targets, layer)

    def closeness(images: Tensor) -> Tensor:
        return -(member.features(images, layer) - target_features).square().flatten(1).sum(1)

    sources = sources.detach()
    generator = torch.Generator().manual_seed(config.seed)
    start = random_point(sources, config, generator) if config.random_start else sources
    return ascend(closeness, start, sources, config, keep_all)
