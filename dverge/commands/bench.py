"""`python -m dverge bench`: time the fast engines against plain PyTorch."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from dverge.benchmark import BenchRow, Comparison, bench, bench_attack
from dverge.commands import check_output_file
from dverge.devices import resolve_device
from dverge.stored import write_json
from dverge.training import Method

HEAD = "method       layer  plain ms  engine ms  images/s  times as fast (lowest to highest)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command to its parser."""
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there, too")


def run(arguments: argparse.Namespace) -> int:
    """Time every method and an attack, and print each as it comes. Returns 0.

    Raises:
        ConfigError: the device is not on this machine, or the file could not be written.
    """
    check_output_file("--json", arguments.json)
    device = resolve_device(arguments.device)
    print(
        f"The plain loop against the engine: milliseconds an iteration of 3 members, batch 32, on "
        f"{device}, {torch.get_num_threads()} threads, torch {torch.__version__}."
    )
    print(HEAD)
    rows = []
    for row in bench(device):
        rows.append(row)
        print(_line(row), flush=True)
    for method in Method:
        print(_mean_line([row for row in rows if row.method == method]))
    print(_attack_line(bench_attack(device)))
    if arguments.json:
        write_json(arguments.json, [row.to_dict() for row in rows])
    return 0


def _line(row: BenchRow) -> str:
    return (
        f"{row.method:12} {row.layer or '-':>5} {row.plain_ms:9.1f} {row.engine_ms:10.2f} "
        f"{row.images_per_second:9,.0f}  {row.ratio:.1f} ({row.ratio_low:.1f} to "
        f"{row.ratio_high:.1f})"
    )


def _mean_line(rows: list[BenchRow]) -> str:
    """A method's mean over its layers, as an epoch's layer is drawn uniformly."""
    plain = sum(row.plain_ms for row in rows) / len(rows)
    engine = sum(row.engine_ms for row in rows) / len(rows)
    return (
        f"{rows[0].method}: {plain:.1f} ms plain, {engine:.2f} ms by the engine, "
        f"{plain / engine:.1f} times as fast"
    )


def _attack_line(times: Comparison) -> str:
    return (
        f"PGD of 10 steps on the mixture of 3 members, 256 images: {times.plain_ms:.0f} ms by "
        f"PyTorch, {times.fast_ms:.0f} ms compiled, {times.ratio:.1f} ({times.ratio_low:.1f} to "
        f"{times.ratio_high:.1f}) times as fast"
    )
