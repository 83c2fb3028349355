"""`python -m dverge reproduce`: the report's tables and figures again, beside what it printed."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

from dverge import checkpoints
from dverge.charts.report_curves import figure_chart
from dverge.charts.report_document import all_statements, report_markdown, report_values
from dverge.checkpoints import CheckpointInfo
from dverge.errors import CheckpointError, ConfigError, require_integer
from dverge.reproduction.figures import FigureAgain, reproduce_figures
from dverge.reproduction.reproduction import Reproduction, reproduce
from dverge.reproduction.verification import Verification, verify
from dverge.runs import RETRAINED
from dverge.stored import write_json

DIFFERENT_EXIT = 1
VERIFY_IMAGES = 100  # of the standard protocol; some minutes for all on two cores
PRINTED = "-"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command to its parser."""
    parser.add_argument(
        "--markdown",
        nargs="?",
        const=PRINTED,
        default=PRINTED,
        metavar="FILE",
        help="Markdown, which is printed in any case; given a file, write it there, too",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write cells and verdicts there")
    parser.add_argument(
        "--figures",
        type=Path,
        metavar="DIR",
        help="draw Figures 2, 3 and 4 there, as web pages and as Vega-Lite JSON",
    )
    parser.add_argument(
        "--verify",
        action="store_true",
        help="measure the shipped weights again and compare image by image; exit status 1 if over "
        "one in a hundred outcomes differs",
    )
    parser.add_argument(
        "--images",
        type=int,
        metavar="N",
        help="test images for --verify under the standard protocol (default: "
        f"{VERIFY_IMAGES}); the report's is measured on all its validation images",
    )
    parser.add_argument(
        "--retrain",
        choices=list(RETRAINED),
        metavar="WHAT",
        help=f"train it again with the same settings, under a new name: {', '.join(RETRAINED)}",
    )
    parser.add_argument("--seed", type=int, help="for --retrain: another seed than before")


def run(arguments: argparse.Namespace) -> int:
    """Print the document, and write and verify what was asked for.

    Returns:
        0, or 1 if figures that were measured again are not the shipped ones.

    Raises:
        DvergeError: an option will not do, or a history cannot be read.
    """
    _check(arguments)
    infos, broken = checkpoints.list_all()
    found, figures = reproduce(infos), reproduce_figures(infos)
    statements = all_statements(found, figures)
    text = report_markdown(found, figures, statements)
    print(text)
    if arguments.markdown != PRINTED:
        Path(arguments.markdown).write_text(text, encoding="utf-8")
    for item in broken:
        print(f"{item.name} is left out. {item.reason}")
    _tell_curves(figures, arguments.figures)
    values = report_values(found, figures, statements)
    holds = True
    if arguments.verify:
        verified, holds = _verify(found, arguments.images or VERIFY_IMAGES)
        values["verification"] = [asdict(each) for each in verified]
    if arguments.json:
        write_json(arguments.json, values)
    return 0 if holds else DIFFERENT_EXIT


def _check(arguments: argparse.Namespace) -> None:
    """Refuse what will not do before anything is computed."""
    for name in ("json", "markdown"):
        given = getattr(arguments, name)
        file = Path(given) if given and given != PRINTED else None
        if file and (file.is_dir() or not file.absolute().parent.is_dir()):
            raise ConfigError(f"--{name} is {file}; it must be a file in a folder that is there.")
    if arguments.images is not None:
        require_integer("images", arguments.images, 1, 10_000)
        if not arguments.verify:
            raise ConfigError("--images goes with --verify; add it.")
    if arguments.seed is not None and not arguments.retrain:
        raise ConfigError("--seed goes with --retrain; add it.")
    if arguments.figures:
        arguments.figures.mkdir(parents=True, exist_ok=True)


def _tell_curves(figures: Sequence[FigureAgain], folder: Path | None) -> None:
    """Say where the curves are, and draw them if there is a folder for it."""
    for figure in figures:
        number = figure.printed.number
        if not figure.curves:
            print(f"Figure {number}: there is no training of this kind here yet.")
            continue
        places = ", ".join(str(each.info.folder / checkpoints.HISTORY) for each in figure.curves)
        short = "" if figure.whole else f" (of {figure.curves[0].epochs} epochs only)"
        print(f"Figure {number}: curves from {places}{short}")
        if folder is not None:
            chart = figure_chart(figure)
            for ending in ("html", "json"):
                chart.save(str(folder / f"figure-{number}.{ending}"))
            print(f"Figure {number}: drawn as {folder / f'figure-{number}.html'} and .json")


def _verify(found: Reproduction, images: int) -> tuple[list[Verification], bool]:
    """Measure each table's checkpoints again, telling what comes; whether all came back."""
    verified: list[Verification] = []
    holds = True
    for info in _shipped(found):
        try:
            for each in _with_bar(info, images):
                tqdm.write(str(each))
                verified.append(each)
        except CheckpointError as error:
            tqdm.write(f"{info.name}: {error}")
            holds = False
    return verified, holds and all(each.holds for each in verified)


def _with_bar(info: CheckpointInfo, images: int) -> list[Verification]:
    with tqdm(total=1.0, desc=info.name, bar_format="{l_bar}{bar}", leave=False) as bar:
        results = []
        for news in verify(info, images):
            if isinstance(news, Verification):
                results.append(news)
            else:
                bar.n = min(1.0, news)
                bar.refresh()
        return results


def _shipped(found: Reproduction) -> list[CheckpointInfo]:
    """The checkpoints behind the tables."""
    groups: list[Any] = [*found.tables, found.advt, found.tuned]
    return [trained.info for group in groups for trained in group.trained]
