"""Files that are whole or not there: written under a temporary name, then renamed."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dverge.errors import ConfigError

NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


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
    text = json.dumps(value, indent=2) + "\n"  # order is kept: that of members has a meaning
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


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
