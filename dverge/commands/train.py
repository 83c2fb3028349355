"""`python -m dverge train`: train an ensemble in this terminal, or resume a run."""

from __future__ import annotations

import argparse
import signal
from collections.abc import Iterable
from dataclasses import Field, fields
from pathlib import Path
from types import FrameType
from typing import Any

from tqdm import tqdm

from dverge import checkpoints
from dverge.commands import INTERRUPTED_EXIT
from dverge.devices import resolve_device
from dverge.errors import RunError
from dverge.runs import (
    Control,
    RunFolder,
    RunState,
    Status,
    execute,
    new_run_name,
    runs_folder,
)
from dverge.training import CONFIGS, PRESETS, Method, TrainingConfig, with_fixed_start

METHOD_HELP = {
    Method.VANILLA: "members trained independently on clean images",
    Method.DVERGE: "members with diversified vulnerabilities (Algorithm 1)",
    Method.DVERGE_ADVT: "DVERGE with adversarial training",
    Method.ADVT: "adversarial training alone",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add a subcommand for each method, with an option for each of its settings, and resume."""
    kinds = parser.add_subparsers(required=True, metavar="KIND")
    for method, summary in METHOD_HELP.items():
        kind = kinds.add_parser(method, help=summary, description=f"Train an ensemble: {summary}.")
        _add_settings(kind, method)
        kind.set_defaults(method=method)
    resume = kinds.add_parser("resume", help="resume a run that was stopped or interrupted")
    resume.add_argument("id", help="the run's id, as printed when it was stopped")
    resume.set_defaults(method=None)


def run(arguments: argparse.Namespace) -> int:
    """Train a new run, or resume one. Ctrl-C pauses. Returns 0 when finished, 130 when paused.

    Raises:
        DvergeError: a setting is out of range, there is no such run, or the training failed.
    """
    if arguments.method is None:
        return _resume(arguments.id)
    settings = {
        field.name: value
        for field in _settings(arguments.method)
        if (value := getattr(arguments, field.name)) is not None
    }
    preset = PRESETS[arguments.method][arguments.preset].to_dict()
    config = CONFIGS[arguments.method].from_dict({**preset, **settings})
    taken = {info.name for info in checkpoints.list_all()[0]}
    return start_run(config, arguments.name or new_run_name(config, taken))


def start_run(config: TrainingConfig, name: str) -> int:
    """Train a new run of this name in this terminal; see run."""
    resolve_device(config.device)  # fails before the run has a folder
    config = with_fixed_start(config)
    return _work_on(RunFolder.create(runs_folder(), name, str(config.method), config.to_dict()))


def _add_settings(parser: argparse.ArgumentParser, method: Method) -> None:
    """An option for each setting; those that are not given come from the preset."""
    presets = PRESETS[method]
    parser.add_argument("--name", help="name of the run and its checkpoint")
    parser.add_argument("--preset", choices=presets, default="report", help="default: report")
    for field in _settings(method):
        default = getattr(presets["report"], field.name)
        option = "--" + field.name.replace("_", "-")
        if field.name == "start":
            about = "checkpoint to start from (default: fresh members)"
            parser.add_argument("--from", dest="start", metavar="CHECKPOINT", help=about)
        elif isinstance(default, bool):
            parser.add_argument(option, action=argparse.BooleanOptionalAction, default=None)
        else:
            kind = {int: int, float: float}.get(type(default), str)
            parser.add_argument(option, type=kind, help=f"report: {default}")


def _settings(method: Method) -> Iterable[Field[Any]]:
    """The fields of a method's config that a person sets."""
    return (field for field in fields(CONFIGS[method]) if field.name != "start_digest")


def _resume(run_id: str) -> int:
    folder = RunFolder(runs_folder() / Path(run_id).name)
    if not (folder.path / "run.json").is_file():  # "" and ".." are folders, but no runs
        raise RunError(f"there is no run {run_id!r} in {folder.path.parent}.")
    if folder.status().state is RunState.FINISHED:
        raise RunError(f"run {run_id!r} has finished already.")
    return _work_on(folder)


def _work_on(folder: RunFolder) -> int:
    """Train until the run is finished, or Ctrl-C pauses it."""
    control = Control()

    def pause(_signal: int, _frame: FrameType | None) -> None:
        control.ask(RunState.PAUSED)

    lock = folder.hold()
    previous = signal.signal(signal.SIGINT, pause)
    try:
        status = _with_progress_bar(folder, control)
    finally:
        signal.signal(signal.SIGINT, previous)
        lock.release()
    resume = f"python -m dverge train resume {folder.id}"
    if status.state is RunState.FAILED:
        raise RunError(f"{status.message} To go on: {resume}")
    if status.state is RunState.FINISHED:
        print(f"checkpoint {status.checkpoint} is ready" if status.checkpoint else "finished")
        return 0
    print(f"{status.state}; to go on: {resume}")
    return INTERRUPTED_EXIT


def _with_progress_bar(folder: RunFolder, control: Control) -> Status:
    layout = "{l_bar}{bar}| {elapsed}{postfix}"
    with tqdm(total=1.0, desc=folder.spec().name, bar_format=layout) as bar:

        def show(status: Status) -> None:
            bar.update(status.progress - bar.n)
            parts = [f"epoch {status.epoch:.1f}"]
            if status.seconds_left is not None:
                parts.append(f"{tqdm.format_interval(status.seconds_left)} left")
            if status.images_per_second:
                parts.append(f"{status.images_per_second:,.0f} images/s")
            bar.set_postfix_str(", ".join(parts))

        return execute(folder, control, show)
