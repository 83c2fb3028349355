"""`python -m dverge ablation`: train the tuned recipe's variants again, and compare them."""

from __future__ import annotations

import argparse

from tqdm import tqdm

from dverge.charts.reproduction import ablation_frame
from dverge.charts.tables import to_markdown
from dverge.reproduction.ablation import ablate, read_ablation


def add_arguments(_parser: argparse.ArgumentParser) -> None:
    """There are none."""


def run(_arguments: argparse.Namespace) -> int:
    """Train and measure each variant that has not been measured yet; print the table. Returns 0.

    Raises:
        DvergeError: what a variant starts from, or CIFAR-10, is not on this machine.
    """
    with tqdm(total=1.0, bar_format="{l_bar}{bar}| {elapsed}<{remaining}") as bar:
        for title, share in ablate():
            if bar.desc != f"{title}: ":
                bar.reset()
                bar.set_description(title)
            bar.update(share - bar.n)
    print(to_markdown(ablation_frame(read_ablation())))
    return 0
