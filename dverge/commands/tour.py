"""`python -m dverge tour`: choose the guided tour's pictures again."""

from __future__ import annotations

import argparse

from dverge.exploration.tour import choose_tour, write_tour


def add_arguments(_parser: argparse.ArgumentParser) -> None:
    """There are none."""


def run(_arguments: argparse.Namespace) -> int:
    """Choose, ship the choice, and print it. Returns 0.

    Raises:
        CheckpointError: a checkpoint is missing, or no image shows all that the tour says.
    """
    tour = choose_tour()
    write_tour(tour)
    print(
        f"The tour shows test image {tour.image}, the first of {tour.fitting} that fit, and "
        f"the pair {tour.source}, {tour.target}, the first of {tour.pairs_fitting}."
    )
    return 0
