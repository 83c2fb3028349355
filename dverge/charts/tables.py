"""Results as tables for the screen and for papers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd

from dverge.evaluation.naming import attack_title, model_title, victim_title
from dverge.results import Result

LATEX_SIGNS = str.maketrans(
    {"\\": r"\textbackslash{}", "∞": r"$\infty$", "–": "--"}
    | {sign: rf"\{sign}" for sign in "&%$#_{}"}
)


def result_frame(results: Iterable[Result]) -> pd.DataFrame:
    """A row for each result; accuracies in per cent."""
    return pd.DataFrame(
        [
            {
                "Ensemble": result.checkpoint,
                "Model": model_title(result.model),
                "Attack": attack_title(result.attack, result.parameters),
                "Follows": victim_title(result.parameters.get("victim", ""), result.attack) or "–",
                "Accuracy": result.accuracy,
                "95 % from": result.ci_low,
                "to": result.ci_high,
                "Images": result.n,
                "Split": str(result.split),
                "Protocol": str(result.protocol),
                "Restarts": result.parameters.get("restarts", 1),
                "Seed": result.seed,
                "Seconds": result.seconds,
                "Device": result.device,
            }
            for result in results
        ]
    )


def to_markdown(frame: pd.DataFrame) -> str:
    """A frame as a Markdown table."""
    rows = [list(frame.columns), ["---"] * len(frame.columns), *_cells(frame)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def to_latex(frame: pd.DataFrame) -> str:
    """A frame as a LaTeX tabular (with booktabs)."""
    columns = "".join("r" if pd.api.types.is_numeric_dtype(kind) else "l" for kind in frame.dtypes)
    head, *body = (_latex_line(row) for row in (list(frame.columns), *_cells(frame)))
    lines = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", head, r"\midrule", *body]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _latex_line(cells: Sequence[str]) -> str:
    return " & ".join(cell.translate(LATEX_SIGNS) for cell in cells) + r" \\"


def _cells(frame: pd.DataFrame) -> list[list[str]]:
    return [
        [f"{value:.2f}" if isinstance(value, float) else str(value) for value in row]
        for row in frame.itertuples(index=False)
    ]
