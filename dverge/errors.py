"""Errors that a person can act on: what was wrong, the value given, and the mend."""

from __future__ import annotations

import enum
from typing import Any, TypeVar

Choice = TypeVar("Choice", bound=enum.StrEnum)


class DvergeError(Exception):
    """Base of every error this library raises on purpose; its text is one readable message."""


class ConfigError(DvergeError, ValueError):
    """A setting is outside its allowed range."""


class DataError(DvergeError):
    """The data set cannot be had, or is not what it should be."""


class ImageError(DvergeError):
    """A picture cannot be used."""


class FileError(DvergeError):
    """A file of ours is missing, damaged, or of another version; the text names file and field."""


class CheckpointError(DvergeError):
    """A checkpoint is missing, or its members are not those of its card."""


class RunError(DvergeError):
    """A run cannot do what was asked of it."""


class TrainingError(DvergeError):
    """A training cannot go on."""


def require(ok: bool, name: str, value: Any, allowed: str) -> None:
    """Raise ConfigError naming the field, the value and the allowed range unless ok."""
    if not ok:
        raise ConfigError(f"{name} is {value!r}; it must be {allowed}.")


def require_number(name: str, value: Any, low: float, high: float) -> None:
    """Raise ConfigError unless value is a finite number in [low, high]."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    ok = number and low <= value <= high  # false for NaN; never turns a huge int into a float
    require(ok, name, value, f"a number from {low:g} to {high:g}")


def require_integer(name: str, value: Any, low: int, high: int) -> None:
    """Raise ConfigError unless value is an integer in [low, high]."""
    ok = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
    require(ok, name, value, f"a whole number from {low:,} to {high:,}")


def require_choice(kind: type[Choice], name: str, value: Any) -> Choice:
    """The member of an enum with that value, or ConfigError naming those there are."""
    try:
        return kind(value)
    except ValueError:
        raise ConfigError(f"{name} is {value!r}; it must be one of {', '.join(kind)}.") from None
