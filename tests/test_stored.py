"""Files that are whole or not there, and that are read into declared shapes or refused."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import pytest
from msgspec import Meta

from dverge.data import Split
from dverge.errors import ConfigError, FileError, require
from dverge.stored import (
    Count,
    Setting,
    check_name,
    complete,
    delete,
    new_folder,
    read_json,
    read_jsonl,
    replacing,
    set_aside,
    write_json,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- reading ---


@dataclass(frozen=True)
class Part:
    size: Count


@dataclass(frozen=True)
class Whole:
    name: str
    split: Split
    share: Annotated[float, Meta(ge=0, le=1)]
    parts: tuple[Part, ...]
    settings: dict[str, Setting] = field(default_factory=dict)
    note: str | None = None

    def __post_init__(self) -> None:
        require(self.name != "bad", "name", self.name, "good")


GOOD: dict[str, Any] = {"name": "a", "split": "test", "share": 1, "parts": [{"size": 3}]}
DEEP = "[" * 100_000 + "]" * 100_000


def test_a_file_is_read_into_its_shape(tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    settings = {"x": 1, "y": 2.5, "z": None, "files": ["ε"], "on": True}
    write_json(path, GOOD | {"settings": settings, "format": 1})
    value = read_json(path, Whole)
    assert value == Whole("a", Split.TEST, 1.0, (Part(3),), settings)
    assert isinstance(value.split, Split) and isinstance(value.share, float)
    assert [type(each) for each in value.settings.values()] == [int, float, type(None), list, bool]
    write_json(path, [{"size": 1}, {"size": 2}])
    assert read_json(path, list[Part]) == [Part(1), Part(2)]


def with_text(key: str, text: str) -> str:
    """The good file with JSON text in place of a field's value."""
    return json.dumps(GOOD | {key: "@"}).replace('"@"', text)


DAMAGED: dict[str, tuple[str | bytes | None, str]] = {
    "missing": (None, "No such file or directory"),
    "empty": ("", "Input data was truncated"),
    "cut": (json.dumps(GOOD)[:30], "Input data was truncated"),
    "binary": (b"\0\xff" * 50, "JSON is malformed"),
    "not UTF-8": (json.dumps(GOOD).encode().replace(b'"a"', b'"\xff"'), "invalid start byte"),
    "trailing text": (json.dumps(GOOD) + " x", "trailing characters"),
    "a list": ("[]", "Expected `object`, got `array`"),
    "null": ("null", "Expected `object`, got `null`"),
    "deep": (DEEP, "it is nested too deeply"),
    "deep inside": (with_text("name", DEEP), "it is nested too deeply"),
    "a missing field": ('{"name": "a"}', "Object missing required field `split`"),
    "unknown fields": (json.dumps(GOOD | {"b": 1, "a": 2}), "does not know its fields a, b"),
    "another format": (json.dumps(GOOD | {"format": 2}), "its format is not 1"),
    "a wrong type": (with_text("parts", '[{"size": "3"}]'), r"parts\[0\]\.size: Expected `int`"),
    "true for a number": (with_text("parts", '[{"size": true}]'), r"parts\[0\]\.size: Expected"),
    "half": (with_text("parts", '[{"size": 2.5}]'), r"parts\[0\]\.size: Expected `int`"),
    "null inside": (with_text("share", "null"), "share: Expected `float`, got `null`"),
    "NaN": (with_text("share", "NaN"), "JSON is malformed"),
    "infinity": (with_text("share", "1e999"), "Number out of range"),
    "out of range": (with_text("share", "1.5"), "share: Expected `float` <= 1.0"),
    "a huge number": (with_text("parts", f'[{{"size": {10**400}}}]'), r"parts\[0\]\.size: "),
    "a huge setting": (with_text("settings", f'{{"x": {10**400}}}'), "settings"),
    "a nested setting": (with_text("settings", '{"x": {}}'), "settings"),
    "an unknown choice": (with_text("split", '"x"'), "split: Invalid enum value 'x'"),
    "refused by its class": (with_text("name", '"bad"'), "name is 'bad'; it must be good"),
}


