"""`python -m dverge data`: get CIFAR-10, with a progress bar."""

from __future__ import annotations

import argparse
from pathlib import Path

from tqdm import tqdm

from dverge.data.obtaining import obtain
from dverge.data.sources import sources_from
from dverge.data.store import data_folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command to its parser."""
    parser.add_argument(
        "--from",
        dest="source",
        metavar="DIR",
        type=Path,
        help="take CIFAR-10 from torchvision's folder cifar-10-batches-py in DIR "
        "(such as ./data) instead of downloading it",
    )


def run(args: argparse.Namespace) -> int:
    """Get CIFAR-10 and print where it is. Returns 0, or raises DataError with the mend."""
    folder = data_folder()
    given = None if args.source is None else args.source.expanduser().absolute()
    layout = "{percentage:3.0f}% {bar} {desc} [{elapsed}]"
    with tqdm(total=1.0, bar_format=layout, dynamic_ncols=True) as bar:

        def show(stage: str, fraction: float) -> None:
            bar.n = fraction
            bar.set_description_str(stage)

        path = obtain(show, folder, sources_from(given, folder))
    print(f"CIFAR-10 (50,000 training and 10,000 test images) is in {path}")
    return 0
