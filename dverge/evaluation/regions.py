"""Decision regions: what members and mixture say on a plane through one image.

This is Figure 1 of the DVERGE paper (Yang et al. 2020). The plane is spanned by the direction u of
an attack and a random direction v orthogonal to it; at the coordinates a and b is the image

    x(a, b) = clip(x0 + a·u + b·v, 0, 1)

Points outside the pixel box are clipped to it before a model is asked about them. u and v have
length one in the attack's own norm, so a and b are in the unit of eps: for L-inf the largest change
of a pixel value, for L2 the Euclidean length. For L-inf, v comes from random signs, for L2 from
Gaussian noise: each the kind of step that uses up its norm's ball.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dverge.attacks import MIXTURE, AttackConfig, Norm, Victim, all_probabilities, attack
from dverge.data import CLASSES
from dverge.errors import ConfigError, require, require_integer
from dverge.evaluation.examine import aim_of, model_names
from dverge.models import Ensemble
from dverge.seeds import derive_seed

BATCH = 1024
MOST_POINTS = 301


@dataclass(frozen=True, eq=False)
class Plane:
    """A plane through an image, spanned by an attack's direction and a random one.

    Attributes:
        origin: 1×3×32×32 in [0, 1], the clean image, at (0, 0).
        u: of the same shape, along the attack; of length one in the attack's norm.
        v: likewise, random and orthogonal to u in L2.
        path: (steps+1)×2 float64 on the CPU, the attack's iterates projected on the plane. It ends
            at (the perturbation's length, 0), and begins at (0, 0) unless the start was random.
        config, victim: the attack.
        seed: of v.
    """

    origin: Tensor
    u: Tensor
    v: Tensor
    path: Tensor
    config: AttackConfig
    victim: Victim
    seed: int

    def images(self, a: Tensor, b: Tensor) -> Tensor:
        """The images at N coordinates, N×3×32×32, clipped to [0, 1]."""
        return (self.origin + self._delta(a, b)).clamp(0, 1)

    def distance(self, a: Tensor, b: Tensor) -> Tensor:
        """How far N coordinates are from the clean image in the attack's norm, before clipping."""
        return _length(self._delta(a, b), self.config.norm)

    def outline(self, corners: int = 360) -> Tensor:
        """The edge of the eps ball on the plane, (corners+1)×2 float64 on the CPU, closed.

        In the direction (cos t, sin t) it is at eps / ‖u cos t + v sin t‖. For L2 that is a circle;
        for L-inf, where u and v change nearly every pixel by one, nearly a square on its corner.
        """
        angle = torch.linspace(0, 2 * math.pi, corners + 1, dtype=torch.float64)
        a, b = angle.cos(), angle.sin()
        reach = self.config.eps / self.distance(a, b).double().cpu()
        return torch.stack([reach * a, reach * b], 1)

    def _delta(self, a: Tensor, b: Tensor) -> Tensor:
        a, b = (each.to(self.origin).view(-1, 1, 1, 1) for each in (a, b))
        return a * self.u + b * self.v


@dataclass(frozen=True, eq=False)
class Regions:
    """What each model says on a plane; models are the members in order and last the mixture.

    Attributes:
        plane: what the axes are; with the attack and its path.
        label: the image's true class, 0–9.
        extent: half the side of the square that is looked at, in the unit of eps.
        horizontal, vertical: W and H float64 coordinates along u and v, -extent to extent.
        classes: int64, (M+1)×H×W, the class each model says, 0–9; row 0 is the lowest b.
        confidence: float, (M+1)×H×W, the probability it gives that class, 0–1.
        within: bool, H×W, the points in the eps ball.
    """

    plane: Plane
    label: int
    extent: float
    horizontal: Tensor
    vertical: Tensor
    classes: Tensor
    confidence: Tensor
    within: Tensor

    def kept(self) -> Tensor:
        """M+1 float64: on how many of the ball's points a model says the true class, per cent."""
        return 100 * (self.classes == self.label)[:, self.within].double().mean(1)

    def summary(self) -> str:
        """How much of the ball each model keeps, in a sentence."""
        names = [*model_names(len(self.classes) - 1)[:-1], "the mixture"]
        shares = self.kept().tolist()
        *members, last = (f"{x:.0f} % by {name}" for x, name in zip(shares, names, strict=True))
        return (
            f"Within the eps ball on this plane, the true class, {CLASSES[self.label]}, is kept "
            f"on {', '.join(members)} and {last}."
        )


def regions(
    ensemble: Ensemble,
    image: Tensor,
    label: int,
    config: AttackConfig,
    victim: Victim = MIXTURE,
    target: int | None = None,
    *,
    extent: float,
    points: int = 61,
    seed: int = 0,
) -> Regions:
    """An ensemble's regions on the plane of an attack on itself; see attack_plane and regions_on.

    Raises:
        ConfigError: see there.
    """
    plane = attack_plane(ensemble, image, label, config, victim, target, seed=seed)
    return regions_on(plane, ensemble, label, extent=extent, points=points)


def attack_plane(
    ensemble: Ensemble,
    image: Tensor,
    label: int,
    config: AttackConfig,
    victim: Victim = MIXTURE,
    target: int | None = None,
    *,
    seed: int = 0,
) -> Plane:
    """The plane through an image and where an attack on an ensemble takes it.

    Args:
        ensemble: the members attacked; left as they are.
        image: 1×3×32×32 in [0, 1].
        label: its true class, 0–9.
        config: the attack.
        victim: what its gradient is taken of.
        target: class to reach; needed if config.targeted, and only then.
        seed: of the random direction; drawn on the CPU, so the same on every device.

    Raises:
        ConfigError: several images, a class or the victim does not exist, target does not go with
            the config, or the attack leaves the image as it is, so that it has no direction.
    """
    require(len(image) == 1, "the number of images", len(image), "1")
    aim = image.new_tensor([aim_of(label, config, target)]).long()
    result = attack(ensemble, image, aim, config, victim, record=True)
    assert result.trace is not None
    delta = (result.images - image).double()
    length = _length(delta, config.norm)
    if not length.item():
        raise ConfigError(
            f"the attack (eps {config.eps:g}) leaves the image as it is, so it has no direction to "
            "span a plane with; take a larger eps or another attack."
        )
    u = delta / length
    v = _random_orthogonal(u, config.norm, seed)
    course = (result.trace.images[:, 0] - image).double().flatten(1)
    path = torch.stack([course @ each.flatten() / each.square().sum() for each in (u, v)], 1)
    return Plane(image, u.to(image), v.to(image), path.cpu(), config, victim, seed)


@torch.no_grad()
def regions_on(
    plane: Plane, ensemble: Ensemble, label: int, *, extent: float, points: int = 61
) -> Regions:
    """What an ensemble says on a square of a plane about the clean image.

    Args:
        plane: its own attack's or that of another, to compare the two point by point.
        ensemble: the members asked, on the plane's device; left as they are.
        label: the image's true class, 0–9.
        extent: half the square's side, in the unit of eps; above 0.
        points: along each side; odd, so that the clean image is one of them; 3 to 301.

    Raises:
        ConfigError: a value is outside its range.
    """
    require_integer("points", points, 3, MOST_POINTS)
    require(points % 2 == 1, "points", points, "odd, so that the clean image is one of them")
    require(0 < extent < math.inf, "extent", extent, "a number above 0")
    half = points // 2
    axis = torch.arange(-half, half + 1, dtype=torch.float64) * (extent / half)
    b, a = (each.flatten() for each in torch.meshgrid(axis, axis, indexing="ij"))
    asked, far = [], []
    for some_a, some_b in zip(a.split(BATCH), b.split(BATCH), strict=True):
        asked.append(all_probabilities(ensemble, plane.images(some_a, some_b)).max(2))
        far.append(plane.distance(some_a, some_b))
    square = (len(ensemble) + 1, points, points)
    classes = torch.cat([each.indices for each in asked], 1).cpu().view(square)
    confidence = torch.cat([each.values for each in asked], 1).cpu().view(square)
    edge = plane.config.eps * (1 + 1e-6)  # a point on it is in the ball, whatever the rounding
    within = (torch.cat(far).cpu() <= edge).view(square[1:])
    return Regions(plane, label, extent, axis, axis, classes, confidence, within)


def _length(batch: Tensor, norm: Norm) -> Tensor:
    """N lengths of N×3×32×32 in a norm."""
    flat = batch.flatten(1)
    return flat.abs().amax(1) if norm is Norm.LINF else flat.norm(dim=1)


def _random_orthogonal(u: Tensor, norm: Norm, seed: int) -> Tensor:
    """A random direction orthogonal to u in L2, of length one in the norm, float64.

    Its noise is its own, whatever the seed of a random start.
    """
    generator = torch.Generator().manual_seed(derive_seed(seed, "plane"))
    noise = torch.randn(u.shape, generator=generator, dtype=torch.float64).to(u)
    noise = noise.sign() if norm is Norm.LINF else noise
    v = noise - (noise * u).sum() / u.square().sum() * u
    return v / _length(v, norm)