@pytest.mark.parametrize(("content", "reason"), DAMAGED.values(), ids=DAMAGED)
def test_damage_is_an_error_that_names_file_and_field(
    content: str | bytes | None, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "value.json"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(FileError, match=rf"value\.json cannot be used \(.*{reason}.*Restore it"):
        read_json(path, Whole)


def test_a_folder_in_a_files_place(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"cannot be used \(Is a directory\)"):
        read_json(tmp_path, Whole)
    for appended in (True, False):
        rows, (broken,) = read_jsonl(tmp_path, {"": Part}, appended)
        assert rows == [] and "Is a directory" in broken.reason


ROWS = [{"size": 1, "more": [1]}, {"size": 2, "kind": "whole", **GOOD}, {"size": 3}]
SHAPES = {"": Part, "whole": Whole}


def lines(*rows: Any) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def test_rows_are_read_by_their_kind(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    assert read_jsonl(path, SHAPES) == ([], [])
    path.write_bytes(lines(*ROWS))
    assert read_jsonl(path, SHAPES) == (ROWS, [])
    path.write_bytes(lines(*ROWS).rstrip())
    assert read_jsonl(path, SHAPES) == (ROWS, [])


BAD_ROWS = [b'{"size": "x"}', b'{"size": 1, "kind": "other"}', b'{"kind": []}', b"[]", b"", b"\xff"]
CUT_ROWS = [b'{"size": ', b"\0\0\0", b"[" * 100_000]


@pytest.mark.parametrize("row", [*BAD_ROWS, *CUT_ROWS])
def test_rows_end_before_the_first_bad_one(row: bytes, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(lines(*ROWS[:2]) + row + b"\n" + lines(ROWS[2]))
    for appended in (True, False):
        rows, (broken,) = read_jsonl(path, SHAPES, appended)
        assert rows == ROWS[:2]
        assert (broken.path, broken.name) == (path, "rows.jsonl")
        assert "rows.jsonl, line 3, cannot be used (" in broken.reason


@pytest.mark.parametrize("row", CUT_ROWS)
def test_a_last_row_that_was_cut_is_expected_only_where_rows_are_appended(
    row: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(lines(*ROWS) + row)
    assert read_jsonl(path, SHAPES, appended=True) == (ROWS, [])
    rows, broken = read_jsonl(path, SHAPES)
    assert rows == ROWS and len(broken) == 1


def test_settings_are_complete_but_for_those_added_later() -> None:
    later = {"share": 0.5, "other": 1}
    assert complete({"size": 2}, Part, later) == {"size": 2}
    filled = complete({**GOOD, "settings": {}, "note": "", "more": 1}, Whole, later)
    assert filled == {**GOOD, "settings": {}, "note": "", "more": 1}
    values = {"name": "a", "split": "test", "parts": [], "settings": {}}
    assert complete(values | {"note": None}, Whole, later)["share"] == 0.5
    with pytest.raises(ConfigError, match="config is missing share, note"):
        complete(values, Whole)


# --- writing ---


def test_a_file_is_replaced_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "note"
    path.write_text("old")
    with pytest.raises(OSError, match="disk full"), replacing(path) as temporary:
        temporary.write_text("half")
        raise OSError("disk full")
    assert path.read_text() == "old"
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.parent == tmp_path  # a rename across file systems would not be atomic
    assert path.read_text() == "new"
    assert names(tmp_path) == ["note"]


def test_a_folder_appears_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    new = tmp_path / "deep" / "new"
    with pytest.raises(OSError, match="disk full"), new_folder(new) as temporary:
        (temporary / "file").write_text("half")
        raise OSError("disk full")
    assert names(tmp_path / "deep") == []
    with new_folder(new) as temporary:
        (temporary / "file").write_text("text")
        assert not new.exists()
    assert (new / "file").read_text() == "text"
    assert names(tmp_path / "deep") == ["new"]


@pytest.mark.parametrize("content", [None, "kept"])
def test_a_taken_name_is_left_alone(tmp_path: Path, content: str | None) -> None:
    taken = tmp_path / "taken"
    taken.mkdir()
    if content is not None:
        (taken / "file").write_text(content)
    with pytest.raises(FileExistsError, match="taken"), new_folder(taken) as temporary:
        (temporary / "file").write_text("other")
    assert names(tmp_path) == ["taken"]
    assert names(taken) == ([] if content is None else ["file"])


def test_others_may_read_what_was_written(tmp_path: Path) -> None:
    with new_folder(tmp_path / "new") as temporary:
        write_json(temporary / "inside.json", 1)
    write_json(tmp_path / "outside.json", 2)
    for path in (tmp_path / "new" / "inside.json", tmp_path / "outside.json"):
        assert path.stat().st_mode & stat.S_IROTH
    assert (tmp_path / "new").stat().st_mode & stat.S_IXOTH


def test_what_cannot_be_json_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    value = {"name": "ε ≤ 8/255", "rows": [1, 2.5, None, True]}
    write_json(path, value)
    with pytest.raises(TypeError):
        write_json(path, {"set": {1, 2}})
    assert json.loads(path.read_text(encoding="utf-8")) == value
    assert names(tmp_path) == ["value.json"]


# --- setting aside and deleting ---


def make_file(path: Path) -> None:
    path.write_text("text")


def make_folder(path: Path) -> None:
    path.mkdir()
    (path / "inside").write_text("text")


@pytest.mark.parametrize("make", [make_file, make_folder])
def test_set_aside_hides_and_overwrites_nothing(
    make: Callable[[Path], None], tmp_path: Path
) -> None:
    path = tmp_path / "odd"
    for number in (1, 2):
        make(path)
        assert set_aside(path) == tmp_path / f".odd.set-aside-{number}"
    assert names(tmp_path) == [".odd.set-aside-1", ".odd.set-aside-2"]
    with pytest.raises(FileError, match="odd cannot be renamed: No such file"):
        set_aside(path)


@pytest.mark.parametrize("make", [make_file, make_folder])
def test_delete_leaves_nothing(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "odd")
    make_folder(tmp_path / "kept")
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    delete(tmp_path / "odd")
    delete(tmp_path / "link")
    assert names(tmp_path) == ["kept"]
    assert names(tmp_path / "kept") == ["inside"]
    with pytest.raises(FileError, match="odd cannot be renamed: No such file"):
        delete(tmp_path / "odd")


def test_what_cannot_be_deleted_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    make_folder(tmp_path / "odd")
    monkeypatch.setattr("dverge.stored.shutil.rmtree", refuse)
    with pytest.raises(FileError, match="odd cannot be deleted: Permission denied"):
        delete(tmp_path / "odd")
    assert names(tmp_path) == [".odd.set-aside-1"]  # it is gone from every list


# --- names ---


@pytest.mark.parametrize("name", ["a", "7", "vanilla-3xconv-s0", "a.b_c-d", "a" * 64])
def test_good_names(name: str) -> None:
    assert check_name(name) == name


BAD_NAMES = ["", "A", "Ab", "../x", "..", ".", ".a", "a/b", "a\\b", "/a", "~", "-a", "_a", "a b"]


@pytest.mark.parametrize("name", [*BAD_NAMES, "a\n", "a\0", "a:b", "é", "٣", "a" * 65])
def test_bad_names(name: str) -> None:
    with pytest.raises(ConfigError, match=r"name is .*; it must start with a letter or digit"):
        check_name(name)
