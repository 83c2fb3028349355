"""The command line: one file a command, imported only when it is called.

Each has `add_arguments(parser)` and `run(arguments)`, which returns the exit status.
"""

from __future__ import annotations

from pathlib import Path

from dverge.errors import ConfigError

INTERRUPTED_EXIT = 130


def check_output_file(option: str, file: Path | None) -> None:
    """Raise ConfigError before anything is computed if a file could not be written."""
    if file and (file.is_dir() or not file.absolute().parent.is_dir()):
        raise ConfigError(f"{option} is {file}; it must be a file in a folder that exists.")
