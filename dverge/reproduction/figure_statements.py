"""What the report states of Figures 2 to 4, judged by our histories."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from dverge.reproduction.checks import agreed, every
from dverge.reproduction.learning import Curves, LearningCurve
from dverge.reproduction.statements import Finding, Judgement, Statement, missing, signed

OVERFITS_AT, STALLS_AT = 30, 40  # epochs, as the report has it
AROUND = 10  # epochs within which a turn is around another
STALLED = 0.1  # share of a loss's whole fall: where less is still to come, it stalls
HALF = 0.5  # of the noise's variance
RISEN = 0.01  # relative to the lowest level: a loss that is higher has risen
Look = Callable[[Curves], tuple[bool | None, str]]


def figure_statements(number: int, curves: Sequence[Curves]) -> tuple[Statement, ...]:
    """What the report says of a figure, judged by trainings of its kind."""
    return {2: _of_figure_2, 3: _of_figure_3, 4: _of_figure_4}[number](curves)


def _of_figure_2(curves: Sequence[Curves]) -> tuple[Statement, ...]:
    return (
        Statement(
            "A vanilla classifier overfits after about 30 epochs.",
            "after around 30 epochs, the models exhibit overfitting as validation losses increase",
            "3.1, Figure 2",
            f"Holds if each submodel's validation loss is lowest within {AROUND} epochs of epoch "
            "30 and has risen at the end by over 1 %.",
            (_finding(curves, _overfits),),
            "The turn can only be told from a training that goes on well beyond it.",
        ),
    )


def _of_figure_3(curves: Sequence[Curves]) -> tuple[Statement, ...]:
    return (
        Statement(
            "DVERGE's training losses stall by epoch 200.",
            "they asymptotically decrease, seemingly reaching a stalling minimum around the 200th "
            "epoch",
            "3.2.2, Figure 3",
            "Holds if each submodel's training loss has fallen, and less than a tenth of its "
            "whole fall is in the last tenth of the epochs.",
            (_finding(curves, _stalls_at_the_end),),
        ),
        Statement(
            "The noise of the training losses is that of SGD's steps.",
            "the training loss curves exhibit noise attributed to SGD steps",
            "3.2.2, Figure 3",
            "Does not hold if, for each submodel, over half of the variance about the running mean "
            "is explained by which layer an epoch drew.",
            (_finding(curves, _noise_of_steps),),
            "An epoch distils from one layer, drawn at random, and features of some layers are "
            "harder to see through than those of others.",
        ),
        Statement(
            "The mixture's validation loss rises meanwhile, and its accuracy falls slightly.",
            "The model mixture’s validation loss shows a gradual increase, corresponding to the "
            "ensemble’s slightly decreasing accuracy",
            "3.2.2, Figure 3",
            "Holds if at the end the loss is over 1 % above its lowest level, and the accuracy "
            "over 1 % below its highest, relative to it.",
            (_finding(curves, _drifts),),
        ),
    )


def _of_figure_4(curves: Sequence[Curves]) -> tuple[Statement, ...]:
    return (
        Statement(
            "DVERGE+AdvT's losses fall until they stall around epoch 40.",
            "the loss decrease is consistent, […] before hitting a stalling minimum around 40 "
            "epochs",
            "4, Figure 4",
            "Holds if, of the fall of each loss, less than a tenth is left after epoch 40, and "
            "more was left ten epochs before.",
            (_finding(curves, _stalls_around_40),),
        ),
    )


def _finding(curves: Sequence[Curves], look: Look) -> Finding:
    """What all trainings say."""
    if not curves:
        return missing("history", "There is no training of this kind here yet.")
    looks = [look(each) for each in curves]
    words = " ".join(f"{c.info.name}: {text}" for c, (_, text) in zip(curves, looks, strict=True))
    return Finding("history", Judgement.of(agreed(answer for answer, _ in looks)), words)


def _members(training: Curves, name: str) -> list[LearningCurve]:
    """A loss of each member."""
    return [
        LearningCurve(values)
        for values in zip(*(row[name] for row in training.history), strict=True)
    ]


def _overfits(training: Curves) -> tuple[bool | None, str]:
    losses = _members(training, "val_loss")
    lowest = [each.lowest_epoch for each in losses]
    risen = [each.risen for each in losses]
    words = (
        f"of {training.epochs} epochs, validation losses are lowest at epochs {_listed(lowest)}, "
        f"and {_listed(signed(100 * rise) for rise in risen)} % above their lowest level at the "
        "end."
    )
    if training.epochs <= OVERFITS_AT + AROUND:
        return None, words
    both = zip(lowest, risen, strict=True)
    return every(abs(at - OVERFITS_AT) <= AROUND and rise > RISEN for at, rise in both), words


def _stalls_at_the_end(training: Curves) -> tuple[bool | None, str]:
    losses = _members(training, "train_loss")
    left = [each.still_to_fall(training.epochs - each.window) for each in losses]
    first = _listed(f"{each.level(1):.2f}" for each in losses)
    last = _listed(f"{each.level():.2f}" for each in losses)
    words = (
        f"training losses fall from {first} to {last} nats; the last "
        f"{losses[0].window} epochs bring {_shares(left)} % of that fall."
    )
    fell = [each.level() < each.level(1) for each in losses]
    return every(f and share < STALLED for f, share in zip(fell, left, strict=True)), words


def _noise_of_steps(training: Curves) -> tuple[bool | None, str]:
    layers = [row.get("layer") for row in training.history]
    shares = [each.explained(layers) for each in _members(training, "train_loss")]
    words = (
        f"which layer an epoch drew explains {_shares(shares)} % of the variance of the training "
        "losses about their running mean."
    )
    return every(share < HALF for share in shares), words


def _drifts(training: Curves) -> tuple[bool | None, str]:
    loss = LearningCurve([row["mixture_val_loss"] for row in training.history])
    right = LearningCurve([100 * row["mixture_val_accuracy"] for row in training.history])
    words = (
        f"its validation loss is lowest, {min(loss.values):.3f} nats, at epoch "
        f"{loss.lowest_epoch} and {loss.values[-1]:.3f} at the end; its accuracy is highest, "
        f"{max(right.values):.1f} %, at epoch {right.highest_epoch} and {right.values[-1]:.1f} % "
        "at the end (1,024 validation images)."
    )
    return loss.risen > RISEN and right.fallen > RISEN, words


def _stalls_around_40(training: Curves) -> tuple[bool | None, str]:
    mixture = LearningCurve([row["mixture_val_loss"] for row in training.history])
    losses = [*_members(training, "train_loss"), mixture]
    after, before = (
        [each.still_to_fall(epoch) for each in losses] for epoch in (STALLS_AT, STALLS_AT - AROUND)
    )
    words = (
        f"after epoch {STALLS_AT}, {_shares(after[:-1])} % of the fall of training losses is left, "
        f"and {_shares(after[-1:])} % of that of the mixture's validation loss; after epoch "
        f"{STALLS_AT - AROUND} it was {_shares(before[:-1])} % and {_shares(before[-1:])} %. The "
        f"validation loss is lowest at epoch {mixture.lowest_epoch} of {training.epochs}."
    )
    both = zip(after, before, strict=True)
    return every(now < STALLED <= then for now, then in both), words


def _shares(values: Sequence[float]) -> str:
    return _listed(f"{100 * value:.0f}".replace("-", "−") for value in values)


def _listed(values: Iterable[object]) -> str:
    """Values as people list them."""
    *first, last = map(str, values)
    return f"{', '.join(first)} and {last}" if first else last
