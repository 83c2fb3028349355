"""What a difference says for or against a statement, and what several such answers come to."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from dverge.evaluation.comparison import Difference

MARGIN = 3.0  # points within which a figure counts as kept
ABOUT = 5.0  # points within which a figure is about another
CHANCE = 10.0  # per cent that guessing one of ten classes gets right
Check = Callable[[Difference], bool | None]  # None where it cannot be said


def more(found: Difference) -> bool | None:
    """Clearly more; no if clearly less."""
    return found.points > 0 if found.clear else None


def less(found: Difference) -> bool | None:
    """Clearly less; no if clearly more."""
    return found.points < 0 if found.clear else None


def ten_more(found: Difference) -> bool | None:
    """Ten points more cannot be ruled out, and no gain can; no if it is clearly below ten."""
    return False if found.high < 10 else True if found.low > 0 else None


def over_ten(found: Difference) -> bool | None:
    """Clearly over ten points more; no if clearly under."""
    return True if found.low > 10 else False if found.high < 10 else None


def kept(found: Difference) -> bool | None:
    """Not clearly less, and clearly not by more than the margin; no if clearly less."""
    return False if found.high < 0 else True if found.low > -MARGIN else None


def stable(found: Difference) -> bool | None:
    """No clear difference, and clearly none beyond the margin; no if there is a clear one."""
    return False if found.clear else True if max(-found.low, found.high) < MARGIN else None


def every(values: Iterable[bool | None]) -> bool | None:
    """Yes if all are, no if one is not; else it cannot be said, as where there are none."""
    known = list(values)
    return False if False in known else True if known and None not in known else None


def agreed(values: Iterable[bool | None]) -> bool | None:
    """What all say alike, of trainings that are samples of the same; else None."""
    known = set(values)
    return known.pop() if len(known) == 1 else None
