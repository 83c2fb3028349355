"""python -m dverge: what it answers, and that bad input is one clear line and exit status 2."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock

from dverge import checkpoints
from dverge.__main__ import main
from dverge.models import Conv, Ensemble
from dverge.runs import RunFolder, RunState, Status, execute
from dverge.training import CONFIGS, PRESETS, Method, VanillaConfig
from tests.runs.small import load_images

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


@pytest.fixture
def odd(good: checkpoints.CheckpointInfo) -> None:
    """Beside the good checkpoint of three members, others that will not do to start from."""
    for name, text in (("resnet", '"resnet20"'), ("broken", "]")):
        shutil.copytree(good.folder, good.folder.with_name(name))
        card = good.folder.with_name(name) / "card.json"
        card.write_text(card.read_text().replace('"conv"', text))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["dverge", "--members", "1"], "members is 1; it must be a whole number from 2 to 8"),
        (["dverge", "--members", "9"], "members is 9; it must be a whole number from 2 to 8"),
        (["dverge", "--layer", "6"], "layer is '6'; it must be one of epoch, batch, 1, 2, 3, 4, 5"),
        (["dverge", "--alpha", "nan"], "alpha is nan; it must be a number from 0 to 100"),
        (["dverge", "--alpha", "-1"], "alpha is -1.0; it must be a number from 0 to 100"),
        (["dverge", "--distill-eps", "2"], "distill_eps is 2.0; it must be a number from 0 to 1"),
        (["dverge", "--distill-steps", "0"], "distill_steps is 0"),
        (["dverge", "--distill-momentum", "inf"], "distill_momentum is inf"),
        (["dverge", "--diversity", "eq2"], "diversity is 'eq2'; it must be one of eq4, eq3"),
        (["dverge", "--preset", "eq3", "--cap", "-1"], "cap is -1.0; it must be a number from 0"),
        (["dverge", "--snapshot-every", "-1"], "snapshot_every is -1"),
        (["dverge-advt", "--members", "1"], "members is 1; it must be a whole number from 2 to 8"),
        (["dverge-advt", "--adv-steps", "0"], "adv_steps is 0; it must be a whole number from 1"),
        (["dverge-advt", "--adv-weight", "nan"], "adv_weight is nan"),
        (["advt", "--adv-eps", "1.5"], "adv_eps is 1.5; it must be a number from 0 to 1"),
        (["advt", "--attacked", "all"], "attacked is 'all'; it must be one of members, mixture"),
        (["dverge", "--from", "no"], "there is no checkpoint 'no'; those there are: good"),
        (["dverge", "--from", "resnet"], "its architecture is 'resnet20', not 'conv'"),
        (["dverge", "--from", "broken"], "checkpoint 'broken' cannot be used"),
        (["dverge", "--from", "."], "is no checkpoint: it has no card.json"),
        (
            ["dverge", "--from", "good", "--members", "4"],
            "members is 4; checkpoint 'good' to start from has 3. Ask for fewer",
        ),
        (["advt", "--from", "good", "--members", "4"], "checkpoint 'good' to start from has 3"),
    ],
)
def test_bad_settings_of_the_other_methods_start_no_run(
    folder: Path, odd: None, capsys: Output, arguments: list[str], message: str
) -> None:
    assert message in refusal(["train", *arguments], capsys)
    assert not (folder / "runs").exists()


@pytest.fixture
def small_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings take their images from the bundled sample."""
    monkeypatch.setattr("dverge.__main__.execute", partial(execute, load_images=load_images))


TINY = ["--epochs", "1", "--training-images", "64", "--members", "2", "--device", "cpu"]
SHORT: dict[str, list[str]] = {
    "vanilla": [],
    "dverge": ["--distill-steps", "2"],
    "dverge-advt": ["--distill-steps", "2", "--adv-steps", "2"],
    "advt": ["--adv-steps", "2"],
}


