"""The steps of APGD, which adapt to each image."""

from __future__ import annotations

import torch
from torch import Tensor

from dverge.attacks.config import AttackConfig
from dverge.attacks.geometry import ascent, project

GRADIENT_SHARE = 0.75  # of a move of APGD; the rest repeats the last move
FIRST_GAP, LEAST_GAP, GAP_DECREASE = 0.22, 0.06, 0.03  # between checkpoints, as shares of all steps
ENOUGH_RISES = 0.75  # an image's objective must rise in more than this share of the steps


class AdaptiveSteps:
    """The steps of APGD (Croce & Hein 2020, Algorithm 1): each image has its own step size.

    It begins at 2·eps. At checkpoints, a step size is halved if the image's objective rose in too
    few steps, or if its best value is that of the last checkpoint and the step size was not halved
    there; such an image goes on from its best iterate.

    Args:
        origin: N×3×32×32, the centres of the eps balls.
        config: norm, eps, and the number of steps, which places the checkpoints.

    Attributes:
        best: N×3×32×32, the iterate of each image with the highest objective so far.
    """

    PER_IMAGE = (
        *("origin", "best", "_best_value", "_best_gradient", "_previous", "_last_value"),
        *("_checked_value", "_rises", "_halved", "_size"),
    )

    def __init__(self, origin: Tensor, config: AttackConfig) -> None:
        self.origin, self.config = origin, config
        self._size = torch.full_like(origin[:, :1, :1, :1], 2 * config.eps)
        self._rises = torch.zeros(len(origin), device=origin.device)
        self._halved = torch.ones(len(origin), dtype=torch.bool, device=origin.device)
        self._gap, self._since_check = max(int(FIRST_GAP * config.steps), 1), 0
        self._last_value: Tensor
        self._began = False

    def next(self, x: Tensor, value: Tensor, gradient: Tensor) -> Tensor:
        """The iterate after x, from the objective and its gradient there."""
        if not self._began:
            self.best, self._best_value, self._best_gradient = x, value, gradient
            self._previous, self._checked_value = x, value
        else:
            self._rises += value > self._last_value
            self._since_check += 1
            self._keep_best(x, value, gradient)
        self._last_value = value
        if self._since_check == self._gap:
            x, gradient = self._check(x, gradient)
        share = GRADIENT_SHARE if self._began else 1.0
        self._began = True
        aim = project(x + self._size * ascent(gradient, self.config.norm), self.origin, self.config)
        move = share * (aim - x) + (1 - share) * (x - self._previous)
        self._previous = x
        return project(x + move, self.origin, self.config)

    def keep(self, rows: Tensor) -> None:
        """Go on with these images alone."""
        for name in self.PER_IMAGE:
            setattr(self, name, getattr(self, name)[rows])

    def _keep_best(self, x: Tensor, value: Tensor, gradient: Tensor) -> None:
        higher = value > self._best_value
        image = higher.view(-1, 1, 1, 1)
        self.best = torch.where(image, x, self.best)
        self._best_gradient = torch.where(image, gradient, self._best_gradient)
        self._best_value = torch.where(higher, value, self._best_value)

    def _check(self, x: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Halve step sizes where they are too large; the point and gradient to go on from."""
        config = self.config
        oscillates = self._rises <= ENOUGH_RISES * self._gap
        stuck = ~self._halved & (self._checked_value >= self._best_value)
        self._halved = oscillates | stuck
        image = self._halved.view(-1, 1, 1, 1)
        self._size = torch.where(image, self._size / 2, self._size)
        self._checked_value = self._best_value
        self._rises = torch.zeros_like(self._rises)
        decrease, least = (max(int(k * config.steps), 1) for k in (GAP_DECREASE, LEAST_GAP))
        self._gap, self._since_check = max(self._gap - decrease, least), 0
        return torch.where(image, self.best, x), torch.where(image, self._best_gradient, gradient)
