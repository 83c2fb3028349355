"""Counts the images on which each model is still correct as a measurement goes on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from dverge.attacks import Through, Victim
from dverge.data import Split
from dverge.errors import RunError
from dverge.evaluation.measurements import Measurement, members_followed
from dverge.results import MIXTURE_NAME, RANDOM_NAME, Result, models_of, result_of

MEAN_LOSS = Victim(through=Through.LOSS)
SAVED = {"held": "correct", "share": "share", "seconds": "seconds"}
"""What the tensors are called in a saved state, and their attributes."""


class RobustCount:
    """Counts, for each image, which models are still correct after every attempt.

    An attack goes from victim to victim, the members first, then the mixture. A restart attacks
    only the images where it can still change a result. A query asks all models once.

    Args:
        measurement: the attack or query.
        clean: bool (M+1)×N on the CPU, which models are correct before it; the mixture is last.

    Attributes:
        victims: V of them, in order; a query has one, None.
        correct: bool V×(M+1)×N, the models that have been correct so far under each victim's
            attack.
        share: float64 V×N, the lowest share of members that one attempt left correct.
        seconds: float64 V, spent on each victim.
        warnings: texts on the measurement's reliability.
        waiting: positions of the images that the present attempt has not reached.
    """

    def __init__(self, measurement: Measurement, clean: Tensor) -> None:
        self.measurement = measurement
        self.members = len(clean) - 1
        self.victims = measurement.victims(self.members)
        first = clean if measurement.worst_case else torch.ones_like(clean)
        self.correct = first.repeat(len(self.victims), 1, 1)
        self.share = self.correct[:, :-1].double().mean(1)
        self.seconds = torch.zeros(len(self.victims), dtype=torch.float64)
        self.warnings: list[str] = []
        self._victim, self._restart = 0, 0  # which victim, by position, and which attempt at it
        self.waiting = self._still_to_attack()
        self._skip_finished_attempts()

    @property
    def done(self) -> bool:
        return self._victim == len(self.victims)

    def next(self, size: int) -> tuple[Victim | None, int, Tensor]:
        """The victim, the restart and the positions of at most `size` images to attack next."""
        return self.victims[self._victim], self._restart, self.waiting[:size]

    def add(self, positions: Tensor, outcome: Tensor, seconds: float) -> None:
        """Count the outcome of what `next` returned.

        Args:
            positions: N, as `next` returned them.
            outcome: bool (M+1)×N, the models that are correct after the attempt.
            seconds: how long it took.
        """
        outcome = outcome.cpu()
        correct, share = self.correct[self._victim], self.share[self._victim]
        correct[:, positions] &= outcome
        share[positions] = torch.minimum(share[positions], outcome[:-1].double().mean(0))
        self.seconds[self._victim] += seconds
        self.waiting = self.waiting[len(positions) :]
        self._skip_finished_attempts()

    def progress(self) -> float:
        """Share of the work done, 0 to 1; a member's gradient is the unit of work."""
        if self.done:
            return 1.0
        followed = [members_followed(victim, self.members) for victim in self.victims]
        attempts = map(self.measurement.attempts, self.victims)
        work = [n * times for n, times in zip(followed, attempts, strict=True)]
        done = self._restart + 1 - len(self.waiting) / self.correct.shape[2]
        present = followed[self._victim] * done
        return (sum(work[: self._victim]) + present) / sum(work)

    def _still_to_attack(self) -> Tensor:
        """Positions of the images where the next attempt at the victim can change a result."""
        victim, correct = self.victims[self._victim], self.correct[self._victim]
        mixture = correct[-1]
        if victim is None:
            wanted = torch.ones_like(mixture)
        elif victim == MEAN_LOSS:  # it is an attack on all members at once
            wanted = (self.share[self._victim] > 0) | mixture
        elif victim.member is None:
            wanted = mixture
        elif self.measurement.stops_early:
            wanted = correct[victim.member]
        else:
            wanted = correct[victim.member] | mixture
        return wanted.nonzero()[:, 0]

    def _skip_finished_attempts(self) -> None:
        """Go on to the next restart or victim that has an image to attack."""
        while not self.done and not len(self.waiting):
            self._restart += 1
            if self._restart == self.measurement.attempts(self.victims[self._victim]):
                self._victim, self._restart = self._victim + 1, 0
            if not self.done:
                self.waiting = self._still_to_attack()

    def results(self, split: Split) -> list[Result]:
        """The accuracies, in per cent, of all models and of a member drawn at random."""
        measurement, results = self.measurement, []
        for model, victim, victims, counted in self._counted():
            result = result_of(
                counted,
                model,
                measurement.attack,
                split,
                measurement.share(counted),
                parameters=measurement.parameters() | ({"victim": victim} if victim else {}),
                seconds=round(self.seconds[victims].sum().item(), 3),
                warnings=list(self.warnings),
            )
            results.append(result)
        return results

    def _counted(self) -> Iterator[tuple[str, str, list[int], Tensor]]:
        """Each result's model, name of the attacked victims, their positions, and N counted images.

        An image counts as a bool; for a member drawn at random, as the share of members.
        """
        every = list(range(len(self.victims)))
        if self.victims == [None]:
            for model, counted in zip(models_of(self.members), self.correct[0], strict=True):
                yield model, "", every, counted
            yield RANDOM_NAME, "", every, self.share[0]
            return
        names, worst_case = list(map(str, self.victims)), self.measurement.worst_case
        members, others = every[: self.members], every[self.members :]
        for v in members:
            yield names[v], names[v], [v], self.correct[v, v]
        if worst_case:
            yield MIXTURE_NAME, "worst", every, self.correct[:, -1].all(0)
        for v in others:
            yield MIXTURE_NAME, names[v], [v], self.correct[v, -1]
        if worst_case and not self.measurement.stops_early:
            yield MIXTURE_NAME, "members", members, self.correct[members, -1].all(0)
            yield RANDOM_NAME, "worst", every, self.share.min(0).values

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to resume."""
        return {key: getattr(self, name).clone() for key, name in SAVED.items()} | {
            "waiting": self.waiting.clone(),
            "at": [self._victim, self._restart],
            "warnings": list(self.warnings),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from a state_dict.

        Raises:
            RunError: it is of another measurement.
        """
        for key, name in SAVED.items():
            if state[key].shape != getattr(self, name).shape:
                raise RunError(f"the saved state does not fit: {key} has {state[key].shape}.")
            setattr(self, name, state[key])
        self.waiting, (self._victim, self._restart) = state["waiting"], state["at"]
        self.warnings = list(state["warnings"])
