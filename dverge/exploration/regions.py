"""Decision regions: what members and mixture predict on a plane through one image.

This is Figure 1 of the DVERGE paper (Yang et al. 2020); see plane.py for the plane.
"""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dverge.attacks import MIXTURE, AnyConfig, Norm, Victim, all_probabilities
from dverge.data import CLASSES
from dverge.errors import require, require_integer
from dverge.exploration.examine import attack_record, by_class, model_names
from dverge.exploration.plane import Plane, attack_plane
from dverge.exploration.verdicts import judge, summarise
from dverge.models import Ensemble

BATCH = 1024  # images; larger batches no longer fit into the processor's cache
MOST_POINTS = 301
UNITS = {Norm.LINF: "largest change of a pixel value, 0-1", Norm.L2: "L2 length, pixels in 0-1"}


@dataclass(frozen=True, eq=False)
class Regions:
    """What each model predicts on a plane; models are the members in order, then the mixture.

    Attributes:
        plane: the plane, with the attack and its path.
        label: the image's true class, 0–9.
        extent: half the side of the square about the clean image, in the unit of eps.
        axis: N float64 coordinates, -extent to extent, along u and along v.
        classes: int64, (M+1)×N×N, the class that each model predicts, 0–9; row 0 is the lowest b.
        confidence: float, (M+1)×N×N, the probability of that class, 0–1.
        within: bool, N×N, the points in the eps ball.
        before, after: (M+1)×10, the probabilities at the clean image and where the attack ends.
    """

    plane: Plane
    label: int
    extent: float
    axis: Tensor
    classes: Tensor
    confidence: Tensor
    within: Tensor
    before: Tensor
    after: Tensor

    @property
    def models(self) -> list[str]:
        """The models' names: the submodels, then the mixture."""
        return model_names(len(self.classes) - 1)

    def shares(self) -> Tensor:
        """(M+1)×10 float64: each class's share of the ball's points, in per cent, by model."""
        classes = self.classes[:, self.within]
        return 100 * torch.stack([(classes == i).double().mean(1) for i in range(len(CLASSES))], 1)

    def kept(self) -> Tensor:
        """M+1 float64: the true class's share of the ball's points, in per cent, by model."""
        return self.shares()[:, self.label]

    def summary(self) -> str:
        """The true class's share of the ball by model, in a sentence."""
        names = [*self.models[:-1], "the mixture"]
        shares = self.kept().tolist()
        *members, last = (f"{x:.0f} % by {name}" for x, name in zip(shares, names, strict=True))
        return (
            f"Within eps on this plane, the true class {CLASSES[self.label]} is kept "
            f"on {', '.join(members)} and {last}."
        )

    def outcome(self) -> str:
        """What the models predict where the attack ends, in a sentence."""
        before, after, target = self.before.argmax(1), self.after.argmax(1), self.plane.target
        predicted = zip(before.tolist(), after.tolist(), strict=True)
        verdicts = [judge(self.label, *classes, target) for classes in predicted]
        return summarise(verdicts, target is not None, int(after[-1]) == target)

    def to_dict(self) -> dict[str, Any]:
        """Settings and result as plain JSON values; maps are lists of rows, lowest b first."""
        plane, kept = self.plane, self.kept().tolist()
        return {
            **attack_record(plane.config, plane.victim, self.label, plane.target),
            "direction_seed": plane.seed,
            "unit": UNITS[plane.config.norm],
            "points_in_ball": int(self.within.sum()),
            "a": self.axis.tolist(),
            "b": self.axis.tolist(),
            "path": plane.path.tolist(),
            "models": [
                {
                    "model": name,
                    "kept_percent": kept[i],
                    "before": by_class(self.before[i]),
                    "after": by_class(self.after[i]),
                    "class": [[CLASSES[c] for c in row] for row in self.classes[i].tolist()],
                    "confidence": self.confidence[i].double().round(decimals=6).tolist(),
                }
                for i, name in enumerate(self.models)
            ],
        }

    def to_csv(self) -> str:
        """A line for each model and point: a, b (in the unit of eps), model, class, confidence."""
        axis = [f"{value:.6g}" for value in self.axis.tolist()]
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["a", "b", "model", "class", "confidence"])
        points = [(a, b) for b in axis for a in axis]
        for i, name in enumerate(self.models):
            maps = (each[i].flatten().tolist() for each in (self.classes, self.confidence))
            for point, label, share in zip(points, *maps, strict=True):
                writer.writerow([*point, name, CLASSES[label], f"{share:.6f}"])
        return text.getvalue()


def regions(
    ensemble: Ensemble,
    image: Tensor,
    label: int,
    config: AnyConfig,
    victim: Victim = MIXTURE,
    target: int | None = None,
    *,
    extent: float,
    points: int = 61,
    seed: int = 0,
    number: int | None = None,
) -> Regions:
    """An ensemble's regions on the plane of an attack on itself.

    Arguments and errors are those of attack_plane and regions_on.
    """
    plane = attack_plane(ensemble, image, label, config, victim, target, seed=seed, number=number)
    return regions_on(plane, ensemble, label, extent=extent, points=points)


@torch.no_grad()
def regions_on(
    plane: Plane, ensemble: Ensemble, label: int, *, extent: float, points: int = 61
) -> Regions:
    """What an ensemble predicts on a square of a plane about the clean image.

    Args:
        plane: of an attack on this ensemble, or on another to compare the two point by point.
        ensemble: the members, on the plane's device; left as they are.
        label: the image's true class, 0–9.
        extent: half the square's side, in the unit of eps; above 0.
        points: along each side, 3 to 301; odd, so that the clean image is one of them.

    Raises:
        ConfigError: a value is outside its range.
    """
    require_integer("points", points, 3, MOST_POINTS)
    require(points % 2 == 1, "points", points, "odd, so that the clean image is one of them")
    require(0 < extent < math.inf, "extent", extent, "a number above 0")
    half = points // 2
    axis = torch.arange(-half, half + 1, dtype=torch.float64) * (extent / half)
    b, a = (each.flatten() for each in torch.meshgrid(axis, axis, indexing="ij"))
    best = [
        all_probabilities(ensemble, plane.images(*coordinates)).max(2)
        for coordinates in zip(a.split(BATCH), b.split(BATCH), strict=True)
    ]
    square = (len(ensemble) + 1, points, points)
    classes = torch.cat([each.indices for each in best], 1).cpu().view(square)
    confidence = torch.cat([each.values for each in best], 1).cpu().view(square)
    within = plane.within(a, b).view(square[1:])
    ends = torch.stack([torch.zeros(2, dtype=torch.float64), plane.path[-1]])
    before, after = all_probabilities(ensemble, plane.images(*ends.T)).cpu().unbind(1)
    return Regions(plane, label, extent, axis, classes, confidence, within, before, after)
