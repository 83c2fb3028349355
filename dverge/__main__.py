"""The command line: python -m dverge COMMAND."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Iterable
from dataclasses import Field, fields
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from tqdm import tqdm

from dverge import checkpoints
from dverge.benchmark import BenchRow, Comparison, bench, bench_attack
from dverge.charts.reproduction import ablation_frame
from dverge.charts.tables import to_markdown
from dverge.commands import data as data_cli
from dverge.commands import evaluate as evaluation_cli
from dverge.commands import reproduce
from dverge.devices import resolve_device
from dverge.errors import DvergeError, RunError
from dverge.exploration.tour import choose_tour, write_tour
from dverge.reproduction.ablation import ablate, read_ablation
from dverge.runs import (
    Control,
    RunFolder,
    RunState,
    Status,
    execute,
    new_run_name,
    retraining,
    retraining_name,
    runs_folder,
)
from dverge.stored import write_json
from dverge.training import (
    CONFIGS,
    PRESETS,
    Method,
    TrainingConfig,
    with_fixed_start,
)
from dverge.weights import export_weights, import_weights

INTERRUPTED_EXIT = 130
METHOD_HELP = {
    Method.VANILLA: "members trained independently on clean images",
    Method.DVERGE: "members with diversified vulnerabilities (Algorithm 1)",
    Method.DVERGE_ADVT: "DVERGE with adversarial training",
    Method.ADVT: "adversarial training alone",
}


def main(argv: list[str] | None = None) -> int:
    """Run one command; an expected error is one line on standard error and exit status 2."""
    arguments = build_parser().parse_args(argv)
    try:
        return arguments.run(arguments)
    except (DvergeError, OSError) as error:
        print(f"dverge: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return INTERRUPTED_EXIT


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m dverge", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    data = commands.add_parser("data", help="get CIFAR-10 once, verified")
    data_cli.add_arguments(data)
    data.set_defaults(run=data_cli.run)

    train = commands.add_parser("train", help="train an ensemble, or resume a run")
    kinds = train.add_subparsers(required=True, metavar="KIND")
    for method, what in METHOD_HELP.items():
        kind = kinds.add_parser(method, help=what, description=f"Train an ensemble: {what}.")
        add_config_options(kind, method)
        kind.set_defaults(run=train_ensemble, method=method)
    resume = kinds.add_parser("resume", help="go on with a run that was stopped or interrupted")
    resume.add_argument("id", help="the run's id, as printed when it was stopped")
    resume.set_defaults(run=resume_run)

    evaluate = commands.add_parser("evaluate", help="measure checkpoints under attack")
    evaluation_cli.add_arguments(evaluate)
    evaluate.set_defaults(run=evaluation_cli.run)

    report = commands.add_parser("reproduce", help="the report's tables and figures again")
    reproduce.add_arguments(report)
    report.set_defaults(run=reproduce_report)

    imports = commands.add_parser("import", help="make a checkpoint of Conv state dicts")
    imports.add_argument("files", nargs="+", type=Path, metavar="FILE.pth")
    imports.add_argument("--name", required=True, help="name of the new checkpoint")
    imports.add_argument(
        "--classes", default="", help="the ten outputs' classes, comma-separated, if not CIFAR-10's"
    )
    imports.set_defaults(run=import_files)

    export = commands.add_parser("export", help="write a checkpoint's plain state dicts")
    export.add_argument("checkpoint", help="name or folder of the checkpoint")
    export.add_argument("--to", type=Path, default=Path.cwd(), help="folder (default: this one)")
    export.set_defaults(run=export_files)

    tour = commands.add_parser("tour", help="choose the guided tour's pictures anew")
    tour.set_defaults(run=choose_pictures)

    ablation = commands.add_parser("ablation", help="train the tuned recipe's variants again")
    ablation.set_defaults(run=run_ablation)

    bench = commands.add_parser("bench", help="time the fast ways against plain PyTorch")
    bench.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    bench.add_argument("--json", type=Path, metavar="FILE", help="write the rows there, too")
    bench.set_defaults(run=run_bench)
    return parser


def choose_pictures(arguments: argparse.Namespace) -> int:
    chosen = choose_tour()
    write_tour(chosen)
    print(
        f"The tour shows test image {chosen.image}, the first of {chosen.fitting} that fit, and "
        f"the pair {chosen.source}, {chosen.target}, the first of {chosen.pairs_fitting}."
    )
    return 0


def run_ablation(arguments: argparse.Namespace) -> int:
    with tqdm(total=1.0, bar_format="{l_bar}{bar}| {elapsed}<{remaining}") as bar:
        for title, share in ablate():
            if bar.desc != f"{title}: ":
                bar.reset()
                bar.set_description(title)
            bar.update(share - bar.n)
    print(to_markdown(ablation_frame(read_ablation())))
    return 0


def run_bench(arguments: argparse.Namespace) -> int:
    device = resolve_device(arguments.device)
    print(
        f"The plain loop against the engine: milliseconds an iteration of 3 members, batch 32, on "
        f"{device}, {torch.get_num_threads()} threads, torch {torch.__version__}."
    )
    head = "method       layer  plain ms  engine ms  images/s  times as fast (lowest to highest)"
    print(head)
    rows = []
    for row in bench(device):
        rows.append(row)
        print(
            f"{row.method:12} {row.layer or '-':>5} {row.plain_ms:9.1f} {row.engine_ms:10.2f} "
            f"{row.images_per_second:9,.0f}  {row.ratio:.1f} ({row.ratio_low:.1f} to "
            f"{row.ratio_high:.1f})",
            flush=True,
        )
    for method in Method:
        print(mean_line([row for row in rows if row.method == method]))
    print(attack_line(bench_attack(device)))
    if arguments.json:
        write_json(arguments.json, [row.to_dict() for row in rows])
    return 0


def mean_line(rows: list[BenchRow]) -> str:
    """A method's mean over its layers, as an epoch's layer is drawn uniformly."""
    plain, engine = (
        sum(values) / len(rows)
        for values in zip(*((row.plain_ms, row.engine_ms) for row in rows), strict=True)
    )
    return (
        f"{rows[0].method}: {plain:.1f} ms plain, {engine:.2f} ms by the engine, "
        f"{plain / engine:.1f} times as fast"
    )


def attack_line(found: Comparison) -> str:
    """The gain of attacks on compiled members."""
    return (
        f"PGD of 10 steps on the mixture of 3 members, 256 images: {found.plain_ms:.0f} ms by "
        f"PyTorch, {found.fast_ms:.0f} ms compiled, {found.ratio:.1f} ({found.ratio_low:.1f} to "
        f"{found.ratio_high:.1f}) times as fast"
    )


def add_config_options(parser: argparse.ArgumentParser, method: Method) -> None:
    """An option for each field of the method's config; those not given come from the preset."""
    presets = PRESETS[method]
    parser.add_argument("--name", help="name of the run and its checkpoint")
    parser.add_argument("--preset", choices=presets, default="report", help="default: report")
    for field in config_fields(method):
        default = getattr(presets["report"], field.name)
        if field.name == "start":
            about = "checkpoint to start from (default: fresh members)"
            parser.add_argument("--from", dest="start", metavar="CHECKPOINT", help=about)
        elif isinstance(default, bool):
            option = "--" + field.name.replace("_", "-")
            parser.add_argument(option, action=argparse.BooleanOptionalAction, default=None)
        else:
            kind = {int: int, float: float}.get(type(default), str)
            option = "--" + field.name.replace("_", "-")
            parser.add_argument(option, type=kind, help=f"report: {default}")


