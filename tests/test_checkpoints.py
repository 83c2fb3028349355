"""Ensembles on disk: what is written comes back, and what is damaged is refused by name."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from dverge import checkpoints
from dverge.__main__ import main
from dverge.checkpoints import CheckpointInfo
from dverge.data import CLASSES
from dverge.errors import CheckpointError, ConfigError
from dverge.models import Conv, Ensemble, seeded_conv

FIRST = "member-1.safetensors"
Weights = dict[str, Tensor]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "checkpoints"
    monkeypatch.setenv("DVERGE_CHECKPOINTS", str(folder))
    return folder


@pytest.fixture
def saved(root: Path, ensemble: Ensemble) -> CheckpointInfo:
    return checkpoints.save("good", ensemble, method="vanilla")


def same_weights(first: Ensemble, second: Ensemble) -> bool:
    one, other = first.state_dict(), second.state_dict()
    return one.keys() == other.keys() and all(one[name].equal(other[name]) for name in one)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def edit_card(folder: Path, **changes: Any) -> None:
    path = folder / "card.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def rewrite_member(folder: Path, change: Callable[[Weights], Weights]) -> None:
    """Change a member's weights and make the card's digest right again."""
    path = folder / FIRST
    # A copy: the loaded tensors are mapped to the file that is about to be replaced.
    weights = {name: value.clone() for name, value in safetensors.torch.load_file(path).items()}
    path.write_bytes(safetensors.torch.save(change(weights)))
    card = json.loads((folder / "card.json").read_text())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    edit_card(folder, members={**card["members"], FIRST: digest})


# --- whole checkpoints ---


def test_round_trip(root: Path, ensemble: Ensemble, images: Tensor) -> None:
    details: dict[str, Any] = {
        "seed": 7,
        "config": {"epochs": 3, "schedule": "cosine"},
        "data_digest": "ab" * 32,
        "versions": {"torch": "2.15.0"},
        "device": "CPU, 2 threads",
        "training_seconds": 12.5,
        "results": [{**dict.fromkeys(checkpoints.RESULT_FIELDS, 1), "model": "mixture"}],
    }
    row: dict[str, Any] = {key: [2.3, 2.2] for key in checkpoints.HISTORY_FIELDS}
    history = [{**row, "epoch": 1}, {**row, "epoch": 2, "extra": 3}]
    written = checkpoints.save("three", ensemble, method="vanilla", history=history, **details)

    info = checkpoints.read(root / "three")
    assert info == written
    assert info.card.method == "vanilla"
    assert info.card.architecture == "conv"
    assert {name: getattr(info.card, name) for name in details} == details
    assert checkpoints.read_history(info) == history
    files = [f"member-{i}.safetensors" for i in (1, 2, 3)]
    assert names(info.folder) == ["card.json", "history.jsonl", *files]
    for file in files:
        expected = hashlib.sha256((info.folder / file).read_bytes()).hexdigest()
        assert info.card.members[file] == expected

    loaded = checkpoints.load(info)
    assert same_weights(loaded, ensemble)
    assert loaded(images).equal(ensemble(images))
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    assert not any(parameter.is_meta for parameter in loaded.parameters())


def test_saving_leaves_the_ensemble_as_it_was(root: Path, ensemble: Ensemble) -> None:
    ensemble.train()
    before = {name: value.clone() for name, value in ensemble.state_dict().items()}
    checkpoints.save("x", ensemble, method="vanilla")
    assert ensemble.training
    assert all(parameter.requires_grad for parameter in ensemble.parameters())
    assert all(before[name].equal(value) for name, value in ensemble.state_dict().items())


def test_more_than_nine_members_keep_their_order(root: Path) -> None:
    many = Ensemble([seeded_conv(seed) for seed in range(11)])
    checkpoints.save("many", many, method="vanilla")
    assert same_weights(checkpoints.load("many"), many)


def test_equal_weights_have_equal_digests(saved: CheckpointInfo, ensemble: Ensemble) -> None:
    twin = checkpoints.save("twin", ensemble, method="dverge", seed=3)
    other = checkpoints.save("other", Ensemble(list(ensemble.members)[:2]), method="vanilla")
    assert twin.digest == saved.digest != other.digest


def test_a_taken_name_is_refused(root: Path, saved: CheckpointInfo, ensemble: Ensemble) -> None:
    before = (saved.folder / "card.json").read_bytes()
    with pytest.raises(CheckpointError, match="'good' is there already; choose another name"):
        checkpoints.save("good", Ensemble(list(ensemble.members)[:1]), method="vanilla")
    assert (saved.folder / "card.json").read_bytes() == before
    assert names(root) == ["good"]


@pytest.mark.parametrize("name", ["../x", "A", "", "a/b", ".hidden", "a" * 65])
def test_bad_names_are_refused(root: Path, ensemble: Ensemble, name: str) -> None:
    with pytest.raises(ConfigError, match="name is"):
        checkpoints.save(name, ensemble, method="vanilla")
    assert names(root) == []
    assert names(root.parent) == []


@pytest.mark.parametrize("broken", ["dverge.checkpoints.write_json", "safetensors.torch.save_file"])
def test_a_failure_while_writing_leaves_nothing(
    root: Path, ensemble: Ensemble, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    def fail(value: object, path: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(broken, fail)
    with pytest.raises(OSError, match="No space left"):
        checkpoints.save("x", ensemble, method="vanilla")
    assert names(root) == []


def test_a_renamed_and_moved_folder_is_still_good(
    root: Path, tmp_path: Path, saved: CheckpointInfo, ensemble: Ensemble
) -> None:
    moved = saved.folder.rename(tmp_path / "Elsewhere")
    info = checkpoints.read(moved)
    assert info.name == "Elsewhere"
    assert info.digest == saved.digest
    assert same_weights(checkpoints.load(info), ensemble)


def test_history_is_not_needed_but_must_be_json(saved: CheckpointInfo) -> None:
    assert checkpoints.read_history(saved) == []
    (saved.folder / "history.jsonl").write_text('{"epoch": 1}\nnonsense\n')
    with pytest.raises(CheckpointError, match=r"'good' cannot be used: its history\.jsonl"):
        checkpoints.read_history(saved)
    (saved.folder / "history.jsonl").unlink()
    assert checkpoints.read_history(saved) == []


# --- damage ---


def flip_a_byte(folder: Path) -> None:
    content = bytearray((folder / FIRST).read_bytes())
    content[-1] ^= 1
    (folder / FIRST).write_bytes(bytes(content))


def cut_short(folder: Path) -> None:
    rewritten = (folder / FIRST).read_bytes()[:1000]
    (folder / FIRST).write_bytes(rewritten)
    edit_card(folder, members={FIRST: hashlib.sha256(rewritten).hexdigest()})


def make_folder(folder: Path) -> None:
    (folder / FIRST).unlink()
    (folder / FIRST).mkdir()


def set_nan(weights: Weights) -> Weights:
    weights["fc3.bias"][4] = torch.nan
    return weights


DAMAGED_CARDS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no card": (lambda f: (f / "card.json").unlink(), r"is no checkpoint: it has no card\.json"),
    "cut JSON": (lambda f: (f / "card.json").write_text('{"method": '), r"card\.json cannot be"),
    "a list": (lambda f: (f / "card.json").write_text("[]"), r"card\.json cannot be read"),
    "null": (lambda f: (f / "card.json").write_text("null"), r"card\.json cannot be read"),
    "empty": (lambda f: (f / "card.json").write_text(""), r"card\.json cannot be read"),
    "no text": (lambda f: (f / "card.json").write_bytes(b"\xff\xfe"), r"card\.json cannot be read"),
    "deep": (lambda f: (f / "card.json").write_text("[" * 100_000), r"card\.json cannot be read"),
    "no fields": (lambda f: (f / "card.json").write_text("{}"), "missing 3 required"),
    "another field": (lambda f: edit_card(f, layers=3), "unexpected keyword argument 'layers'"),
    "another format": (lambda f: edit_card(f, format=99), "its format is 99, this version reads 1"),
    "architecture": (lambda f: edit_card(f, architecture="resnet20"), "'resnet20', not 'conv'"),
    "no members": (lambda f: edit_card(f, members={}), "its card lists no members"),
    "listed members": (lambda f: edit_card(f, members=[FIRST]), "members is no dict"),
    "a digest of 5": (
        lambda f: edit_card(f, members={FIRST: 5}),
        "digests and classes must be text",
    ),
    "odd results": (lambda f: edit_card(f, results=[{"model": "mixture"}]), "its results must"),
    "no results": (lambda f: edit_card(f, results=None), "results is no list"),
    "classes in a line": (lambda f: edit_card(f, classes="cat,dog"), "classes is no list"),
    "two classes": (
        lambda f: edit_card(f, classes=["cat", "dog"]),
        "names 2 classes; there are 10",
    ),
    "numbered classes": (lambda f: edit_card(f, classes=list(range(10))), "classes must be text"),
}
DAMAGED_MEMBERS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "missing": (lambda f: (f / FIRST).unlink(), rf"{FIRST} is missing"),
    "flipped byte": (flip_a_byte, rf"{FIRST} does not match the SHA-256 in its card"),
    "cut short": (cut_short, rf"{FIRST} cannot be read"),
    "a folder": (make_folder, rf"{FIRST} cannot be read"),
    "a long name": (lambda f: edit_card(f, members={"m" * 300: "0"}), "mmm cannot be read"),
    "an impossible name": (lambda f: edit_card(f, members={"a\0b": "0"}), "cannot be read"),
    "another shape": (
        lambda f: rewrite_member(f, lambda w: {**w, "fc3.bias": torch.zeros(11)}),
        r"another architecture than Conv: fc3\.bias has shape \(11,\), due is \(10,\)",
    ),
    "a missing layer": (
        lambda f: rewrite_member(f, lambda w: {k: v for k, v in w.items() if k != "fc2.bias"}),
        r"another architecture than Conv: missing \['fc2\.bias'\], unknown nothing",
    ),
    "another layer": (
        lambda f: rewrite_member(f, lambda w: {**w, "fc4.bias": torch.zeros(1)}),
        r"missing nothing, unknown \['fc4\.bias'\]",
    ),
    "NaN": (lambda f: rewrite_member(f, set_nan), r"fc3\.bias holds values that are not finite"),
    "whole numbers": (
        lambda f: rewrite_member(f, lambda w: {**w, "fc3.bias": torch.ones(10).long()}),
        r"fc3\.bias holds values that are not finite numbers",
    ),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGED_CARDS.values(), ids=DAMAGED_CARDS.keys())
def test_a_damaged_card_is_refused_and_listed_as_broken(
    saved: CheckpointInfo,
    ensemble: Ensemble,
    damage: Callable[[Path], Any],
    message: str,
) -> None:
    other = checkpoints.save("other", ensemble, method="vanilla")
    damage(saved.folder)
    with pytest.raises(CheckpointError, match=message):
        checkpoints.read(saved.folder)
    with pytest.raises(CheckpointError, match=message):
        checkpoints.load("good")
    good, broken = checkpoints.list_all()
    assert good == [other]
    assert [each.name for each in broken] == ["good"]
    assert "good" in broken[0].reason


@pytest.mark.parametrize(
    ("damage", "message"), DAMAGED_MEMBERS.values(), ids=DAMAGED_MEMBERS.keys()
)
def test_a_damaged_member_is_refused(
    saved: CheckpointInfo, damage: Callable[[Path], Any], message: str
) -> None:
    damage(saved.folder)
    with pytest.raises(CheckpointError, match=message):
        checkpoints.load("good")
    good, broken = checkpoints.list_all()  # looks at cards alone
    assert [info.name for info in good] == ["good"]
    assert broken == []


def test_a_card_cannot_reach_out_of_its_folder(saved: CheckpointInfo, ensemble: Ensemble) -> None:
    other = checkpoints.save("other", ensemble, method="vanilla")
    (other.folder / FIRST).rename(other.folder / "only-here.safetensors")
    edit_card(saved.folder, members={"../other/only-here.safetensors": other.card.members[FIRST]})
    with pytest.raises(CheckpointError, match="is missing"):
        checkpoints.load("good")


# --- finding ---


def test_list_all(root: Path, saved: CheckpointInfo, ensemble: Ensemble) -> None:
    first = checkpoints.save("a-first", ensemble, method="vanilla")
    (root / "empty").mkdir()
    (root / "foreign").mkdir()
    (root / "foreign" / "photo.jpg").write_bytes(b"no checkpoint")
    (root / ".half-written").mkdir()
    (root / "README.md").write_text("a file")
    good, broken = checkpoints.list_all()
    assert good == [first, saved]
    assert [each.name for each in broken] == ["empty", "foreign"]
    assert all("it has no card.json" in each.reason for each in broken)


def test_list_all_without_a_folder(root: Path) -> None:
    assert checkpoints.list_all() == ([], [])


def test_find_by_name_path_or_not_at_all(
    saved: CheckpointInfo, ensemble: Ensemble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert checkpoints.find("good") == saved.folder
    assert checkpoints.find(saved.folder) == saved.folder
    assert checkpoints.find(str(saved.folder)) == saved.folder
    far = checkpoints.save("far", ensemble, method="vanilla", root=tmp_path / "far away")
    assert checkpoints.find(far.folder) == far.folder
    monkeypatch.chdir(far.folder)
    assert checkpoints.read(checkpoints.find(".")) == far
    with pytest.raises(
        CheckpointError, match="there is no checkpoint 'bad'; those there are: good"
    ):
        checkpoints.find("bad")


def test_find_in_a_folder_of_ones_own(
    saved: CheckpointInfo, ensemble: Ensemble, tmp_path: Path
) -> None:
    """As a run's are: neither the default folder's names nor its list of them come in."""
    root = tmp_path / "far away"
    far = checkpoints.save("far", ensemble, method="vanilla", root=root)
    twin = checkpoints.save("good", ensemble, method="vanilla", root=root)
    assert checkpoints.find("far", root) == far.folder
    assert checkpoints.find("good", root) == twin.folder != checkpoints.find("good")
    assert checkpoints.find(str(saved.folder), root) == saved.folder
    with pytest.raises(CheckpointError, match="no checkpoint 'bad'; those there are: far, good"):
        checkpoints.find("bad", root)
    with pytest.raises(CheckpointError, match="no checkpoint 'far'; those there are: good"):
        checkpoints.find("far")


def test_a_checkpoint_is_not_hidden_by_a_folder_of_that_name(
    saved: CheckpointInfo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `dverge` is: commands are given in the repository, which has a folder of that name."""
    (tmp_path / "good").mkdir()
    monkeypatch.chdir(tmp_path)
    assert checkpoints.find("good") == saved.folder