def trained(name: str, method: str, *options: str) -> checkpoints.CheckpointInfo:
    """What a training in this terminal leaves."""
    assert main(["train", method, "--name", name, *TINY, *SHORT[method], *options]) == 0
    return checkpoints.read(checkpoints.find(name))


@pytest.mark.parametrize("method", Method)
def test_each_method_leaves_a_checkpoint(
    method: Method, folder: Path, small_data: None, capsys: Output
) -> None:
    info = trained("mine", method)
    assert capsys.readouterr().out == "checkpoint mine is ready\n"
    assert info.card.method == method
    assert len(checkpoints.load(info)) == 2
    (row,) = checkpoints.read_history(info)
    terms = {"vanilla": ["clean"], "dverge": ["diversity"], "advt": ["adversarial"]}
    assert list(row["terms"]) == terms.get(method, ["diversity", "adversarial"])
    assert (row["layer"] in range(1, 6)) is method.startswith("dverge")
    report = PRESETS[method]["report"].to_dict()
    given = {"epochs": 1, "training_images": 64, "members": 2, "device": "cpu"}
    changed = {k for k, v in info.card.config.items() if v != {**report, **given}[k]}
    assert changed == {option[2:].replace("-", "_") for option in SHORT[method][::2]}
    (run,) = (folder / "runs").iterdir()
    assert RunFolder(run).status().state is RunState.FINISHED


@pytest.mark.parametrize("method", ["dverge", "dverge-advt", "advt"])
def test_from_a_checkpoint(
    method: str, good: checkpoints.CheckpointInfo, small_data: None, capsys: Output
) -> None:
    """At the smallest rate it is still the checkpoint that it started from."""
    info = trained("mine", method, "--from", "good", "--learning-rate", "1e-8")
    assert info.card.config["start"] == "good"
    assert info.card.config["start_digest"] == good.digest
    started, fresh = checkpoints.load(good), checkpoints.load(trained("fresh", method))
    for found, other, due in zip(
        checkpoints.load(info).members, fresh.members, started.members, strict=False
    ):
        torch.testing.assert_close(found.state_dict(), due.state_dict(), rtol=0, atol=1e-5)
        assert not other.get_parameter("fc1.weight").allclose(due.get_parameter("fc1.weight"))


@pytest.mark.parametrize("method", ["dverge-advt", "advt"])
def test_switches_go_both_ways(method: str, small_data: None, capsys: Output) -> None:
    without = trained("without", method, "--no-adv-random-start")
    assert without.card.config["adv_random_start"] is False
    assert trained("with", method, "--adv-random-start").card.config["adv_random_start"] is True
    assert trained("default", method).card.config["adv_random_start"] is True


def test_a_preset_with_a_setting_of_ones_own(small_data: None, capsys: Output) -> None:
    config = trained("mine", "dverge", "--preset", "eq3", "--cap", "7", "--layer", "2").card.config
    assert (config["diversity"], config["cap"], config["layer"]) == ("eq3", 7, "2")
    assert config["clean_weight"] == 1


def test_snapshots(folder: Path, small_data: None, capsys: Output) -> None:
    trained("mine", "dverge", "--epochs", "3", "--snapshot-every", "1")
    names = [info.name for info in checkpoints.list_all()[0]]
    assert names == ["mine", "mine-e1", "mine-e2"]


def test_a_training_that_diverges_says_why(folder: Path, small_data: None, capsys: Output) -> None:
    options = ["--diversity", "eq3", "--learning-rate", "1", "--alpha", "50", "--epochs", "50"]
    command = ["train", "dverge", *TINY, *SHORT["dverge"], "--training-images", "100", *options]
    assert main(command) == 2
    last = capsys.readouterr().err.splitlines()[-1]  # above it stands the progress bar
    assert last.startswith("dverge: the loss of submodel")
    assert "the loss of Eq. 3 has no lower bound. Set a cap" in last
    assert checkpoints.list_all() == ([], [])


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


