"""python -m dverge reproduce: what it prints, writes, verifies and trains."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from dverge import checkpoints
from dverge.__main__ import main
from dverge.charts.report_document import all_statements, report_markdown
from dverge.data import ImageSet, Split, load
from dverge.errors import CheckpointError
from dverge.evaluation.evaluation import Evaluation
from dverge.evaluation.protocols import EvaluationConfig, Protocol
from dverge.reproduction.figures import reproduce_figures
from dverge.reproduction.reproduction import reproduce
from dverge.reproduction.verification import Verification, verify
from dverge.runs import RETRAINED, RunFolder, execute
from dverge.training import VanillaConfig, config_from
from tests.reproduction.report_shelf import COLUMNS, epochs_of, measure, trained
from tests.runs.small import load_images

Output = pytest.CaptureFixture[str]
ROOT = Path(__file__).parents[2]
VANILLA = "vanilla-3xconv-s0"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place for all that the command reads and writes; also the working directory."""
    for kind in ("RUNS", "CHECKPOINTS", "DATA"):
        monkeypatch.setenv(f"DVERGE_{kind}", str(tmp_path / kind.lower()))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def shipped(folder: Path) -> Path:
    shutil.copytree(ROOT / "checkpoints", folder / "checkpoints")
    return folder / "checkpoints"


@pytest.fixture
def two(folder: Path) -> Path:
    """A vanilla and a DVERGE training with figures made by hand."""
    root = folder / "checkpoints"
    losses = [2 - 0.01 * i for i in range(30)]
    history = epochs_of([losses] * 3, losses)
    for name, method, epochs in ((VANILLA, "vanilla", 30), ("dverge-3xconv-s0", "dverge", 200)):
        info = trained(root, name, method, epochs, history=history)
        for protocol in (Protocol.REPORT, Protocol.STANDARD):
            measure(info, protocol, dict.fromkeys(COLUMNS, (100, 200, 300, 400)))
    return root


def document() -> str:
    infos = checkpoints.list_all()[0]
    found, figures = reproduce(infos), reproduce_figures(infos)
    return report_markdown(found, figures, all_statements(found, figures))


# --- what it prints and writes ---


