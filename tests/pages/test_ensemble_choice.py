"""Which checkpoint of each method a page begins with."""

from __future__ import annotations

from pathlib import Path

from dverge import checkpoints
from dverge.checkpoints import CheckpointInfo
from dverge.models import Ensemble, seeded_conv
from pages.widgets.shared.ensemble_choice import first_of_each


def made(root: Path, name: str, method: str) -> CheckpointInfo:
    return checkpoints.save(name, Ensemble([seeded_conv(0)]), method=method, root=root)


def test_those_named_like_their_method_come_first(tmp_path: Path) -> None:
    for name in ("a-try", "vanilla-3xconv-s1", "vanilla-3xconv-s0", "vanilla-3xconv-s0-100"):
        made(tmp_path, name, "vanilla")
    made(tmp_path, "dverge-x", "dverge")
    available = checkpoints.list_all(tmp_path)[0]
    first = first_of_each(available, ("dverge", "vanilla", "advt"))
    assert [info.name for info in first] == ["dverge-x", "vanilla-3xconv-s0"]


def test_of_none_any_one(tmp_path: Path) -> None:
    made(tmp_path, "mine", "imported")
    available = checkpoints.list_all(tmp_path)[0]
    assert [info.name for info in first_of_each(available, ("vanilla",))] == ["mine"]
    assert first_of_each([], ("vanilla",)) == []
