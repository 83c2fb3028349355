"""Tables for the screen and for papers, against results and tables made by hand."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pandas as pd

from dverge.charts.tables import result_frame, to_latex, to_markdown
from dverge.results import Result


def result(model: str, attack: str, accuracy: float, **parameters: Any) -> Result:
    ends = accuracy - 1.25, accuracy + 1.5
    figures = Result(model, attack, "test", 500, accuracy, *ends, parameters, seconds=2.5)
    source = replace(figures, checkpoint="vanilla_3-s0", protocol="standard", seed=7)
    return replace(source, device="CPU, 2 threads")


RESULTS = [
    result("mixture", "clean", 66.5),
    result("mixture", "pgd-linf", 3.125, eps=8 / 255, steps=50, restarts=3, victim="worst"),
    result("member-2", "pgd-l2", 40.0, eps=0.5, steps=50, victim="member-2"),
]


def test_a_row_for_each_result() -> None:
    frame = result_frame(RESULTS)
    assert frame.to_dict("records") == [
        {
            "Ensemble": "vanilla_3-s0",
            "Model": model,
            "Attack": attack,
            "Follows": follows,
            "Accuracy": accuracy,
            "95 % from": accuracy - 1.25,
            "to": accuracy + 1.5,
            "Images": 500,
            "Split": "test",
            "Protocol": "standard",
            "Restarts": restarts,
            "Seed": 7,
            "Seconds": 2.5,
            "Device": "CPU, 2 threads",
        }
        for model, attack, follows, accuracy, restarts in [
            ("mixture", "no attack", "–", 66.5, 1),
            ("mixture", "PGD L∞ 8/255, 50 steps", "worst of all", 3.125, 3),
            ("submodel 2", "PGD L2 0.5, 50 steps", "submodel 2", 40.0, 1),
        ]
    ]


def test_no_results_are_an_empty_frame() -> None:
    frame = result_frame([])
    assert frame.empty
    assert to_markdown(frame) and to_latex(frame)


def test_every_line_of_the_markdown_has_a_cell_for_each_column() -> None:
    frame = result_frame(RESULTS)
    lines = to_markdown(frame).splitlines()
    assert len(lines) == 2 + len(RESULTS)
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert {len(line) for line in cells} == {len(frame.columns)}
    assert cells[0] == list(frame.columns) and set(cells[1]) == {"---"}
    attack = "PGD L∞ 8/255, 50 steps"
    assert cells[3][:6] == ["vanilla_3-s0", "mixture", attack, "worst of all", "3.12", "1.88"]


def unescaped(sign: str, text: str) -> int:
    return len(re.findall(rf"(?<!\\){re.escape(sign)}", text))


def test_the_latex_has_a_cell_for_each_column_and_its_signs_are_escaped() -> None:
    frame = result_frame(RESULTS)
    lines = to_latex(frame).splitlines()
    form = re.fullmatch(r"\\begin\{tabular\}\{([lr]+)\}", lines[0])
    assert form and len(form[1]) == len(frame.columns)
    numeric = [pd.api.types.is_numeric_dtype(kind) for kind in frame.dtypes]
    assert form[1] == "".join("r" if number else "l" for number in numeric)
    assert (lines[1], lines[3], lines[-2]) == (r"\toprule", r"\midrule", r"\bottomrule")
    assert lines[-1] == r"\end{tabular}"
    body = [lines[2], *lines[4:-2]]
    assert len(body) == 1 + len(RESULTS)
    for line in body:
        assert line.endswith(r" \\") and unescaped("&", line) == len(frame.columns) - 1
        assert not any(unescaped(sign, line) for sign in "%#_{}")
        assert unescaped("$", line) % 2 == 0
        assert line.isascii()
    assert r"vanilla\_3-s0" in body[1] and r"95 \% from" in body[0]
    assert r"PGD L$\infty$ 8/255, 50 steps" in body[2]
    assert "--" in body[1]


def test_latex_signs_of_all_kinds_are_escaped_once() -> None:
    frame = pd.DataFrame({"a_b": [r"50 % & $3 #1 {x} \y"]})
    line = to_latex(frame).splitlines()[4]
    assert line == r"50 \% \& \$3 \#1 \{x\} \textbackslash{}y \\"
