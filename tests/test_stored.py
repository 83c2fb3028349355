"""Files and folders that are whole or not there."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from dverge.errors import ConfigError
from dverge.stored import check_name, new_folder, replacing, write_json


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "note"
    path.write_text("old")
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.parent == tmp_path  # a rename across file systems would not be atomic
    assert path.read_text() == "new"
    assert names(tmp_path) == ["note"]


def test_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "note"
    path.write_text("old")
    with pytest.raises(OSError, match="disk full"), replacing(path) as temporary:
        temporary.write_text("half")
        raise OSError("disk full")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["note"]


def test_a_folder_appears_as_a_whole(tmp_path: Path) -> None:
    with new_folder(tmp_path / "deep" / "new") as temporary:
        (temporary / "file").write_text("text")
        assert not (tmp_path / "deep" / "new").exists()
    assert (tmp_path / "deep" / "new" / "file").read_text() == "text"
    assert names(tmp_path / "deep") == ["new"]


def test_a_failure_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="disk full"), new_folder(tmp_path / "new") as temporary:
        (temporary / "file").write_text("half")
        raise OSError("disk full")
    assert names(tmp_path) == []


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


def test_json_is_read_back(tmp_path: Path) -> None:
    value = {"name": "ε ≤ 8/255", "rows": [1, 2.5, None, True]}
    write_json(tmp_path / "value.json", value)
    assert json.loads((tmp_path / "value.json").read_text(encoding="utf-8")) == value


def test_what_is_no_json_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    write_json(path, 1)
    with pytest.raises(TypeError):
        write_json(path, {"set": {1, 2}})
    assert json.loads(path.read_text()) == 1
    assert names(tmp_path) == ["value.json"]


@pytest.mark.parametrize("name", ["a", "7", "vanilla-3xconv-s0", "a.b_c-d", "a" * 64])
def test_good_names(name: str) -> None:
    assert check_name(name) == name


NOT_NAMES = ["", "A", "Ab", "../x", "..", ".", ".a", "a/b", "a\\b", "/a", "~", "-a", "_a", "a b"]


@pytest.mark.parametrize("name", [*NOT_NAMES, "a\n", "a\0", "a:b", "é", "٣", "a" * 65])
def test_bad_names(name: str) -> None:
    with pytest.raises(ConfigError, match=r"name is .*; it must start with a letter or digit"):
        check_name(name)
