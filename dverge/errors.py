"""Errors that a person can act on: what is wrong, the value, and how to fix it."""

from __future__ import annotations

import enum
from typing import Any, TypeVar

Choice = TypeVar("Choice", bound=enum.StrEnum)


class DvergeError(Exception):
    """Base of all errors that this library raises on purpose; the text is for a person to read."""


class ConfigError(DvergeError, ValueError):
    """A setting is outside its allowed range."""


class DataError(DvergeError):
    """The data set is missing or damaged, or cannot be downloaded or stored."""


class ImageError(DvergeError):
    """A file cannot be used as a picture."""


class FileError(DvergeError):
    """A file of ours is missing, damaged, or of another version; the text names file and field."""


class CheckpointError(DvergeError):
    """A checkpoint is missing, altered, or not one of this program."""


class RunError(DvergeError):
    """A run cannot do what it is asked to do."""


class TrainingError(DvergeError):
    """A training cannot continue."""


def require(ok: bool, name: str, value: Any, allowed: str) -> None:
    """Raise ConfigError unless ok; it names the field, the value and the allowed values."""
    if not ok:
        raise ConfigError(f"{name} is {value!r}; it must be {allowed}.")


def require_number(name: str, value: Any, low: float, high: float) -> None:
    """Raise ConfigError unless value is a finite number in [low, high]."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    ok = number and low <= value <= high  # false for NaN; does not convert a huge int to float
    require(ok, name, value, f"a number from {low:g} to {high:g}")


def require_integer(name: str, value: Any, low: int, high: int) -> None:
    """Raise ConfigError unless value is an integer in [low, high]."""
    ok = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
    require(ok, name, value, f"a whole number from {low:,} to {high:,}")


def require_choice(kind: type[Choice], name: str, value: Any) -> Choice:
    """The enum's member of that value. Raises ConfigError, which lists the allowed values."""
    try:
        return kind(value)
    except ValueError:
        raise ConfigError(f"{name} is {value!r}; it must be one of {', '.join(kind)}.") from None