def test_it_prints_the_document_and_where_the_curves_are(shipped: Path, capsys: Output) -> None:
    assert main(["reproduce"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert printed.out.startswith(document())
    curves = printed.out[len(document()) :]
    history = shipped / "dverge-3xconv-s0" / "history.jsonl"
    assert f"Figure 3: curves from {history}" in curves
    assert "drawn" not in curves


def test_everything_is_written_where_it_is_asked_for(
    shipped: Path, folder: Path, capsys: Output
) -> None:
    options = ["--markdown", "a.md", "--json", "b.json", "--figures", "drawn"]
    assert main(["reproduce", *options]) == 0
    assert (folder / "a.md").read_text() == document()
    value = json.loads((folder / "b.json").read_text())
    assert value["headline"] in document()
    assert "verification" not in value
    names = sorted(file.name for file in (folder / "drawn").iterdir())
    assert names == sorted(f"figure-{n}.{e}" for n in (2, 3, 4) for e in ("html", "json"))
    spec = json.loads((folder / "drawn" / "figure-4.json").read_text())
    assert "dverge-advt-3xconv-s0" in spec["title"]["text"]


def test_markdown_without_a_file_is_what_is_printed_anyway(two: Path, capsys: Output) -> None:
    assert main(["reproduce", "--markdown"]) == 0
    assert capsys.readouterr().out.startswith(document())


def test_without_a_checkpoint_it_says_so(folder: Path, capsys: Output) -> None:
    assert main(["reproduce", "--figures", "drawn"]) == 0
    printed = capsys.readouterr().out
    assert "None of the report's 60 figures has been measured here yet." in printed
    assert "Figure 2: there is no training of this kind here yet." in printed
    assert list((folder / "drawn").iterdir()) == []


def test_a_short_history_is_said_to_be_one(two: Path, capsys: Output) -> None:
    assert main(["reproduce"]) == 0
    assert "history.jsonl (of 30 epochs only)" in capsys.readouterr().out


def test_a_broken_checkpoint_is_named(two: Path, capsys: Output) -> None:
    (two / "foreign").mkdir()
    assert main(["reproduce"]) == 0
    assert "foreign is left out." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--json", "."], "--json is .; it must be a file"),
        (["--json", "gone/x.json"], "it must be a file in a folder that is there"),
        (["--markdown", "gone/x.md"], "--markdown is gone/x.md"),
        (["--verify", "--images", "0"], "images is 0; it must be a whole number from 1"),
        (["--images", "5"], "--images goes with --verify"),
        (["--seed", "5"], "--seed goes with --retrain"),
    ],
)
def test_bad_options_are_one_line(
    two: Path, capsys: Output, options: list[str], message: str
) -> None:
    assert main(["reproduce", *options]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1
    assert message in printed.err


def test_a_broken_history_is_one_line(two: Path, capsys: Output) -> None:
    (two / "dverge-3xconv-s0" / "history.jsonl").write_text("{")
    assert main(["reproduce"]) == 2
    assert "its history.jsonl cannot be read" in capsys.readouterr().err


# --- verify ---


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """What is verified; of DVERGE, one outcome in fifty comes out otherwise."""
    asked: list[tuple[str, int]] = []

    def verify(info: checkpoints.CheckpointInfo, most: int) -> Any:
        asked.append((info.name, most))
        yield 0.5
        turned = 2 if "dverge" in info.name else 0
        about = (info.name, Protocol.STANDARD, Split.TEST, most)
        yield Verification(*about, outcomes=100, turned=turned, turned_images=turned)

    monkeypatch.setattr("dverge.commands.reproduce.verify", verify)
    return asked


def test_figures_that_differ_are_told_and_end_with_1(
    two: Path, folder: Path, capsys: Output, asked: list[tuple[str, int]]
) -> None:
    assert main(["reproduce", "--verify", "--images", "7", "--json", "b.json"]) == 1
    assert asked == [(VANILLA, 7), ("dverge-3xconv-s0", 7)]
    printed = capsys.readouterr().out
    assert f"{VANILLA}, protocol standard, 7 test images: 0 of 100 outcomes differ" in printed
    assert "dverge-3xconv-s0, protocol standard, 7 test images: 2 of 100 outcomes" in printed
    assert "THEY DIFFER" in printed
    value = json.loads((folder / "b.json").read_text())
    assert [each["turned"] for each in value["verification"]] == [0, 2]


def test_figures_that_come_back_end_with_0(
    two: Path, capsys: Output, asked: list[tuple[str, int]]
) -> None:
    shutil.rmtree(two / "dverge-3xconv-s0")
    assert main(["reproduce", "--verify"]) == 0
    assert asked == [(VANILLA, 100)]


def test_weights_that_cannot_be_used_end_with_1(
    two: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    def verify(info: checkpoints.CheckpointInfo, most: int) -> Any:
        raise CheckpointError(f"{info.name} is broken.")
        yield

    monkeypatch.setattr("dverge.commands.reproduce.verify", verify)
    assert main(["reproduce", "--verify"]) == 1
    printed = capsys.readouterr().out
    assert f"{VANILLA} is broken." in printed and "dverge-3xconv-s0 is broken." in printed


def test_it_is_really_measured(
    folder: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On forty images of the sample that stand for the validation images."""

    def images(split: Split) -> ImageSet:
        sample = load(Split.SAMPLE).balanced(40)
        return ImageSet(split, sample.images, sample.labels, sample.indices)

    monkeypatch.setattr("dverge.commands.reproduce.verify", partial(verify, load_images=images))
    trained(folder / "checkpoints", VANILLA, "vanilla", 30)
    config = EvaluationConfig((VANILLA,), Protocol.REPORT, Split.VALIDATION, 40)
    assert list(Evaluation(config, images).run())
    assert main(["reproduce", "--verify"]) == 0
    said = f"{VANILLA}, protocol report, 40 validation images: 0 of 640 outcomes differ"
    assert said in capsys.readouterr().out


# --- retrain ---


@pytest.fixture
def small_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings take their images from the bundled sample."""
    monkeypatch.setattr("dverge.__main__.execute", partial(execute, load_images=load_images))


@pytest.mark.parametrize(("what", "seed"), [("table-1", []), ("table-1", ["--seed", "4"])])
def test_a_table_is_trained_again_with_its_cards_settings(
    what: str,
    seed: list[str],
    folder: Path,
    small_data: None,
    capsys: Output,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = VanillaConfig(epochs=1, training_images=64, members=2, device="cpu", seed=9)

    def retraining(name: str, infos: Any, seed: int | None) -> VanillaConfig:
        assert name == what
        return config if seed is None else VanillaConfig(**(config.to_dict() | {"seed": seed}))

    monkeypatch.setattr("dverge.__main__.retraining", retraining)
    assert main(["reproduce", "--retrain", what, *seed]) == 0
    assert "is ready" in capsys.readouterr().out
    (info,) = checkpoints.list_all()[0]
    due = config.to_dict() | ({"seed": 4} if seed else {})
    assert info.card.config == due
    assert info.name == f"vanilla-2xconv-s{4 if seed else 9}-1"


def test_the_run_has_the_cards_settings_and_a_new_name(
    shipped: Path, folder: Path, capsys: Output
) -> None:
    """Without the full data it fails, but what it would have trained is written down."""
    assert main(["reproduce", "--retrain", "table-2"]) == 2
    (run,) = (folder / "runs").iterdir()
    spec = RunFolder(run).spec()
    card = checkpoints.read(shipped / "dverge-3xconv-s0").card
    assert spec.kind == card.method
    assert spec.config == config_from(spec.kind, card.config).to_dict()
    assert spec.name == "dverge-3xconv-s0-2"
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
