"""`python -m dverge import` and `export`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dverge import checkpoints
from dverge.__main__ import main
from dverge.models import Conv

Output = pytest.CaptureFixture[str]
Refusal = Callable[[list[str]], str]


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
    refusal: Refusal,
    arguments: list[str],
    message: str,
) -> None:
    (folder / "text.pth").write_text("hello")
    torch.save(Conv(), folder / "whole.pth")  # the whole model instead of its state dict
    torch.save([1, 2], folder / "list.pth")
    torch.save(Conv().state_dict(), folder / "weights.pth")
    assert message in refusal(arguments)
    assert [info.name for info in checkpoints.list_all()[0]] == ["good"]


def test_a_second_export_overwrites_nothing(
    good: checkpoints.CheckpointInfo, capsys: Output, refusal: Refusal
) -> None:
    assert main(["export", "good"]) == 0
    capsys.readouterr()
    assert "good-member-1.pth is there already" in refusal(["export", "good"])
