"""The count of one measurement on one ensemble: what stands after each try, image by image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dverge.attacks import Through, Victim
from dverge.data import Split
from dverge.errors import RunError
from dverge.evaluation.measurements import Clean, Measurement
from dverge.results import MIXTURE_NAME, RANDOM_NAME, Result, models_of, result_of

LOSS = Victim(through=Through.LOSS)


class Tally:
    """What is known so far, and which images are to be attacked next.

    A model holds on an image under the attack on a victim if it is right on all that the attack's
    tries found. A pessimistic measurement tries again only where something still holds: the victim
    itself, or the mixture, or, under the attack on the mean loss, any member.

    Args:
        measurement: what is measured.
        clean: bool (M+1)×N on the CPU, which models are right before the attack.
    """

    def __init__(self, measurement: Measurement, clean: Tensor) -> None:
        self.measurement = measurement
        self.victims = measurement.victims(len(clean) - 1)
        first = clean if measurement.pessimistic else torch.ones_like(clean)
        self.held = first.repeat(len(self.victims), 1, 1)  # V×(M+1)×N
        self.share = self.held[:, :-1].double().mean(1)  # V×N, of the members that are right
        self.seconds = torch.zeros(len(self.victims), dtype=torch.float64)
        self.warnings: list[str] = []
        self.victim, self.restart = 0, 0
        self.waiting = self._standing()
        self._move_on()

    @property
    def done(self) -> bool:
        return self.victim == len(self.victims)

    def progress(self) -> float:
        """Share done, 0 to 1, of the members followed."""
        weights = [self._members_followed(v) for v in range(len(self.victims))]
        if self.done:
            return 1.0
        tried = self.restart + 1 - len(self.waiting) / self.held.shape[2]
        now = weights[self.victim] * tried / self.measurement.restarts
        return (sum(weights[: self.victim]) + now) / sum(weights)

    def next(self, size: int) -> tuple[Victim, int, Tensor]:
        """The victim, the try and the positions, at most `size`, of the images to attack next."""
        return self.victims[self.victim], self.restart, self.waiting[:size]

    def add(self, positions: Tensor, right: Tensor, seconds: float) -> None:
        """Count the try that `next` asked for.

        Args:
            positions: N, as `next` gave them.
            right: bool (M+1)×N, which models are right on what the try found.
            seconds: that it took.
        """
        right = right.cpu()
        held, share = self.held[self.victim], self.share[self.victim]
        held[:, positions] &= right
        share[positions] = torch.minimum(share[positions], right[:-1].double().mean(0))
        self.seconds[self.victim] += seconds
        self.waiting = self.waiting[len(positions) :]
        self._move_on()

    def _move_on(self) -> None:
        while not self.done and not len(self.waiting):
            self.restart += 1
            if self.restart == self.measurement.restarts:
                self.victim, self.restart = self.victim + 1, 0
            if not self.done:
                self.waiting = self._standing()

    def _standing(self) -> Tensor:
        held, victim = self.held[self.victim], self.victims[self.victim]
        if victim == LOSS:
            stands = (self.share[self.victim] > 0) | held[-1]
        elif victim.member is not None:
            stands = held[victim.member] | held[-1]
        elif not self.measurement.aimed:  # all models are asked about all images
            stands = torch.ones_like(held[-1])
        else:
            stands = held[-1]
        return stands.nonzero()[:, 0]

    def _members_followed(self, index: int) -> int:
        return 1 if self.victims[index].member is not None else self.held.shape[1] - 1

    def rows(self, split: Split) -> list[Result]:
        """The figures: each member's, the mixture's, and that of a member drawn at random."""
        if not self.measurement.aimed:
            names = models_of(self.held.shape[1] - 1)
            rows = [
                self._row(right, name, split)
                for name, right in zip(names, self.held[0], strict=True)
            ]
            return [*rows, self._row(self.share[0], RANDOM_NAME, split)]
        alone = dict(zip(map(str, self.victims), range(len(self.victims)), strict=True))
        members = [v for v, victim in enumerate(self.victims) if victim.member is not None]
        rows = [
            self._row(self.held[v, self.victims[v].member], name, split, name, [v])
            for name, v in alone.items()
            if v in members
        ]
        if not self.measurement.pessimistic:
            return [*rows, self._mixture(split, "mixture", [alone["mixture"]])]
        rows.append(self._mixture(split, "worst", list(alone.values())))
        rows += [self._mixture(split, name, [v]) for name, v in alone.items() if v not in members]
        rows.append(self._mixture(split, "members", members))
        worst = self.share.min(0).values
        return [*rows, self._row(worst, RANDOM_NAME, split, "worst", list(alone.values()))]

    def _mixture(self, split: Split, victim: str, which: list[int]) -> Result:
        """The mixture's figure under the attacks on these victims together."""
        return self._row(self.held[which, -1].all(0), MIXTURE_NAME, split, victim, which)

    def _row(
        self, right: Tensor, model: str, split: Split, victim: str = "", which: Sequence[int] = (0,)
    ) -> Result:
        """The accuracy of N images under the attacks on the victims of these positions."""
        share = None
        if isinstance(self.measurement, Clean):
            share = self.measurement.mean_over_draws(right)
        named = {"victim": victim} if victim else {}
        return result_of(
            right,
            model,
            self.measurement.attack,
            split,
            share,
            parameters=self.measurement.parameters() | named,
            seconds=round(self.seconds[list(which)].sum().item(), 3),
            warnings=list(self.warnings),
        )

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to go on."""
        return {
            "held": self.held.clone(),  # they change with the next try
            "share": self.share.clone(),
            "seconds": self.seconds.clone(),
            "waiting": self.waiting.clone(),
            "at": [self.victim, self.restart],
            "warnings": list(self.warnings),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state_dict.

        Raises:
            RunError: it is of another measurement.
        """
        for name in ("held", "share", "seconds"):
            if state[name].shape != getattr(self, name).shape:
                raise RunError(f"the saved state does not fit: {name} has {state[name].shape}.")
            setattr(self, name, state[name])
        self.waiting, (self.victim, self.restart) = state["waiting"], state["at"]
        self.warnings = list(state["warnings"])
