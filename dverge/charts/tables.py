"""Result rows as tables for the screen and for papers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd

from dverge.evaluation.naming import attack_title, model_title, victim_title
from dverge.results import Result

LATEX_SIGNS = str.maketrans(
    {"\\": r"\textbackslash{}", "∞": r"$\infty$", "–": "--"}
    | {sign: rf"\{sign}" for sign in "&%$#_{}"}
)


def result_frame(rows: Iterable[Result]) -> pd.DataFrame:
    """A line a result; accuracies in per cent."""
    return pd.DataFrame(
        [
            {
                "Ensemble": row.checkpoint,
                "Model": model_title(row.model),
                "Attack": attack_title(row.attack, row.parameters),
                "Follows": victim_title(row.parameters.get("victim", "")) or "–",
                "Accuracy": row.accuracy,
                "95 % from": row.ci_low,
                "to": row.ci_high,
                "Images": row.n,
                "Split": str(row.split),
                "Protocol": str(row.protocol),
                "Restarts": row.parameters.get("restarts", 1),
                "Seed": row.seed,
                "Seconds": row.seconds,
                "Device": row.device,
            }
            for row in rows
        ]
    )


def to_markdown(frame: pd.DataFrame) -> str:
    """A frame as a Markdown table."""
    lines = [list(frame.columns), ["---"] * len(frame.columns), *_cells(frame)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def to_latex(frame: pd.DataFrame) -> str:
    """A frame as a LaTeX tabular (with booktabs)."""
    form = "".join("r" if pd.api.types.is_numeric_dtype(kind) else "l" for kind in frame.dtypes)
    body = [_latex_line(line) for line in _cells(frame)]
    head = _latex_line(list(frame.columns))
    parts = [rf"\begin{{tabular}}{{{form}}}", r"\toprule", head, r"\midrule", *body]
    return "\n".join([*parts, r"\bottomrule", r"\end{tabular}", ""])


def _latex_line(cells: Sequence[str]) -> str:
    return " & ".join(cell.translate(LATEX_SIGNS) for cell in cells) + r" \\"


def _cells(frame: pd.DataFrame) -> list[list[str]]:
    return [[_text(value) for value in line] for line in frame.itertuples(index=False)]


def _text(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)
