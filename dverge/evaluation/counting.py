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
SAVED = ("correct", "answers", "share", "seconds")


class RobustCount:
    """Counts, for each image, which models are still correct after every attempt.

    An attack goes from victim to victim, the members first, then the mixture. A further attempt
    attacks only the images where it can still change a result. A query asks all models.

    Args:
        measurement: the attack or query.
        labels: N true classes, on the CPU.
        before: (M+1)×N classes that the models predict before it, or on what fooled them in the
            measurement that a cumulative one goes on from; the mixture is last.

    Attributes:
        victims: V of them, in order; a query has one, None.
        correct: bool V×(M+1)×N, the models that have been correct so far under each victim's
            attack.
        answers: int8 V×(M+1)×N, what the others predict on the first image that fooled them.
        share: float64 V×N, the lowest share of members that one attempt left correct.
        seconds: float64 V, spent on each victim.
        warnings: texts on the measurement's reliability.
        waiting: positions of the images that the present attempt has not reached.
    """

    def __init__(self, measurement: Measurement, labels: Tensor, before: Tensor) -> None:
        self.measurement, self.labels = measurement, labels
        self.members = len(before) - 1
        self.victims = measurement.victims(self.members)
        first = before == labels
        if not measurement.worst_case:
            first = torch.ones_like(first)
        self.correct = first.repeat(len(self.victims), 1, 1)
        self.answers = before.to(torch.int8).repeat(len(self.victims), 1, 1)
        self.share = self.correct[:, :-1].double().mean(1)
        self.seconds = torch.zeros(len(self.victims), dtype=torch.float64)
        self.warnings: list[str] = []
        self._victim, self._attempt = 0, 0  # which victim, by position, and which attempt at it
        self.waiting = self._still_to_attack()
        self._skip_finished_attempts()

    @property
    def done(self) -> bool:
        return self._victim == len(self.victims)

    def next(self, size: int) -> tuple[Victim | None, int, Tensor]:
        """The victim, the attempt and the positions of at most `size` images to attack next."""
        return self.victims[self._victim], self._attempt, self.waiting[:size]

    def add(self, positions: Tensor, answers: Tensor, seconds: float) -> None:
        """Count the answers to what `next` returned.

        Args:
            positions: N, as `next` returned them.
            answers: (M+1)×N, the classes that the models predict after the attempt.
            seconds: how long it took.
        """
        answers = answers.cpu().to(torch.int8)
        right = answers == self.labels[positions]
        correct, share = self.correct[self._victim], self.share[self._victim]
        first_fooled = correct[:, positions] & ~right
        said = self.answers[self._victim]
        said[:, positions] = torch.where(first_fooled, answers, said[:, positions])
        correct[:, positions] &= right
        share[positions] = torch.minimum(share[positions], right[:-1].double().mean(0))
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
        done = self._attempt + 1 - len(self.waiting) / self.correct.shape[2]
        present = followed[self._victim] * done
        return (sum(work[: self._victim]) + present) / sum(work)

    def _still_to_attack(self) -> Tensor:
        """Positions of the images where the next attempt at the victim can change a result."""
        victim, correct = self.victims[self._victim], self.correct[self._victim]
        mixture = correct[-1]
        if victim is None:
            wanted = torch.ones_like(mixture)
        elif victim == MEAN_LOSS and self.measurement.stops_early:
            wanted = self.share.min(0).values > self._least_share()
        elif victim == MEAN_LOSS:  # it is an attack on all members at once
            wanted = (self.share[self._victim] > 0) | mixture
        elif victim.member is None:
            wanted = mixture
        elif self.measurement.stops_early:
            wanted = correct[victim.member]
        else:
            wanted = correct[victim.member] | mixture
        return wanted.nonzero()[:, 0]

    def _least_share(self) -> Tensor:
        """N shares of members that no attack on them alone has fooled: no image fools more."""
        own = range(self.members)
        return self.correct[own, own].double().mean(0)

    def _skip_finished_attempts(self) -> None:
        """Go on to the next restart or victim that has an image to attack."""
        while not self.done and not len(self.waiting):
            self._attempt += 1
            if self._attempt == self.measurement.attempts(self.victims[self._victim]):
                self._victim, self._attempt = self._victim + 1, 0
            if not self.done:
                self.waiting = self._still_to_attack()

    def results(self, split: Split) -> list[Result]:
        """The accuracies, in per cent, of all models and of a member drawn at random."""
        measurement, results = self.measurement, []
        for model, victim, victims, counted, predicted in self._counted():
            result = result_of(
                counted,
                model,
                measurement.attack,
                split,
                predicted,
                parameters=measurement.parameters() | ({"victim": victim} if victim else {}),
                seconds=round(self.seconds[victims].sum().item(), 3),
                warnings=list(self.warnings),
            )
            results.append(result)
        return results

    def _counted(self) -> Iterator[tuple[str, str, list[int], Tensor, Tensor | None]]:
        """Each result's model, name of the attacked victims, their positions, and N counted images.

        An image counts as a bool; for a member drawn at random, as the share of members. Last are
        the N answers, of those results that are a model's own.
        """
        every = list(range(len(self.victims)))
        if self.victims == [None]:
            for m, model in enumerate(models_of(self.members)):
                yield model, "", every, *self._under(every, m)
            yield RANDOM_NAME, "", every, self.share[0], None
            return
        names, worst_case = list(map(str, self.victims)), self.measurement.worst_case
        # Each victim's own member, for those that have one: they come first.
        own = [v.member for v in self.victims if v is not None and v.member is not None]
        members, others = every[: len(own)], every[len(own) :]
        for v in members:
            yield names[v], names[v], [v], *self._under([v], own[v])
        if worst_case and members and others:
            yield MIXTURE_NAME, "worst", every, *self._under(every, -1)
        stops_early = self.measurement.stops_early
        for v in others:
            if stops_early and self.victims[v] == MEAN_LOSS:
                continue  # it did not attack every image on which the mixture is correct
            yield MIXTURE_NAME, names[v], [v], *self._under([v], -1)
        if worst_case and members and not stops_early:
            yield MIXTURE_NAME, "members", members, self._under(members, -1)[0], None
        if worst_case and members and (not stops_early or MEAN_LOSS in self.victims):
            victims = "worst" if others else "members"
            yield RANDOM_NAME, victims, every, self.share.min(0).values, None

    def _under(self, victims: list[int], model: int) -> tuple[Tensor, Tensor]:
        """N images on which a model is correct under all these victims' attacks, and its answers.

        Of several that fool it, the first victim's answer counts.
        """
        correct = self.correct[victims, model]
        first = correct.int().argmin(0, keepdim=True)  # the first that fooled it, or 0
        answers = self.answers[victims, model].gather(0, first)[0].long()
        holds = correct.all(0)
        return holds, torch.where(holds, self.labels, answers)

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to resume."""
        return {name: getattr(self, name).clone() for name in SAVED} | {
            "waiting": self.waiting.clone(),
            "at": [self._victim, self._attempt],
            "warnings": list(self.warnings),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from a state_dict.

        Raises:
            RunError: it is of another measurement.
        """
        for name in SAVED:
            if state[name].shape != getattr(self, name).shape:
                raise RunError(f"the saved state does not fit: {name} has {state[name].shape}.")
            setattr(self, name, state[name])
        self.waiting, (self._victim, self._attempt) = state["waiting"], state["at"]
        self.warnings = list(state["warnings"])
