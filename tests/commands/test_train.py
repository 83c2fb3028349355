"""`python -m dverge train`: each method, its settings, resuming; bad input starts no run."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from dverge import checkpoints
from dverge.__main__ import main
from dverge.runs import RunFolder, RunState, Status, execute
from dverge.training import PRESETS, Method, VanillaConfig
from tests.runs.small import load_images

Output = pytest.CaptureFixture[str]
Refusal = Callable[[list[str]], str]


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
    folder: Path, refusal: Refusal, arguments: list[str], message: str
) -> None:
    assert message in refusal(["train", "vanilla", *arguments])
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
        (["dverge", "--from", "resnet"], "architecture is 'resnet20'; it must be 'conv'"),
        (["dverge", "--from", "broken"], "broken/card.json cannot be used"),
        (["dverge", "--from", "."], "is no checkpoint: it has no card.json"),
        (
            ["dverge", "--from", "good", "--members", "4"],
            "members is 4; checkpoint 'good' to start from has 3. Ask for fewer",
        ),
        (["advt", "--from", "good", "--members", "4"], "checkpoint 'good' to start from has 3"),
    ],
)
def test_bad_settings_of_the_other_methods_start_no_run(
    folder: Path, odd: None, refusal: Refusal, arguments: list[str], message: str
) -> None:
    assert message in refusal(["train", *arguments])
    assert not (folder / "runs").exists()


@pytest.fixture
def small_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings take their images from the bundled sample."""
    monkeypatch.setattr("dverge.commands.train.execute", partial(execute, load_images=load_images))


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
def test_resume_of_no_run(folder: Path, refusal: Refusal, run_id: str) -> None:
    (folder / "runs").mkdir()
    assert f"there is no run {run_id!r}" in refusal(["train", "resume", run_id])


@pytest.fixture
def run(folder: Path) -> RunFolder:
    config = VanillaConfig(device="cpu", epochs=1, members=1)
    return RunFolder.create(folder / "runs", "mine", "vanilla", config.to_dict())


def test_resume_of_a_finished_run(run: RunFolder, refusal: Refusal) -> None:
    run.write_status(Status(RunState.FINISHED))
    assert "has finished already" in refusal(["train", "resume", run.id])


def test_resume_of_a_run_in_use(run: RunFolder, refusal: Refusal) -> None:
    with FileLock(run.lock_path):
        message = refusal(["train", "resume", run.id])
    assert f"run {run.id} is in use by another process" in message


def test_resume_of_a_broken_run(run: RunFolder, refusal: Refusal) -> None:
    (run.path / "status.json").write_text("{")
    assert "status.json cannot be used" in refusal(["train", "resume", run.id])


def test_without_the_data_training_says_how_to_get_it(folder: Path, capsys: Output) -> None:
    assert main(["train", "vanilla", "--device", "cpu"]) == 2
    last = capsys.readouterr().err.splitlines()[-1]  # above it stands the progress bar
    assert last.startswith("dverge: The train images need all of CIFAR-10")
    assert "python -m dverge data" in last
    (run,) = (folder / "runs").iterdir()
    assert RunFolder(run).status().state is RunState.FAILED
    assert f"python -m dverge train resume {run.name}" in last
