"""`python -m dverge export`: write a checkpoint's plain state dicts."""

from __future__ import annotations

import argparse
from pathlib import Path

from dverge import checkpoints
from dverge.weights import export_weights


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command to its parser."""
    parser.add_argument("checkpoint", help="name or folder of the checkpoint")
    parser.add_argument("--to", type=Path, default=Path.cwd(), help="folder (default: this one)")


def run(arguments: argparse.Namespace) -> int:
    """Write one file a member and print their paths. Returns 0.

    Raises:
        DvergeError: there is no such checkpoint, or a file of that name exists.
    """
    info = checkpoints.read(checkpoints.find(arguments.checkpoint))
    for path in export_weights(info, arguments.to):
        print(path)
    return 0
