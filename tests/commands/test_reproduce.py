"""python -m dverge reproduce: what it prints, writes, verifies and trains."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from dverge import checkpoints
from dverge.__main__ import main
from dverge.charts.report_document import report_markdown
from dverge.checkpoints import CheckpointInfo
from dverge.data import ImageSet, Split, load
from dverge.errors import CheckpointError
from dverge.evaluation.evaluation import Evaluation
from dverge.evaluation.protocols import EvaluationConfig, Protocol
from dverge.reproduction.claims import judge_all
from dverge.reproduction.matching import reproduce
from dverge.reproduction.verification import Verification, verify
from dverge.runs import RETRAINED, RunFolder, execute
from dverge.training import VanillaConfig, config_from
from tests.reproduction.report_shelf import COLUMNS, epochs_of, measure, trained
from tests.runs.small import load_images

Output = pytest.CaptureFixture[str]
ROOT = Path(__file__).parents[2]
VANILLA, DVERGE = "vanilla-3xconv-s0", "dverge-3xconv-s0"


@pytest.fixture
def two(folder: Path) -> Path:
    """A vanilla and a DVERGE training with results made by hand and histories of 30 epochs."""
    root = folder / "checkpoints"
    losses = [2 - 0.01 * i for i in range(30)]
    history = epochs_of([losses] * 3, losses)
    for name, method, epochs in ((VANILLA, "vanilla", 30), (DVERGE, "dverge", 200)):
        info = trained(root, name, method, epochs, history=history)
        for protocol in (Protocol.REPORT, Protocol.STANDARD):
            measure(info, protocol, dict.fromkeys(COLUMNS, (100, 200, 300, 400)))
    return root


def document() -> str:
    reproduction = reproduce(checkpoints.list_all()[0])
    return report_markdown(reproduction, judge_all(reproduction))


# --- what it prints and writes ---


def test_everything_is_printed_and_written_where_it_is_asked_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    """Of the shipped checkpoints."""
    monkeypatch.setenv("DVERGE_CHECKPOINTS", str(ROOT / "checkpoints"))
    options = ["--markdown", "a.md", "--json", "b.json", "--figures", "drawn"]
    assert main(["reproduce", *options]) == 0
    printed = capsys.readouterr()
    assert printed.err == "" and printed.out.startswith(document())
    history = ROOT / "checkpoints" / DVERGE / "history.jsonl"
    assert f"Figure 3: curves from {history}" in printed.out
    assert (folder / "a.md").read_text() == document()
    value = json.loads((folder / "b.json").read_text())
    assert value["headline"] in document() and "verification" not in value
    names = sorted(file.name for file in (folder / "drawn").iterdir())
    assert names == sorted(f"figure-{n}.{e}" for n in (2, 3, 4) for e in ("html", "json"))
    spec = json.loads((folder / "drawn" / "figure-4.json").read_text())
    assert "dverge-advt-3xconv-s0" in spec["title"]["text"]


def test_markdown_without_a_file_is_what_is_printed_anyway(two: Path, capsys: Output) -> None:
    assert main(["reproduce", "--markdown"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(document())
    assert "history.jsonl (of 30 epochs only)" in printed and "drawn" not in printed


def test_without_a_checkpoint_it_says_so(folder: Path, capsys: Output) -> None:
    assert main(["reproduce", "--figures", "drawn"]) == 0
    printed = capsys.readouterr().out
    assert "None of the report's 60 figures has been measured here yet." in printed
    assert "Figure 2: there is no training of this kind here yet." in printed
    assert list((folder / "drawn").iterdir()) == []


def test_a_broken_checkpoint_and_a_broken_history_cost_only_themselves(
    two: Path, capsys: Output
) -> None:
    (two / "foreign").mkdir()
    (two / DVERGE / "history.jsonl").write_text("{")
    assert main(["reproduce"]) == 0
    printed = capsys.readouterr().out
    assert "foreign is left out." in printed
    assert "A file is left out: " in printed and "history.jsonl, line 1, cannot be used" in printed
    assert "28 of the report's 60 figures that were measured here" in printed
    assert f"Figure 2: curves from {two / VANILLA}" in printed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--json", "."], "--json is .; it must be a file"),
        (["--json", "gone/x.json"], "it must be a file in a folder that exists"),
        (["--markdown", "gone/x.md"], "--markdown is gone/x.md"),
        (["--verify", "--images", "0"], "images is 0; it must be a whole number from 1"),
        (["--images", "5"], "--images goes with --verify"),
        (["--seed", "5"], "--seed goes with --retrain"),
    ],
)
def test_bad_options_are_one_line(capsys: Output, options: list[str], message: str) -> None:
    assert main(["reproduce", *options]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1
    assert message in printed.err


# --- verify ---


@pytest.fixture
def verifications(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """What is verified; of DVERGE, one outcome in fifty differs."""
    calls: list[tuple[str, int]] = []

    def verify(info: CheckpointInfo, most: int) -> Iterator[Verification | float]:
        calls.append((info.name, most))
        yield 0.5
        turned = 2 if "dverge" in info.name else 0
        yield Verification(info.name, Protocol.STANDARD, Split.TEST, most, 100, turned, turned)

    monkeypatch.setattr("dverge.commands.reproduce.verify", verify)
    return calls


def test_results_that_differ_are_reported_and_end_with_1(
    two: Path, folder: Path, capsys: Output, verifications: list[tuple[str, int]]
) -> None:
    assert main(["reproduce", "--verify", "--images", "7", "--json", "b.json"]) == 1
    assert verifications == [(VANILLA, 7), (DVERGE, 7)]
    printed = capsys.readouterr().out
    assert f"{VANILLA}, protocol standard, 7 test images: 0 of 100 outcomes differ" in printed
    assert f"{DVERGE}, protocol standard, 7 test images: 2 of 100 outcomes" in printed
    assert "THEY DIFFER" in printed
    value = json.loads((folder / "b.json").read_text())
    assert [each["turned"] for each in value["verification"]] == [0, 2]


def test_results_that_come_back_end_with_0(two: Path, verifications: list[tuple[str, int]]) -> None:
    shutil.rmtree(two / DVERGE)
    assert main(["reproduce", "--verify"]) == 0
    assert verifications == [(VANILLA, 100)]


def test_weights_that_cannot_be_used_end_with_1(
    two: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    def verify(info: CheckpointInfo, most: int) -> Any:
        raise CheckpointError(f"{info.name} is broken.")

    monkeypatch.setattr("dverge.commands.reproduce.verify", verify)
    assert main(["reproduce", "--verify"]) == 1
    printed = capsys.readouterr().out
    assert f"{VANILLA} is broken." in printed and f"{DVERGE} is broken." in printed


def test_it_is_really_measured(
    folder: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On forty images of the sample, in the place of the validation images."""

    def images(split: Split) -> ImageSet:
        sample = load(Split.SAMPLE).balanced(40)
        return ImageSet(split, sample.images, sample.labels, sample.indices)

    monkeypatch.setattr("dverge.commands.reproduce.verify", partial(verify, load_images=images))
    trained(folder / "checkpoints", VANILLA, "vanilla", 30)
    config = EvaluationConfig((VANILLA,), Protocol.REPORT, Split.VALIDATION, 40)
    assert list(Evaluation(config, images).run())
    assert main(["reproduce", "--verify"]) == 0
    line = f"{VANILLA}, protocol report, 40 validation images: 0 of 640 outcomes differ"
    assert line in capsys.readouterr().out