def test_find_where_there_are_none(root: Path) -> None:
    with pytest.raises(CheckpointError, match="'x'; those there are: none"):
        checkpoints.find("x")


# --- plain weight files ---


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
    info = checkpoints.import_weights(plain, "taken-in")
    assert info.card.method == "imported"
    assert info.card.config == {"files": ["plain-0.pth", "plain-1.pth", "plain-2.pth"]}
    assert checkpoints.load("taken-in")(images).equal(ensemble(images))


def test_what_was_exported_comes_back_the_same(saved: CheckpointInfo, tmp_path: Path) -> None:
    files = checkpoints.export_weights(saved, tmp_path / "out" / "deep")
    assert [file.name for file in files] == [f"good-member-{i}.pth" for i in (1, 2, 3)]
    assert names(tmp_path / "out" / "deep") == [file.name for file in files]
    assert checkpoints.import_weights(files, "again").digest == saved.digest
    fresh = Conv()
    fresh.load_state_dict(torch.load(files[0], weights_only=True))


def test_export_overwrites_nothing(saved: CheckpointInfo, tmp_path: Path) -> None:
    (tmp_path / "good-member-3.pth").write_text("mine")
    with pytest.raises(CheckpointError, match=r"good-member-3\.pth is there already"):
        checkpoints.export_weights(saved, tmp_path)
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
        checkpoints.export_weights(saved, tmp_path / "out")
    assert names(tmp_path / "out") == []


