"""Plain weight files are imported and exported whole, and anything else is refused by name."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dverge import checkpoints
from dverge.__main__ import main
from dverge.checkpoints import CheckpointInfo
from dverge.data import CLASSES
from dverge.errors import CheckpointError, ConfigError
from dverge.models import Conv, Ensemble, seeded_conv
from dverge.weights import export_weights, import_weights
from tests.test_checkpoints import names
from tests.test_damaged_checkpoints import Weights, flip_a_byte


@pytest.fixture
def plain(tmp_path: Path, ensemble: Ensemble) -> list[Path]:
    """The members' plain state dicts, by both of torch's ways to write them."""
    files = [tmp_path / f"plain-{i}.pth" for i in range(len(ensemble))]
    for i, (file, member) in enumerate(zip(files, ensemble.members, strict=True)):
        torch.save(member.state_dict(), file, _use_new_zipfile_serialization=i > 0)
    return files


def test_imported_weights_predict_the_same(
    root: Path, plain: list[Path], ensemble: Ensemble, images: Tensor
) -> None:
    info = import_weights(plain, "imported")
    assert info.card.method == "imported"
    assert info.card.config == {"files": ["plain-0.pth", "plain-1.pth", "plain-2.pth"]}
    assert checkpoints.load("imported")(images).equal(ensemble(images))


def test_what_was_exported_is_imported_unchanged(saved: CheckpointInfo, tmp_path: Path) -> None:
    files = export_weights(saved, tmp_path / "out" / "deep")
    assert [file.name for file in files] == [f"good-member-{i}.pth" for i in (1, 2, 3)]
    assert names(tmp_path / "out" / "deep") == [file.name for file in files]
    assert import_weights(files, "again").digest == saved.digest
    fresh = Conv()
    fresh.load_state_dict(torch.load(files[0], weights_only=True))


def test_export_overwrites_nothing(saved: CheckpointInfo, tmp_path: Path) -> None:
    (tmp_path / "good-member-3.pth").write_text("mine")
    with pytest.raises(CheckpointError, match=r"good-member-3\.pth is there already"):
        export_weights(saved, tmp_path)
    assert names(tmp_path) == ["checkpoints", "good-member-3.pth"]
    assert (tmp_path / "good-member-3.pth").read_text() == "mine"


def test_a_failed_export_leaves_no_half_file(
    saved: CheckpointInfo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(value: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        export_weights(saved, tmp_path / "out")
    assert names(tmp_path / "out") == []


def test_a_broken_checkpoint_is_not_exported(saved: CheckpointInfo, tmp_path: Path) -> None:
    flip_a_byte(saved.folder)
    with pytest.raises(CheckpointError, match="does not match"):
        export_weights(saved, tmp_path / "out")
    assert names(tmp_path / "out") == []


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, sprung: Path) -> None:
        self.sprung = sprung

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.sprung,)


@pytest.mark.parametrize("by_torch", [True, False])
@pytest.mark.parametrize("beside_weights", [True, False])
def test_code_in_a_file_is_refused_and_never_run(
    root: Path, tmp_path: Path, by_torch: bool, beside_weights: bool
) -> None:
    sprung, file = tmp_path / "sprung", tmp_path / "trap.pth"
    content = {**Conv().state_dict(), "x": Trap(sprung)} if beside_weights else Trap(sprung)
    if by_torch:
        torch.save(content, file)
        torch.load(file, weights_only=False)
    else:
        file.write_bytes(pickle.dumps(content, protocol=2))
        pickle.loads(file.read_bytes())
    assert sprung.exists()  # the trap works
    sprung.unlink()

    with pytest.raises(CheckpointError, match="is refused: it holds something other than tensors"):
        import_weights([file], "trapped")
    assert not sprung.exists()
    assert names(root) == []


def with_bias(value: Tensor) -> Weights:
    return {**seeded_conv(0).state_dict(), "fc3.bias": value}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"weight": torch.zeros(1)}, r"another architecture than Conv: missing \['conv1\.bias'"),
        ({}, "another architecture than Conv"),
        ({"model": {"conv1.weight": torch.zeros(1)}}, "holds no state dict"),
        ({1: torch.zeros(1), "a": torch.zeros(1)}, "holds no state dict"),
        ([torch.zeros(1)], "holds no state dict"),
        (torch.zeros(3), "holds no state dict"),
        (None, "holds no state dict"),
        (with_bias(torch.zeros(3)), r"fc3\.bias has shape \(3,\) and not \(10,\)"),
        (with_bias(torch.full((10,), torch.inf)), r"fc3\.bias holds values that are not finite"),
        (with_bias(torch.full((10,), 1e300, dtype=torch.float64)), "not finite numbers"),
        (with_bias(torch.zeros(10).to_sparse()), "not finite numbers"),
        (with_bias(torch.zeros(10, device="meta")), "not finite numbers"),
        (with_bias(torch.zeros(10, dtype=torch.complex64)), "not finite numbers"),
    ],
    ids=lambda content: content if isinstance(content, str) else type(content).__name__,
)
@pytest.mark.filterwarnings("ignore:Validating sparse tensor")
def test_other_contents_are_refused(root: Path, tmp_path: Path, content: Any, message: str) -> None:
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=message):
        import_weights([tmp_path / "x.pth"], "x")
    assert names(root) == []


@pytest.mark.parametrize(
    "content",
    [b"", b"just some text\n" * 20, b".", b"}q\x00X", b"\x89PNG\r\n\x1a\n" * 9, b"PK\x03\x04junk"],
)
def test_files_that_are_no_weights_are_refused(root: Path, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"x\.pth is (no file of weights|refused)"):
        import_weights([tmp_path / "x.pth"], "x")


def test_a_cut_file_is_refused(root: Path, tmp_path: Path, plain: list[Path]) -> None:
    for file in plain[:2]:
        file.write_bytes(file.read_bytes()[:-5000])
        with pytest.raises(CheckpointError, match=rf"{file.name} is no file of weights"):
            import_weights([file], "x")


def test_no_file_or_a_folder_is_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"there is no file .*nowhere\.pth"):
        import_weights([tmp_path / "nowhere.pth"], "x")
    with pytest.raises(CheckpointError, match=r"cannot be read \(Is a directory\)"):
        import_weights([tmp_path], "x")
    with pytest.raises(ConfigError, match="at least one member"):
        import_weights([], "x")


def test_one_bad_file_fails_the_import(root: Path, plain: list[Path]) -> None:
    plain[2].write_text("text")
    with pytest.raises(CheckpointError, match=r"plain-2\.pth"):
        import_weights(plain, "x")
    assert names(root) == []


# --- the names of the outputs ---

LETTERS = list("abcdefghij")


def test_classes_are_on_the_card(root: Path, plain: list[Path]) -> None:
    info = import_weights(plain, "letters", classes=LETTERS)
    assert info.card.classes == LETTERS
    assert checkpoints.read(info.folder) == info
    assert json.loads((info.folder / "card.json").read_text())["classes"] == LETTERS
    assert import_weights(plain, "tuple", classes=CLASSES).card.classes == list(CLASSES)


def test_without_classes_they_are_those_of_cifar(
    root: Path, plain: list[Path], saved: CheckpointInfo
) -> None:
    assert import_weights(plain, "plain").card.classes == []
    assert saved.card.classes == []
    card = json.loads((saved.folder / "card.json").read_text())
    del card["classes"]  # as in older ones
    (saved.folder / "card.json").write_text(json.dumps(card))
    assert checkpoints.read(saved.folder) == saved


@pytest.mark.parametrize("classes", [["a"], LETTERS[:9], [*LETTERS, "k"]])
def test_classes_must_be_ten(root: Path, plain: list[Path], classes: list[str]) -> None:
    with pytest.raises(ConfigError, match=f"classes is '{','.join(classes)}'; it must be 10 names"):
        import_weights(plain, "x", classes=classes)
    assert names(root) == []


def test_classes_do_not_change_the_weights(
    root: Path, plain: list[Path], images: Tensor, tmp_path: Path
) -> None:
    """A state dict cannot hold them: they are stated again when it is imported."""
    first = import_weights(plain, "letters", classes=LETTERS)
    files = export_weights(first, tmp_path / "out")
    again = import_weights(files, "again", classes=LETTERS)
    assert again.digest == first.digest == import_weights(files, "none").digest
    assert again.card.classes == LETTERS
    assert checkpoints.load(again)(images).equal(checkpoints.load(first)(images))


def test_classes_by_the_command(
    root: Path, plain: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    files = [str(file) for file in plain]
    classes = ", ".join(LETTERS)
    assert main(["import", *files, "--name", "letters", "--classes", classes]) == 0
    assert checkpoints.read(root / "letters").card.classes == LETTERS
    assert main(["import", *files, "--name", "plain"]) == 0
    assert checkpoints.read(root / "plain").card.classes == []
    capsys.readouterr()
    assert main(["import", *files, "--name", "two", "--classes", "cat,dog"]) == 2
    printed = capsys.readouterr()
    assert printed.err == (
        "dverge: classes is 'cat,dog'; it must be 10 names in the outputs' order.\n"
    )
    assert names(root) == ["letters", "plain"]
