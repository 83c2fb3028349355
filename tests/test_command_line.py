"""python -m dverge: what it answers, and that bad input is one clear line and exit status 2."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from dverge import checkpoints
from dverge.__main__ import main
from dverge.models import Conv, Ensemble
from dverge.runs import RunFolder, RunState, Status
from dverge.training import VanillaConfig

Output = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place for all that the commands read and write; also the working directory."""
    for kind in ("RUNS", "CHECKPOINTS", "DATA"):
        monkeypatch.setenv(f"DVERGE_{kind}", str(tmp_path / kind.lower()))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def good(folder: Path, ensemble: Ensemble) -> checkpoints.CheckpointInfo:
    return checkpoints.save("good", ensemble, method="vanilla")


def refusal(arguments: list[str], capsys: Output) -> str:
    """The one line on standard error of a command that must fail."""
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("dverge: ")
    assert printed.err.count("\n") == 1
    assert printed.err.endswith("\n")
    return printed.err


# --- import and export ---


def test_export_then_import(folder: Path, good: checkpoints.CheckpointInfo, capsys: Output) -> None:
    assert main(["export", "good", "--to", str(folder / "out")]) == 0
    files = capsys.readouterr().out.splitlines()
    assert files == [str(folder / "out" / f"good-member-{i}.pth") for i in (1, 2, 3)]

    assert main(["import", *files, "--name", "again"]) == 0
    said = capsys.readouterr().out
    assert said == f"checkpoint again with 3 members is in {folder / 'checkpoints' / 'again'}\n"
    assert checkpoints.read(folder / "checkpoints" / "again").digest == good.digest


def test_export_goes_to_the_working_directory(
    folder: Path, good: checkpoints.CheckpointInfo, capsys: Output
) -> None:
    assert main(["export", str(good.folder)]) == 0
    assert (folder / "good-member-1.pth").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["import", "nowhere.pth", "--name", "x"], "there is no file nowhere.pth"),
        (["import", "text.pth", "--name", "x"], "text.pth is no file of weights"),
        (["import", "whole.pth", "--name", "x"], "is refused: it holds something other"),
        (["import", "list.pth", "--name", "x"], "list.pth holds no state dict"),
        (["import", "weights.pth", "--name", "../x"], "name is '../x'"),
        (["import", "weights.pth", "--name", ""], "name is ''"),
        (["import", "weights.pth", "--name", "good"], "'good' is there already"),
        (["import", "weights.pth", "nowhere.pth", "--name", "x"], "there is no file nowhere.pth"),
        (["import", ".", "--name", "x"], "Is a directory"),
        (["export", "nope"], "there is no checkpoint 'nope'; those there are: good"),
        (["export", "checkpoints"], "is no checkpoint: it has no card.json"),
        (["export", "x" * 300], "File name too long"),
        (["export", "good", "--to", "text.pth"], "text.pth"),
        (["export", "good", "--to", "text.pth/below"], "Not a directory"),
    ],
)
def test_bad_imports_and_exports(
    folder: Path,
    good: checkpoints.CheckpointInfo,
    capsys: Output,
    arguments: list[str],
    message: str,
) -> None:
    (folder / "text.pth").write_text("hello")
    torch.save(Conv(), folder / "whole.pth")  # the whole model instead of its state dict
    torch.save([1, 2], folder / "list.pth")
    torch.save(Conv().state_dict(), folder / "weights.pth")
    assert message in refusal(arguments, capsys)
    assert [info.name for info in checkpoints.list_all()[0]] == ["good"]


def test_a_second_export_overwrites_nothing(
    good: checkpoints.CheckpointInfo, capsys: Output
) -> None:
    assert main(["export", "good"]) == 0
    capsys.readouterr()
    assert "good-member-1.pth is there already" in refusal(["export", "good"], capsys)