def test_a_broken_checkpoint_is_not_exported(saved: CheckpointInfo, tmp_path: Path) -> None:
    flip_a_byte(saved.folder)
    with pytest.raises(CheckpointError, match="does not match"):
        checkpoints.export_weights(saved, tmp_path / "out")
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
        checkpoints.import_weights([file], "trapped")
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
        (with_bias(torch.zeros(3)), r"fc3\.bias has shape \(3,\), due is \(10,\)"),
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
        checkpoints.import_weights([tmp_path / "x.pth"], "x")
    assert names(root) == []


@pytest.mark.parametrize(
    "content",
    [b"", b"just some text\n" * 20, b".", b"}q\x00X", b"\x89PNG\r\n\x1a\n" * 9, b"PK\x03\x04junk"],
)
def test_files_that_are_no_weights_are_refused(root: Path, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"x\.pth is (no file of weights|refused)"):
        checkpoints.import_weights([tmp_path / "x.pth"], "x")


def test_a_cut_file_is_refused(root: Path, tmp_path: Path, plain: list[Path]) -> None:
    for file in plain[:2]:
        file.write_bytes(file.read_bytes()[:-5000])
        with pytest.raises(CheckpointError, match=rf"{file.name} is no file of weights"):
            checkpoints.import_weights([file], "x")


