"""`python -m dverge evaluate`: measure checkpoints under a protocol."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from dverge.commands import check_output_file
from dverge.data import Split
from dverge.devices import describe_device
from dverge.errors import CheckpointError
from dverge.evaluation.evaluation import Evaluation
from dverge.evaluation.protocols import EvaluationConfig, Protocol
from dverge.evaluation.store import Images, why_expired
from dverge.results import Result
from dverge.stored import write_json

SPLITS = [str(split) for split in (Split.TEST, Split.VALIDATION, Split.SAMPLE)]
HEAD = f"{'checkpoint':24} {'model':14} {'attack':28} {'accuracy, % (95 %)':22} {'images/s':>9}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command to its parser."""
    parser.add_argument("checkpoints", nargs="*", metavar="CHECKPOINT", help="name or folder")
    parser.add_argument(
        "--protocol",
        choices=list(map(str, Protocol)),
        default=str(Protocol.STANDARD),
        help="standard (the default): FGSM, projected PGD and the strong attack; headline: the "
        "strong attack at L-inf 8/255 alone; report: the report's own, for comparison only; "
        "autoattack: on the mixture, needs pyautoattack; autoattack-members: on each submodel; "
        "black-box: images made on other ensembles; curve: accuracy against eps; sanity: whether "
        "gradients are masked",
    )
    parser.add_argument("--images", type=int, metavar="N", help="how many, balanced over classes")
    parser.add_argument("--split", choices=SPLITS, help="default: test; of report: validation")
    parser.add_argument("--seed", type=int, help="of random starts (default: 0)")
    parser.add_argument("--device", help="auto, cpu, cuda or cuda:N (default: auto)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there, too")


def run(arguments: argparse.Namespace) -> int:
    """Measure, print each row as it comes, and write the JSON. Returns 0.

    What is finished is kept in the checkpoints' folders: the same command goes on after Ctrl-C.

    Raises:
        DvergeError: nothing can be measured, or something could not be; rows there are then are
            printed and written all the same.
    """
    names = ("images", "split", "seed", "device")
    given = {n: getattr(arguments, n) for n in names if getattr(arguments, n) is not None}
    config = EvaluationConfig.of(tuple(arguments.checkpoints), arguments.protocol, **given)
    check_output_file("--json", arguments.json)
    evaluation = Evaluation(config)
    images, device = evaluation.images, describe_device(evaluation.device)
    print(
        f"Protocol {config.protocol}, {len(images):,} {config.split} images (digest "
        f"{images.digest[:12]}), seed {config.seed}, {device}"
    )
    for info in evaluation.infos:
        if change := why_expired(info, config.protocol, Images.of(images)):
            print(f"{info.name}: earlier results of this protocol do not count any more: {change}")
    rows: list[Result] = []
    print(HEAD)
    try:
        for row in _with_bar(evaluation):
            rows.append(row)
            tqdm.write(line_of(row))
    finally:
        if arguments.json:
            write_json(arguments.json, [row.to_dict() for row in rows])
    for warning in dict.fromkeys(text for row in rows for text in row.warnings):
        print(f"warning: {warning}")
    if evaluation.failures:
        raise CheckpointError(" ".join(evaluation.failures))
    return 0


def line_of(row: Result) -> str:
    """A row for the terminal."""
    figure = row
    about = figure.parameters
    words = [figure.attack]
    words += [f"{name} {about[name]:.4g}" for name in ("eps", "steps") if name in about]
    if figure.model == "mixture" and about.get("victim", "worst") != "worst":
        words.append(f"({about['victim']})")
    interval = f"{figure.accuracy:6.2f} ({figure.ci_low:.2f}–{figure.ci_high:.2f})"
    speed = f"{figure.n / figure.seconds:9,.0f}" if figure.seconds else f"{'–':>9}"
    return f"{row.checkpoint:24} {figure.model:14} {' '.join(words):28} {interval:22} {speed}"


def _with_bar(evaluation: Evaluation) -> Iterator[Result]:
    """The rows as they come, with a bar that shows how far it is."""
    began, first = time.perf_counter(), evaluation.progress()
    with tqdm(total=1.0, bar_format="{percentage:3.0f}% {bar} {desc}", leave=False) as bar:
        for rows in evaluation.run():
            done = evaluation.progress()
            bar.n = min(1.0, done)
            if done > first:
                left = (time.perf_counter() - began) * (1 - done) / (done - first)
                bar.set_description_str(f"{tqdm.format_interval(left)} left")
            yield from rows or []