def config_fields(method: Method) -> Iterable[Field[Any]]:
    """The fields of a method's config that a person sets."""
    return (field for field in fields(CONFIGS[method]) if field.name != "start_digest")


def train_ensemble(arguments: argparse.Namespace) -> int:
    given = {
        field.name: value
        for field in config_fields(arguments.method)
        if (value := getattr(arguments, field.name)) is not None
    }
    preset = PRESETS[arguments.method][arguments.preset].to_dict()
    config = CONFIGS[arguments.method].from_dict({**preset, **given})
    taken = {info.name for info in checkpoints.list_all()[0]}
    return begin(config, arguments.name or new_run_name(config, taken))


def reproduce_report(arguments: argparse.Namespace) -> int:
    if not arguments.retrain:
        return reproduce.run(arguments)
    infos = checkpoints.list_all()[0]
    config = retraining(arguments.retrain, infos, arguments.seed)
    return begin(config, retraining_name(arguments.retrain, config, {info.name for info in infos}))


def begin(config: TrainingConfig, name: str) -> int:
    """Train in this terminal as a new run of this name."""
    resolve_device(config.device)  # before the run has a folder
    config = with_fixed_start(config)
    folder = RunFolder.create(runs_folder(), name, str(config.method), config.to_dict())
    return work_on(folder)


def resume_run(arguments: argparse.Namespace) -> int:
    folder = RunFolder(runs_folder() / Path(arguments.id).name)
    if not (folder.path / "run.json").is_file():  # "" and ".." are folders, but no runs
        raise RunError(f"there is no run {arguments.id!r} in {folder.path.parent}.")
    if folder.status().state is RunState.FINISHED:
        raise RunError(f"run {arguments.id!r} has finished already.")
    return work_on(folder)


def work_on(folder: RunFolder) -> int:
    """Train in this terminal; Ctrl-C pauses, and the run can be resumed here or in the app."""
    control = Control()

    def pause(_signal: int, _frame: FrameType | None) -> None:
        control.ask(RunState.PAUSED)

    lock = folder.hold()
    before = signal.signal(signal.SIGINT, pause)
    try:
        status = execute_with_bar(folder, control)
    finally:
        signal.signal(signal.SIGINT, before)
        lock.release()
    if status.state is RunState.FAILED:
        raise RunError(f"{status.message} To go on: python -m dverge train resume {folder.id}")
    if status.state is RunState.FINISHED:
        print(f"checkpoint {status.checkpoint} is ready" if status.checkpoint else "finished")
        return 0
    print(f"{status.state}; to go on: python -m dverge train resume {folder.id}")
    return INTERRUPTED_EXIT


def execute_with_bar(folder: RunFolder, control: Control) -> Status:
    form = "{l_bar}{bar}| {elapsed}{postfix}"
    with tqdm(total=1.0, desc=folder.spec().name, bar_format=form) as bar:

        def show(status: Status) -> None:
            bar.update(status.progress - bar.n)
            words = [f"epoch {status.epoch:.1f}"]
            if status.seconds_left is not None:
                words.append(f"{tqdm.format_interval(status.seconds_left)} left")
            if status.images_per_second:
                words.append(f"{status.images_per_second:,.0f} images/s")
            bar.set_postfix_str(", ".join(words))

        return execute(folder, control, show)


def import_files(arguments: argparse.Namespace) -> int:
    classes = [name.strip() for name in arguments.classes.split(",") if name.strip()]
    info = import_weights(arguments.files, arguments.name, classes=classes)
    print(f"checkpoint {info.name} with {len(info.card.members)} members is in {info.folder}")
    return 0


def export_files(arguments: argparse.Namespace) -> int:
    info = checkpoints.read(checkpoints.find(arguments.checkpoint))
    for path in export_weights(info, arguments.to):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
