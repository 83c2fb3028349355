"""A plane through one image: the direction of an attack and a random one orthogonal to it.

The image at the coordinates a and b is

    x(a, b) = clip(x0 + a·u + b·v, 0, 1)

u and v have length one in the attack's norm, so a and b are in the unit of eps: for L-inf the
largest change of a pixel value, for L2 the Euclidean length. v is made from random signs for L-inf
and from Gaussian noise for L2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dverge.attacks import MIXTURE, AnyConfig, Norm, Victim
from dverge.errors import ConfigError, require
from dverge.exploration.examine import examine
from dverge.exploration.noise import unit_noise
from dverge.models import IMAGE_SHAPE, Ensemble
from dverge.seeds import derive_seed

EDGE = 1 + 1e-6  # times eps: a point on the ball's edge counts as in the ball despite rounding


@dataclass(frozen=True, eq=False)
class Plane:
    """A plane through an image, spanned by an attack's direction and a random one.

    Attributes:
        origin: 1×3×32×32 in [0, 1], the clean image, at (0, 0).
        u: of the same shape, the attack's direction, of length one in the attack's norm.
        v: of the same shape and length, random, orthogonal to u in L2.
        path: (steps+1)×2 float64 on the CPU, the attack's iterates projected on the plane. It ends
            at (the perturbation's length, 0), and begins at (0, 0) unless the start was random.
        config, victim: the attack.
        seed: of v.
        target: the class that a targeted attack aims at, else None.
    """

    origin: Tensor
    u: Tensor
    v: Tensor
    path: Tensor
    config: AnyConfig
    victim: Victim
    seed: int
    target: int | None = None

    def images(self, a: Tensor, b: Tensor) -> Tensor:
        """The images at N coordinates, N×3×32×32, clipped to [0, 1]."""
        moved = torch.addmm(self.origin.flatten(1), *self._factors(a, b))
        return moved.clamp_(0, 1).view(-1, *IMAGE_SHAPE)

    def distance(self, a: Tensor, b: Tensor) -> Tensor:
        """Distance of N coordinates from the clean image in the attack's norm, before clipping."""
        coordinates, axes = self._factors(a, b)
        return _length(coordinates @ axes, self.config.norm)

    def within(self, a: Tensor, b: Tensor) -> Tensor:
        """N booleans on the CPU: which coordinates are in the eps ball, before clipping.

        As u and v are orthogonal, ‖a·u + b·v‖₂² = a²‖u‖₂² + b²‖v‖₂². For L-inf, ‖x‖∞ ≥ ‖x‖₂ / √n
        for n values rules out most points; only the others need their L-inf distance.
        """
        eps = self.config.eps * EDGE
        along, across = (each.double().norm().item() for each in (self.u, self.v))
        length = torch.hypot(a.double() * along, b.double() * across).cpu()
        if self.config.norm is Norm.L2:
            return length <= eps
        near = length <= eps * EDGE * math.sqrt(self.u.numel())
        near[near.clone()] = self.distance(a[near], b[near]).cpu() <= eps
        return near

    def outline(self, corners: int = 360) -> Tensor:
        """The edge of the eps ball on the plane, (corners+1)×2 float64 on the CPU, closed.

        In the direction (cos t, sin t) it is at eps / ‖u cos t + v sin t‖: for L2 a circle. For
        L-inf, u and v change nearly every pixel by one, so it is nearly a square on its corner.
        """
        angle = torch.linspace(0, 2 * math.pi, corners + 1, dtype=torch.float64)
        a, b = angle.cos(), angle.sin()
        reach = self.config.eps / self.distance(a, b).double().cpu()
        return torch.stack([reach * a, reach * b], 1)

    def _factors(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """N×2 coordinates and 2×3072 axes; their product is the N perturbations."""
        return torch.stack([a, b], 1).to(self.u), torch.cat([self.u, self.v]).flatten(1)


def attack_plane(
    ensemble: Ensemble,
    image: Tensor,
    label: int,
    config: AnyConfig,
    victim: Victim = MIXTURE,
    target: int | None = None,
    *,
    seed: int = 0,
    number: int | None = None,
) -> Plane:
    """The plane through an image and its adversarial image.

    Args:
        ensemble: the members under attack; left as they are.
        image: 1×3×32×32 in [0, 1].
        label: its true class, 0–9.
        config: the attack.
        victim: what its gradient is taken of.
        target: class to reach; needed if config.targeted, and only then.
        seed: of the random direction; drawn on the CPU, so the same on every device.
        number: the image's position in the official file; see examine.

    Raises:
        ConfigError: several images, a class or the victim does not exist, a target class is missing
            or not allowed, or the attack does not change the image, so that it has no direction.
    """
    require(len(image) == 1, "the number of images", len(image), "1")
    outcome = examine(ensemble, image, label, config, victim, target, number)
    delta = (outcome.adversarial - image).double()
    length = _length(delta, config.norm)
    if not length.item():
        raise ConfigError(
            f"the attack (eps {config.eps:g}) leaves the image as it is, so it has no direction to "
            "span a plane with; take a larger eps or another attack."
        )
    u = delta / length
    noise = unit_noise(1, config.norm, derive_seed(seed, "plane")).to(u)
    v = noise - (noise * u).sum() / u.square().sum() * u
    v = v / _length(v, config.norm)
    course = (outcome.course.images[:, 0] - image).double().flatten(1)
    path = torch.stack([course @ each.flatten() / each.square().sum() for each in (u, v)], 1)
    return Plane(image, u.to(image), v.to(image), path.cpu(), config, victim, seed, target)


def _length(batch: Tensor, norm: Norm) -> Tensor:
    """N lengths of N×3×32×32 or N×3072 in a norm."""
    flat = batch.flatten(1)
    return flat.abs().amax(1) if norm is Norm.LINF else flat.norm(dim=1)
