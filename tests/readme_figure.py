"""The README's figure of the results, from the shipped ones: `python -m tests.readme_figure`."""

from __future__ import annotations

from pathlib import Path

import altair as alt

from dverge import checkpoints
from dverge.charts.robustness import eps_chart, eps_frame
from dverge.charts.style import ensemble_colour
from dverge.evaluation.protocols import Protocol
from dverge.evaluation.store import all_results
from dverge.results import headlines

ROOT = Path(__file__).parents[1]
FILE = ROOT / ".github" / "accuracy-by-eps.svg"
SHOWN = {
    "vanilla-3xconv-s0": "vanilla",
    "dverge-3xconv-s0": "DVERGE",
    "dverge-advt-3xconv-s0": "DVERGE+AdvT",
    "advt-3xconv-s0": "AdvT",
    "advt-3xconv-s0-tuned": "tuned",
}
"""The checkpoints by their titles in the figure."""


def results_figure() -> alt.LayerChart:
    """Accuracy of the shipped mixtures against the budget of PGD, with 95 % bands."""
    figures, colours = {}, {}
    for name, title in SHOWN.items():
        info = checkpoints.read(ROOT / "checkpoints" / name)
        (kept,) = [each for each in all_results(info) if each.protocol is Protocol.CURVE]
        figures[title] = headlines(kept.results)
        colours[title] = ensemble_colour(name, info.card.method)
    frame = eps_frame(figures)
    chart = eps_chart(frame[frame["kind"] == "mixture"], colours, columns=len(SHOWN))
    return chart.properties(width=640, height=320)


if __name__ == "__main__":
    results_figure().save(str(FILE))