def test_no_file_or_a_folder_is_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"there is no file .*nowhere\.pth"):
        checkpoints.import_weights([tmp_path / "nowhere.pth"], "x")
    with pytest.raises(CheckpointError, match=r"cannot be read \(Is a directory\)"):
        checkpoints.import_weights([tmp_path], "x")
    with pytest.raises(ConfigError, match="at least one member"):
        checkpoints.import_weights([], "x")


def test_one_bad_file_spoils_the_import(root: Path, plain: list[Path]) -> None:
    plain[2].write_text("text")
    with pytest.raises(CheckpointError, match=r"plain-2\.pth"):
        checkpoints.import_weights(plain, "x")
    assert names(root) == []


# --- what the outputs stand for ---

LETTERS = list("abcdefghij")


def test_classes_are_on_the_card(root: Path, plain: list[Path]) -> None:
    info = checkpoints.import_weights(plain, "letters", classes=LETTERS)
    assert info.card.classes == LETTERS
    assert checkpoints.read(info.folder) == info
    assert json.loads((info.folder / "card.json").read_text())["classes"] == LETTERS
    assert checkpoints.import_weights(plain, "tuple", classes=CLASSES).card.classes == list(CLASSES)


def test_without_classes_they_are_cifars(
    root: Path, plain: list[Path], saved: CheckpointInfo
) -> None:
    assert checkpoints.import_weights(plain, "plain").card.classes == []
    assert saved.card.classes == []
    card = json.loads((saved.folder / "card.json").read_text())
    del card["classes"]  # as older ones are
    (saved.folder / "card.json").write_text(json.dumps(card))
    assert checkpoints.read(saved.folder) == saved


@pytest.mark.parametrize("classes", [["a"], LETTERS[:9], [*LETTERS, "k"]])
def test_classes_must_be_ten(root: Path, plain: list[Path], classes: list[str]) -> None:
    with pytest.raises(ConfigError, match=f"classes is '{','.join(classes)}'; it must be 10 names"):
        checkpoints.import_weights(plain, "x", classes=classes)
    assert names(root) == []


def test_classes_do_not_change_the_weights(
    root: Path, plain: list[Path], images: Tensor, tmp_path: Path
) -> None:
    """A state dict cannot carry them: they are told again when it is taken in."""
    first = checkpoints.import_weights(plain, "letters", classes=LETTERS)
    files = checkpoints.export_weights(first, tmp_path / "out")
    again = checkpoints.import_weights(files, "again", classes=LETTERS)
    assert again.digest == first.digest == checkpoints.import_weights(files, "none").digest
    assert again.card.classes == LETTERS
    assert checkpoints.load(again)(images).equal(checkpoints.load(first)(images))


def test_classes_by_the_command(
    root: Path, plain: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    files = [str(file) for file in plain]
    given = ", ".join(LETTERS)
    assert main(["import", *files, "--name", "letters", "--classes", given]) == 0
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