# --- retrain ---


@pytest.mark.parametrize("seed", [None, 4])
def test_a_table_is_trained_again_with_its_cards_settings(
    seed: int | None, folder: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the bundled sample, by settings that take a moment."""
    config = VanillaConfig(epochs=1, training_images=64, members=2, device="cpu", seed=9)

    def retraining(what: str, infos: Any, seed: int | None) -> VanillaConfig:
        assert what == "table-1"
        return config if seed is None else VanillaConfig(**(config.to_dict() | {"seed": seed}))

    monkeypatch.setattr("dverge.commands.train.execute", partial(execute, load_images=load_images))
    monkeypatch.setattr("dverge.commands.reproduce.retraining", retraining)
    options = [] if seed is None else ["--seed", str(seed)]
    assert main(["reproduce", "--retrain", "table-1", *options]) == 0
    assert "is ready" in capsys.readouterr().out
    (info,) = checkpoints.list_all()[0]
    expected = config.to_dict() | ({} if seed is None else {"seed": seed})
    assert info.card.config == expected
    assert info.name == f"vanilla-2xconv-s{expected['seed']}-1"


def test_the_run_has_the_cards_settings_and_a_new_name(folder: Path, capsys: Output) -> None:
    """Without the full data it fails, but what it would have trained is written down."""
    source = ROOT / "checkpoints" / DVERGE
    shutil.copytree(source, folder / "checkpoints" / DVERGE)
    shutil.copytree(ROOT / "checkpoints" / VANILLA, folder / "checkpoints" / VANILLA)
    assert main(["reproduce", "--retrain", "table-2"]) == 2
    (run,) = (folder / "runs").iterdir()
    spec = RunFolder(run).spec()
    card = checkpoints.read(source).card
    assert (spec.kind, spec.name) == (card.method, f"{DVERGE}-2")
    assert spec.config == config_from(spec.kind, card.config).to_dict()
    assert "python -m dverge data" in capsys.readouterr().err


def test_what_cannot_be_retrained_is_refused(folder: Path, capsys: Output) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["reproduce", "--retrain", "table-9"])
    assert ended.value.code == 2 and "table-9" in capsys.readouterr().err
    assert main(["reproduce", "--retrain", "table-2"]) == 2
    assert "no vanilla submodels of 30 epochs" in capsys.readouterr().err
    assert not (folder / "runs").exists()


def test_help_names_all_that_can_be_retrained(capsys: Output) -> None:
    with pytest.raises(SystemExit):
        main(["reproduce", "--help"])
    printed = capsys.readouterr().out
    assert all(what in printed for what in RETRAINED)