# --- bench ---


def test_bench(folder: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dverge.benchmark.ROUNDS", 2)
    monkeypatch.setattr("dverge.benchmark.ROUND_SECONDS", 0.0)
    monkeypatch.setattr("dverge.benchmark.ATTACKED_IMAGES", 16)
    distill: dict[str, Any] = {"distill_steps": 1}
    attack: dict[str, Any] = {"adv_steps": 1}
    monkeypatch.setattr(
        "dverge.benchmark.CONFIGS",
        {
            Method.VANILLA: VanillaConfig,
            Method.ADVT: partial(CONFIGS[Method.ADVT], **attack),
            Method.DVERGE: partial(CONFIGS[Method.DVERGE], **distill),
            Method.DVERGE_ADVT: partial(CONFIGS[Method.DVERGE_ADVT], **distill, **attack),
        },
    )
    assert main(["bench", "--device", "cpu", "--json", "rows.json"]) == 0
    printed = capsys.readouterr().out.splitlines()
    rows = json.loads((folder / "rows.json").read_text())
    layers = [(row["method"], row["layer"]) for row in rows]
    distilled = [(method, layer) for method in ("dverge", "dverge-advt") for layer in range(1, 6)]
    assert layers == [("vanilla", None), ("advt", None), *distilled]
    assert "on cpu, 1 threads" in printed[0]
    for row, line in zip(rows, printed[2:-5], strict=True):
        assert (row["device"], row["threads"]) == ("cpu", 1)
        assert row["plain_ms"] > 0 and row["engine_ms"] > 0
        assert row["ratio_low"] <= row["ratio"] <= row["ratio_high"]
        assert row["images_per_second"] == pytest.approx(3 * 32 * 1000 / row["engine_ms"])
        assert line.split()[:3] == [
            row["method"],
            str(row["layer"] or "-"),
            f"{row['plain_ms']:.1f}",
        ]
    for method, line in zip(Method, printed[-5:-1], strict=True):
        plain = [row["plain_ms"] for row in rows if row["method"] == method]
        assert line.startswith(f"{method}: {sum(plain) / len(plain):.1f} ms plain, ")
    assert printed[-1].startswith("PGD of 10 steps on the mixture of 3 members")


@pytest.mark.parametrize("device", ["cuda:9", "tpu"])
def test_bench_on_a_device_that_is_not_here(device: str, capsys: Output) -> None:
    assert f"device is '{device}'" in refusal(["bench", "--device", device], capsys)


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
        (["train", "vanilla", "--from", "good"], "--from"),
        (["train", "vanilla", "--alpha", "1"], "--alpha"),
        (["train", "dverge", "--adv-steps", "1"], "--adv-steps"),
        (["train", "dverge", "--alpha", "much"], "--alpha"),
        (["train", "dverge", "--start-digest", "ab"], "--start-digest"),
    ],
)
def test_bad_usage(capsys: Output, arguments: list[str], message: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["data"],
        ["train"],
        ["train", "resume"],
        *(["train", str(method)] for method in Method),
        ["import"],
        ["export"],
        ["bench"],
    ],
)
def test_every_command_has_help(capsys: Output, command: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*command, "--help"])
    assert ended.value.code == 0
    assert "usage: python -m dverge" in capsys.readouterr().out


@pytest.mark.parametrize("method", Method)
def test_every_setting_has_an_option(method: Method, capsys: Output) -> None:
    with pytest.raises(SystemExit):
        main(["train", method, "--help"])
    printed = capsys.readouterr().out
    names = {field.name for field in fields(CONFIGS[method])} - {"start", "start_digest"}
    assert all(f"--{name.replace('_', '-')}" in printed for name in names)
    assert ("--from" in printed) is (method is not Method.VANILLA)
    assert "--start" not in printed


def test_as_a_program(folder: Path) -> None:
    repository = Path(__file__).parents[2]
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