# --- train and resume ---


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--batch-size", "0"], "batch_size is 0; it must be a whole number from 1 to 48,976"),
        (["--batch-size", "64", "--training-images", "32"], "batch_size is 64"),
        (["--training-images", "60000"], "training_images is 60000"),
        (["--members", "17"], "members is 17; it must be a whole number from 1 to 16"),
        (["--epochs", "-1"], "epochs is -1"),
        (["--learning-rate", "nan"], "learning_rate is nan"),
        (["--learning-rate", "inf"], "learning_rate is inf"),
        (["--momentum", "1"], "momentum is 1.0"),
        (["--schedule", "wavy"], "schedule is 'wavy'; it must be one of constant, cosine, steps"),
        (["--augmentation", "all"], "augmentation is 'all'"),
        (["--seed", "-3"], "seed is -3"),
        (["--device", "cuda:9"], "device is 'cuda:9', but this machine has"),
        (["--device", "tpu"], "device is 'tpu'; it must be auto, cpu, cuda or cuda:N"),
        (["--device", "cpu:"], "device is 'cpu:'"),
        (["--device", "cuda:²"], "device is 'cuda:²'"),
        (["--name", "../x"], "name is '../x'"),
        (["--preset", "quick", "--batch-size", "10001"], "batch_size is 10001"),
    ],
)
def test_bad_settings_start_no_run(
    folder: Path, capsys: Output, arguments: list[str], message: str
) -> None:
    assert message in refusal(["train", "vanilla", *arguments], capsys)
    assert not (folder / "runs").exists()


@pytest.mark.parametrize("run_id", ["nope", "", ".", "..", "a/b", "20260101-000000-abcd", "\0"])
def test_resume_of_no_run(folder: Path, capsys: Output, run_id: str) -> None:
    (folder / "runs").mkdir()
    assert f"there is no run {run_id!r}" in refusal(["train", "resume", run_id], capsys)


@pytest.fixture
def run(folder: Path) -> RunFolder:
    config = VanillaConfig(device="cpu", epochs=1, members=1)
    return RunFolder.create(folder / "runs", "mine", "vanilla", config.to_dict())


def test_resume_of_a_finished_run(run: RunFolder, capsys: Output) -> None:
    run.write_status(Status(RunState.FINISHED))
    assert "has finished already" in refusal(["train", "resume", run.id], capsys)


def test_resume_of_a_run_in_use(run: RunFolder, capsys: Output) -> None:
    with FileLock(run.lock_path):
        message = refusal(["train", "resume", run.id], capsys)
    assert f"run {run.id} is in use by another process" in message


def test_resume_of_a_broken_run(run: RunFolder, capsys: Output) -> None:
    (run.path / "status.json").write_text("{")
    assert "its status.json cannot be read" in refusal(["train", "resume", run.id], capsys)


def test_without_the_data_training_says_how_to_get_it(folder: Path, capsys: Output) -> None:
    assert main(["train", "vanilla", "--device", "cpu"]) == 2
    last = capsys.readouterr().err.splitlines()[-1]  # above it stands the progress bar
    assert last.startswith("dverge: The train images need all of CIFAR-10")
    assert "python -m dverge data" in last
    (run,) = (folder / "runs").iterdir()
    assert RunFolder(run).status().state is RunState.FAILED
    assert f"python -m dverge train resume {run.name}" in last


# --- the parser ---


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "COMMAND"),
        (["dance"], "dance"),
        (["train"], "KIND"),
        (["import", "x.pth"], "--name"),
        (["import", "--name", "x"], "FILE.pth"),
        (["export"], "checkpoint"),
        (["train", "vanilla", "--epochs", "many"], "--epochs"),
        (["train", "vanilla", "--preset", "slow"], "--preset"),
    ],
)
def test_bad_usage(capsys: Output, arguments: list[str], message: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "command", [[], ["data"], ["train"], ["train", "vanilla"], ["import"], ["export"]]
)
def test_every_command_has_help(capsys: Output, command: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*command, "--help"])
    assert ended.value.code == 0
    assert "usage: python -m dverge" in capsys.readouterr().out


def test_as_a_program(folder: Path) -> None:
    repository = Path(__file__).parents[1]
    ended = subprocess.run(
        [sys.executable, "-m", "dverge", "export", "nope"],
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr == "dverge: there is no checkpoint 'nope'; those there are: none.\n"
