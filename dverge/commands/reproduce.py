"""`python -m dverge reproduce`: the report's tables, figures and claims beside ours."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from tqdm import tqdm

from dverge import checkpoints
from dverge.charts.report_document import report_markdown, report_values
from dverge.charts.reproduction import figure_chart
from dverge.checkpoints import CheckpointInfo
from dverge.commands import check_output_file
from dverge.commands.train import start_run
from dverge.errors import ConfigError, DvergeError, require_integer
from dverge.evaluation.store import read_all
from dverge.reproduction.claims import judge_all
from dverge.reproduction.matching import Reproduction, reproduce
from dverge.reproduction.verification import Verification, verify
from dverge.runs import RETRAINED, retraining, retraining_name
from dverge.stored import write_json

DIFFERENT_EXIT = 1
VERIFY_IMAGES = 100  # of the standard protocol; some minutes for all checkpoints on two cores
PRINTED = "-"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command to its parser."""
    parser.add_argument(
        "--markdown",
        nargs="?",
        const=PRINTED,
        default=PRINTED,
        metavar="FILE",
        help="Markdown, which is printed in any case; with a file, it is written there, too",
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
    """Print the document, and write and verify what is asked for; or train what is asked for.

    Returns:
        0, or 1 if results that were measured again differ from the kept ones.

    Raises:
        ConfigError: an option is outside its range.
    """
    _check(arguments)
    infos, broken = checkpoints.list_all()
    if arguments.retrain:
        config = retraining(arguments.retrain, infos, arguments.seed)
        names = {info.name for info in infos}
        return start_run(config, retraining_name(arguments.retrain, config, names))
    reproduction = reproduce(infos)
    verdicts = judge_all(reproduction)
    text = report_markdown(reproduction, verdicts)
    print(text)
    if (file := _markdown_file(arguments)) is not None:
        file.write_text(text, encoding="utf-8")
    for item in broken:
        print(f"{item.name} is left out. {item.reason}")
    for damaged in (each for info in infos for each in read_all(info)[1]):
        print(f"A file is left out: {damaged.reason}")
    _report_curves(reproduction, arguments.figures)
    values = report_values(reproduction, verdicts)
    came_back = True
    if arguments.verify:
        verified, came_back = _verify(reproduction, arguments.images or VERIFY_IMAGES)
        values["verification"] = [asdict(each) for each in verified]
    if arguments.json:
        write_json(arguments.json, values)
    return 0 if came_back else DIFFERENT_EXIT


def _markdown_file(arguments: argparse.Namespace) -> Path | None:
    return None if arguments.markdown == PRINTED else Path(arguments.markdown)


def _check(arguments: argparse.Namespace) -> None:
    """Refuse bad options before anything is computed."""
    check_output_file("--json", arguments.json)
    check_output_file("--markdown", _markdown_file(arguments))
    if arguments.images is not None:
        require_integer("images", arguments.images, 1, 10_000)
        if not arguments.verify:
            raise ConfigError("--images goes with --verify; add it.")
    if arguments.seed is not None and not arguments.retrain:
        raise ConfigError("--seed goes with --retrain; add it.")
    if arguments.figures:
        arguments.figures.mkdir(parents=True, exist_ok=True)


def _report_curves(reproduction: Reproduction, folder: Path | None) -> None:
    """Say which files the curves are from, and draw them if a folder is named."""
    for figure in reproduction.figures:
        number = figure.printed.number
        if not figure.curves:
            print(f"Figure {number}: there is no training of this kind here yet.")
            continue
        files = ", ".join(str(each.info.folder / checkpoints.HISTORY) for each in figure.curves)
        short = "" if figure.whole else f" (of {figure.curves[0].epochs} epochs only)"
        print(f"Figure {number}: curves from {files}{short}")
        if folder is not None:
            chart = figure_chart(figure)
            for ending in ("html", "json"):
                chart.save(str(folder / f"figure-{number}.{ending}"))
            print(f"Figure {number}: drawn as {folder / f'figure-{number}.html'} and .json")


def _verify(reproduction: Reproduction, images: int) -> tuple[list[Verification], bool]:
    """Measure the checkpoints behind the tables again, and whether all results came back."""
    verified: list[Verification] = []
    came_back = True
    for info in (trained.info for group in reproduction.groups for trained in group.trained):
        try:
            for each in _verify_with_bar(info, images):
                tqdm.write(str(each))
                verified.append(each)
        except DvergeError as error:
            tqdm.write(f"{info.name}: {error}")
            came_back = False
    return verified, came_back and all(each.holds for each in verified)


def _verify_with_bar(info: CheckpointInfo, images: int) -> list[Verification]:
    with tqdm(total=1.0, desc=info.name, bar_format="{l_bar}{bar}", leave=False) as bar:
        verified = []
        for news in verify(info, images):
            if isinstance(news, Verification):
                verified.append(news)
            else:
                bar.n = min(1.0, news)
                bar.refresh()
        return verified
