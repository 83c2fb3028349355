"""`python -m dverge import`: make a checkpoint of plain state dicts."""

from __future__ import annotations

import argparse
from pathlib import Path

from dverge.weights import import_weights


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command to its parser."""
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.pth")
    parser.add_argument("--name", required=True, help="name of the new checkpoint")
    parser.add_argument(
        "--classes", default="", help="the ten outputs' classes, comma-separated, if not CIFAR-10's"
    )


def run(arguments: argparse.Namespace) -> int:
    """Import the files and print where the checkpoint is. Returns 0.

    Raises:
        DvergeError: a file cannot be used, or the name is taken or not allowed.
    """
    classes = [name.strip() for name in arguments.classes.split(",") if name.strip()]
    info = import_weights(arguments.files, arguments.name, classes=classes)
    print(f"checkpoint {info.name} with {len(info.card.members)} members is in {info.folder}")
    return 0
