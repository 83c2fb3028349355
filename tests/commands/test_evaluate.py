"""python -m dverge evaluate: rows in the terminal and as JSON, and errors of one line."""

from __future__ import annotations

import importlib.util
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dverge import checkpoints
from dverge.__main__ import main
from dverge.attacks import Norm, Victim, fgsm, pgd
from dverge.data import Split, load
from dverge.evaluation.evaluation import Evaluation
from dverge.evaluation.measurements import Batch, Clean, Measurement, ProjectedGradient
from dverge.evaluation.protocols import PLANS, EvaluationConfig, Protocol
from dverge.models import Ensemble, seeded_conv

Output = pytest.CaptureFixture[str]
SHIPPED = Path(__file__).parents[2] / "checkpoints" / "vanilla-3xconv-s0"
FEW = ["--protocol", "curve", "--split", "sample", "--images", "20", "--device", "cpu"]


def small(seed: int) -> list[Measurement]:
    config = pgd(Norm.LINF, 0.005, steps=2, restarts=2, seed=seed)
    return [Clean(), ProjectedGradient("fgsm", fgsm(0.005)), ProjectedGradient("pgd-linf", config)]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place for all that the command reads and writes, with two checkpoints and a short curve."""
    for kind in ("RUNS", "CHECKPOINTS", "DATA"):
        monkeypatch.setenv(f"DVERGE_{kind}", str(tmp_path / kind.lower()))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(PLANS, Protocol.CURVE, replace(PLANS[Protocol.CURVE], measurements=small))
    unwanted = shutil.ignore_patterns("evaluations")
    shutil.copytree(SHIPPED, tmp_path / "checkpoints" / "good", ignore=unwanted)
    two = Ensemble(list(checkpoints.load(SHIPPED).members)[1:])
    checkpoints.save("two", two, method="vanilla")
    return tmp_path


def refusal(arguments: list[str], capsys: Output) -> str:
    """The one line on standard error of a command that must fail before it begins."""
    assert main(["evaluate", *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("dverge: ")
    assert printed.err.count("\n") == 1 and printed.err.endswith("\n")
    return printed.err


def rows_in(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(path.read_text())
    return rows


def test_rows_as_json(folder: Path, capsys: Output) -> None:
    assert main(["evaluate", "good", "two", *FEW, "--seed", "4", "--json", "rows.json"]) == 0
    rows = rows_in(folder / "rows.json")
    images = load(Split.SAMPLE).balanced(20)
    config = EvaluationConfig(("good", "two"), Protocol.CURVE, Split.SAMPLE, 20, 4, "cpu")
    due = [row.to_dict() for rows in Evaluation(config).run() for row in rows or []]  # as kept
    assert rows == due
    assert [row["checkpoint"] for row in rows] == ["good"] * 19 + ["two"] * 16
    for row in rows:
        kinds = {"model": str, "attack": str, "n": int, "accuracy": float, "seconds": float}
        assert all(type(row[name]) is kind for name, kind in kinds.items())
        assert 0 <= row["ci_low"] <= row["accuracy"] <= row["ci_high"] <= 100
        assert (row["split"], row["n"], row["seed"]) == ("sample", 20, 4)
        assert row["data"] == images.digest
        assert row["weights"] == checkpoints.read(folder / "checkpoints" / row["checkpoint"]).digest
        assert row["protocol"] == "curve" and row["device"].startswith("CPU")
        assert row.keys().isdisjoint({"held", "answers"})
        eps = {"clean": None, "fgsm": 0.005, "pgd-linf": 0.005}[row["attack"]]
        assert row["parameters"].get("eps") == eps
        assert row["attack"] == "clean" or row["parameters"]["victim"]
    ensemble = checkpoints.load("good")
    with torch.no_grad():
        shares = ensemble(images.pixels()).exp()
    right = (shares.argmax(1) == images.labels).double().mean().item()
    (clean,) = (r for r in rows[:5] if (r["model"], r["attack"]) == ("mixture", "clean"))
    assert clean["accuracy"] == pytest.approx(100 * right)


def test_rows_in_the_terminal(folder: Path, capsys: Output) -> None:
    assert main(["evaluate", "two", *FEW, "--json", "rows.json"]) == 0
    first, head, *lines = capsys.readouterr().out.splitlines()
    digest = load(Split.SAMPLE).balanced(20).digest
    assert first.startswith(f"Protocol curve, 20 sample images (digest {digest[:12]}), seed 0, CPU")
    assert head.split()[:3] == ["checkpoint", "model", "attack"]
    rows = rows_in(folder / "rows.json")
    assert len(lines) == len(rows)
    for line, row in zip(lines, rows, strict=True):
        assert line.split()[:3] == ["two", row["model"], row["attack"]]
        figure = f"{row['accuracy']:.2f} ({row['ci_low']:.2f}–{row['ci_high']:.2f})"
        assert f" {figure} " in line
        assert ("eps 0.005" in line) is (row["attack"] != "clean")
        assert ("steps 2" in line) is (row["attack"] == "pgd-linf")
    assert sum("(members)" in line for line in lines) == 2


def test_the_second_time_nothing_is_measured(
    folder: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["evaluate", "two", *FEW, "--json", "rows.json"]) == 0
    printed = capsys.readouterr().out

    def refuse(*given: Any) -> Tensor:
        raise AssertionError("something is measured")

    monkeypatch.setattr("dverge.evaluation.evaluation.Batch", refuse)
    assert main(["evaluate", "two", *FEW, "--json", "again.json"]) == 0
    assert capsys.readouterr().out == printed
    assert (folder / "again.json").read_text() == (folder / "rows.json").read_text()


def test_a_folder_of_ones_own(folder: Path, capsys: Output) -> None:
    (folder / "checkpoints" / "two").rename(folder / "Elsewhere")
    assert main(["evaluate", "./Elsewhere", *FEW]) == 0
    assert "Elsewhere" in capsys.readouterr().out
    assert [path.name for path in (folder / "Elsewhere" / "evaluations").iterdir()]


def test_a_failure_keeps_the_other_rows(folder: Path, capsys: Output) -> None:
    (folder / "checkpoints" / "good" / "member-3.safetensors").write_bytes(b"junk")
    assert main(["evaluate", "good", "two", *FEW, "--json", "rows.json"]) == 2
    printed = capsys.readouterr()
    last = printed.err.splitlines()[-1]  # above it stands the bar
    assert last.startswith("dverge: checkpoint 'good' cannot be used: member-3.safetensors does")
    assert printed.err.count("dverge: ") == 1
    rows = rows_in(folder / "rows.json")
    assert {row["checkpoint"] for row in rows} == {"two"}
    assert len(rows) == 16
    assert sum(line.startswith("two ") for line in printed.out.splitlines()) == 16


def test_each_failure_is_told_in_the_line(folder: Path, capsys: Output) -> None:
    for name in ("good", "two"):
        (folder / "checkpoints" / name / "member-1.safetensors").write_bytes(b"junk")
    assert main(["evaluate", "good", "two", *FEW, "--json", "rows.json"]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert "checkpoint 'good' cannot be used" in last and "checkpoint 'two' cannot be used" in last
    assert rows_in(folder / "rows.json") == []


def test_interrupted_it_leaves_the_rows_there_are(
    folder: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = ProjectedGradient.changed

    def changed(
        self: ProjectedGradient, ensemble: Ensemble, batch: Batch, victim: Victim, restart: int
    ) -> Tensor:
        if self.attack == "pgd-linf":
            raise KeyboardInterrupt
        return before(self, ensemble, batch, victim, restart)

    monkeypatch.setattr(ProjectedGradient, "changed", changed)
    assert main(["evaluate", "two", *FEW, "--json", "rows.json"]) == 130
    rows = rows_in(folder / "rows.json")
    assert {row["attack"] for row in rows} == {"clean", "fgsm"}
    monkeypatch.setattr(ProjectedGradient, "changed", before)
    assert main(["evaluate", "two", *FEW, "--json", "rows.json"]) == 0
    assert rows_in(folder / "rows.json")[: len(rows)] == rows


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "checkpoints is ''; it must be at least one checkpoint"),
        (["nope"], "there is no checkpoint 'nope'; those there are: good, two"),
        (["two", "nope"], "there is no checkpoint 'nope'"),
        (["checkpoints"], "is no checkpoint: it has no card.json"),
        (["broken"], "broken/card.json cannot be used"),
        (["two", "letters"], "checkpoint 'letters' classifies into other classes than CIFAR-10's"),
        (["two", "--images", "0"], "images is 0; it must be a whole number from 1 to 10,000"),
        (["two", "--images", "1001"], "images is 1,001; the sample split has 1,000. Ask for fewer"),
        (["two", "--images", "10001"], "images is 10001"),
        (["two", "--seed", "-1"], "seed is -1"),
        (["two", "--device", "tpu"], "device is 'tpu'; it must be auto, cpu, cuda or cuda:N"),
        (["two", "--device", "cuda:99"], "device is 'cuda:99', but this machine has"),
        (["two", "--split", "validation"], "python -m dverge data"),
        (
            ["two", "--json", "nowhere/rows.json"],
            "--json is nowhere/rows.json; it must be a file",
        ),
    ],
)
def test_what_cannot_be_measured(
    folder: Path, capsys: Output, arguments: list[str], message: str
) -> None:
    shutil.copytree(folder / "checkpoints" / "two", folder / "checkpoints" / "letters")
    for name, card in (("letters", None), ("broken", "{")):
        path = folder / "checkpoints" / name / "card.json"
        path.parent.mkdir(exist_ok=True)
        value = card or json.dumps(
            json.loads((folder / "checkpoints" / "two" / "card.json").read_text())
            | {"classes": list("abcdefghij")}
        )
        path.write_text(value)
    given = [*FEW, *arguments]
    found = refusal(given, capsys)
    assert message.replace("good, two", "good, letters, two") in found
    assert not list(folder.rglob("evaluations"))
    assert not (folder / "rows.json").exists()


def test_without_autoattack(capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *given: None)
    arguments = ["two", "--protocol", "autoattack", "--split", "sample"]
    assert refusal(arguments, capsys) == (
        "dverge: AutoAttack is not installed; install it with: pip install pyautoattack==0.2.0\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["two", "--protocol", "best"], "--protocol"),
        (["two", "--split", "train"], "--split"),
        (["two", "--images", "many"], "--images"),
        (["two", "--seed", "x"], "--seed"),
    ],
)
def test_bad_usage(capsys: Output, arguments: list[str], message: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", *arguments])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_help(capsys: Output) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", "--help"])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    for option in ("--protocol", "--images", "--split", "--seed", "--device", "--json"):
        assert option in printed
    assert all(str(protocol) in printed for protocol in Protocol)


def test_warnings_are_told_once(
    folder: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Doubtful(ProjectedGradient):
        def changed(self, ensemble: Ensemble, batch: Batch, victim: Victim, restart: int) -> Tensor:
            batch.warnings[:] = ["this may mislead"]
            return super().changed(ensemble, batch, victim, restart)

    plan = PLANS[Protocol.CURVE]
    doubtful = replace(plan, measurements=lambda seed: [Clean(), Doubtful("fgsm", fgsm(0.01))])
    monkeypatch.setitem(PLANS, Protocol.CURVE, doubtful)
    assert main(["evaluate", "two", *FEW, "--json", "rows.json"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "warning: this may mislead"
    warned = [row.get("warnings") for row in rows_in(folder / "rows.json")]
    assert warned == [None] * 4 + [["this may mislead"]] * 6


def test_the_reports_protocol_is_of_the_validation_images(
    folder: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Ensemble([seeded_conv(0)])
    checkpoints.save("one", one, method="vanilla")
    assert "The validation images need all of CIFAR-10" in refusal(
        ["one", "--protocol", "report"], capsys
    )
    given = ["--protocol", "report", "--split", "sample", "--images", "10", "--device", "cpu"]
    assert main(["evaluate", "one", *given, "--json", "rows.json"]) == 0
    rows = rows_in(folder / "rows.json")
    attacks = ["clean"] * 3 + ["fgsm"] * 2 + ["pgd-linf"] * 2 + ["pgd-l2"] * 2
    assert [row["attack"] for row in rows] == attacks
    assert {row["n"] for row in rows} == {10} and rows[0]["parameters"] == {}


def test_what_an_older_measurement_misses_is_said_until_it_is_measured_again(
    folder: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["evaluate", "two", *FEW]) == 0
    newer = replace(PLANS[Protocol.CURVE], version=99, change="the steps are longer")
    monkeypatch.setitem(PLANS, Protocol.CURVE, newer)
    line = "two: earlier results of this protocol do not count any more: the steps are longer"
    capsys.readouterr()
    for said in (1, 0):
        assert main(["evaluate", "good", "two", *FEW]) == 0
        assert capsys.readouterr().out.splitlines().count(line) == said
