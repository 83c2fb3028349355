"""The one way in and out of files: JSON read into declared shapes, and files that are whole.

A shape is a dataclass whose annotations say what each field may hold. `read_json` and `read_jsonl`
check a file against its shape; behind them nothing is checked again. A field with a default is one
that a file may lack: a later version added it, or it is left out where it is empty.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, TypeVar

import msgspec
from msgspec import Meta

from dverge.errors import ConfigError, FileError

FORMAT = 1  # of all files; one that states no format has this one
NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
LIMIT = 10**15  # of counts and times; larger ones are damage
LARGEST = 1e40  # above all numbers in single precision; their sums and squares stay finite

Count = Annotated[int, Meta(ge=0, le=LIMIT)]
Seed = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Number = Annotated[float, Meta(ge=-LARGEST, le=LARGEST)]
NonNegative = Annotated[float, Meta(ge=0, le=LIMIT)]
Timestamp = Annotated[float, Meta(ge=0, le=2.5e11)]  # Unix time, up to the year 9892
Share = Annotated[float, Meta(ge=0, le=1)]
Percent = Annotated[float, Meta(ge=0, le=100)]
if TYPE_CHECKING:  # the type of a setting or parameter is known by its name
    Scalar: TypeAlias = Any
    Setting: TypeAlias = Any
else:
    Scalar = bool | Annotated[int, Meta(ge=-LIMIT, le=LIMIT)] | Number | str
    Setting = Scalar | None | list[str]

Shape = TypeVar("Shape")


@dataclass(frozen=True)
class Broken:
    """A file or folder that cannot be used, and why."""

    path: Path
    reason: str

    @property
    def name(self) -> str:
        return self.path.name


def read_json(path: Path, shape: type[Shape]) -> Shape:
    """Read a JSON file.

    Raises:
        FileError: it is not there, or is not of this shape; the message names file and field.
    """
    with _explained(path):
        value = msgspec.json.decode(path.read_bytes())
        if isinstance(value, dict) and is_dataclass(shape):
            if value.get("format", FORMAT) != FORMAT:
                raise ValueError(f"its format is not {FORMAT}, the one that this version reads")
            known = {"format", *(each.name for each in fields(shape))}
            if unknown := sorted(value.keys() - known):
                raise ValueError(f"this version does not know its fields {', '.join(unknown)}")
        return msgspec.convert(value, shape)


def read_jsonl(
    path: Path, shapes: Mapping[str, type], appended: bool = False
) -> tuple[list[dict[str, Any]], list[Broken]]:
    """Read a file with a JSON object on each line, up to the first line that cannot be used.

    Args:
        path: the file; no rows if there is none.
        shapes: of the rows, by what they state as their "kind"; "" for rows that state none.
        appended: rows are appended to the file one by one, so that the last one may be incomplete:
            it is left out and not reported.

    Returns:
        The rows, and the file if a line or all of it cannot be used.
    """
    rows: list[dict[str, Any]] = []
    lines, last = [], b""
    try:
        with _explained(path):
            content = path.read_bytes() if os.path.lexists(path) else b""
        *lines, last = content.split(b"\n")
        for number, line in enumerate([*lines, last] if last else lines, 1):
            with _explained(path, number):
                row = msgspec.json.decode(line, type=dict[str, Any])
                if (shape := shapes.get(str(row.get("kind", "")))) is None:
                    raise ValueError("its kind of row is unknown")
                msgspec.convert(row, shape)
                rows.append(row)
    except FileError as error:
        if not (appended and last and len(rows) == len(lines)):
            return rows, [Broken(path, str(error))]
    return rows, []


@contextlib.contextmanager
def _explained(path: Path, line: int = 0) -> Iterator[None]:
    """Make whatever damage raises in the block a FileError that names the file and the field."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
    except RecursionError:
        reason = "it is nested too deeply"
    except ValueError as error:  # msgspec's errors are such, and those of what a shape checks
        text, _, field = str(error).partition(" - at `$")
        reason = ": ".join(part for part in (field.strip(".`"), text.rstrip(".")) if part)
    else:
        return
    where = f"{path}, line {line}," if line else str(path)
    raise FileError(f"{where} cannot be used ({reason}). Restore it or move it away.")


def complete(
    values: dict[str, Any], shape: type, added_later: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The settings that a file holds, with those that versions after it added.

    Args:
        values: the settings.
        shape: the dataclass whose fields they are.
        added_later: what older versions did, by the name of the field that they lacked.

    Raises:
        ConfigError: another field is missing. None is filled in that decides what is computed.
    """
    names = [each.name for each in fields(shape)]
    later = {name: value for name, value in (added_later or {}).items() if name in names}
    if missing := [name for name in names if name not in later | values]:
        raise ConfigError(f"config is missing {', '.join(missing)}.")
    return later | values


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it takes its place if the block succeeds."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)  # mkstemp lets nobody else read it
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; it takes that name if the block succeeds.

    Raises:
        FileExistsError: the name is taken.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}-"))
    try:
        yield temporary
        if path.exists():
            raise FileExistsError(path)
        for file in temporary.iterdir():
            file.chmod(0o644)  # some were written through mkstemp, which lets nobody else read
        temporary.chmod(0o755)
        temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_json(path: Path, value: Any) -> None:
    """Write value as indented JSON, atomically."""
    text = json.dumps(value, indent=2) + "\n"  # keeps the order: that of members has a meaning
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def set_aside(path: Path) -> Path:
    """Rename a file or folder to a hidden name beside it that is free; returns the new path.

    Raises:
        FileError: it cannot be renamed.
    """
    number = 1
    while os.path.lexists(aside := path.with_name(f".{path.name}.set-aside-{number}")):
        number += 1
    try:
        path.rename(aside)
    except OSError as error:
        raise FileError(f"{path} cannot be renamed: {error.strerror}.") from None
    return aside


def delete(path: Path) -> None:
    """Delete a file or a folder: at once for those who list it, then its content from the disk.

    Raises:
        FileError: it cannot be deleted.
    """
    aside = set_aside(path)
    try:
        if aside.is_dir() and not aside.is_symlink():
            shutil.rmtree(aside)
        else:
            aside.unlink()
    except OSError as error:
        raise FileError(f"{path} cannot be deleted: {error.strerror}.") from None


def check_name(name: str) -> str:
    """Return the name of a checkpoint or run if it can be a folder's name on any system.

    Raises:
        ConfigError: it cannot.
    """
    if not NAME_PATTERN.fullmatch(name):
        raise ConfigError(
            f"name is {name!r}; it must start with a letter or digit and hold only lower-case "
            "letters, digits, '-', '_' and '.', at most 64 of them."
        )
    return name
