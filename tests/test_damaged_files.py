"""Some 900 files damaged at random: only the project's own errors come out of what reads them.

A damaged file costs only itself: the others beside it are still read, and it is listed with the
reason. Each case has a seed.
"""

from __future__ import annotations

import json
import math
import random
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from dverge import checkpoints
from dverge.checkpoints import CheckpointInfo
from dverge.data import Split
from dverge.data.sample import FACTS, PICTURE, read_sample
from dverge.errors import DvergeError
from dverge.evaluation.store import ResultFile, read_all, read_results, results_stamp
from dverge.exploration import tour
from dverge.reproduction import ablation
from dverge.reproduction.matching import reproduce
from dverge.results import Result
from dverge.runs import EVALUATION, RunFolder, RunManager, RunState, Status
from dverge.stored import Broken
from tests.runs.measured import CONFIG_OF_TWO
from tests.runs.small import CONFIG
from tests.test_checkpoints import epoch_row

SHIPPED = Path(__file__).parents[1] / "checkpoints"
BESIDE = ("vanilla-3xconv-s0", "dverge-advt-3xconv-s0")  # are not damaged
DAMAGED = "dverge-3xconv-s0"
ODD: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1.5,
    10**400,
    1e308,
    -1e308,
    math.nan,
    math.inf,
    "",
    "x",
    [],
    {},
    [[[]]],
)


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """All lists and objects in a JSON value, each with one of its keys."""
    keys = (
        value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    )
    for key in keys:
        yield value, key
        yield from places(value[key])


def change_value(text: str, draw: random.Random) -> str:
    """Replace, remove, copy or nest one value of a JSON text."""
    value = [json.loads(text)]
    parent, key = draw.choice(list(places(value)))
    kind = draw.randrange(8)
    if kind == 0:
        parent[key] = "@"
        depth = draw.choice([2, 50, 900, 100_000])
        opened, closed = draw.choice([("[", "]"), ('{"a":', "}")])
        return json.dumps(value[0]).replace('"@"', opened * depth + "1" + closed * depth)
    if kind == 1 and parent is not value:
        del parent[key]
    elif kind == 2:
        parent[key] = str(parent[key])
    elif kind == 3 and isinstance(parent, dict):
        parent[draw.choice(["new", "format", "kind", "n", key.upper()])] = draw.choice(ODD)
    elif kind == 4:
        parent[key] = [parent[key], parent[key]]
    else:
        parent[key] = draw.choice(ODD)
    return json.dumps(value[0])


def change_bytes(content: bytes, draw: random.Random) -> bytes:
    """Cut, overwrite or fill up a file."""
    at = draw.randrange(len(content) + 1)
    return draw.choice(
        [
            content[:at],
            content[at:],
            content[:at] + draw.randbytes(draw.randrange(1, 9)) + content[at + 4 :],
            content[:at] + b"\0" * (len(content) - at),
            content[:at] + content,
            b"",
        ]
    )


def damage(path: Path, draw: random.Random) -> None:
    """Damage a JSON or JSONL file, or put a folder in its place."""
    content = path.read_bytes()
    if draw.random() < 0.02:
        path.unlink()
        path.mkdir()
    elif draw.random() < 0.3:
        path.write_bytes(change_bytes(content, draw))
    elif path.suffix == ".jsonl":
        lines = content.decode().splitlines()
        number = draw.randrange(len(lines))
        lines[number] = change_value(lines[number], draw)
        path.write_text("\n".join(lines) + "\n")
    else:
        path.write_text(change_value(content.decode(), draw))


def damaged_in_turn(paths: list[Path], cases: int) -> Iterator[None]:
    """Damage one of these files in each case, and restore it after."""
    for seed in range(cases):
        path = paths[seed % len(paths)]
        content = path.read_bytes()
        damage(path, random.Random(seed))
        print(f"seed {seed}: {path.name}")  # pytest shows the last one when a case fails
        yield
        if path.is_dir():
            path.rmdir()
        path.write_bytes(content)


def copied(name: str, root: Path) -> Path:
    """The text files of a shipped checkpoint; nothing here loads weights."""
    ignore = shutil.ignore_patterns("*.safetensors", "curve-*", "sanity-*")
    return Path(shutil.copytree(SHIPPED / name, root / name, ignore=ignore))


# --- checkpoints ---


def test_damaged_checkpoints(tmp_path: Path) -> None:
    """The lists, and the report's tables and figures with one damaged training among good ones."""
    folder = copied(DAMAGED, tmp_path)
    for name in BESIDE:
        copied(name, tmp_path)

    @cache
    def contents(name: str, case: int = 0) -> tuple[list[ResultFile], list[Broken], list[Any]]:
        info = checkpoints.read(tmp_path / name)
        return *read_all(info), checkpoints.read_history(info)

    refused = 0
    for case, _ in enumerate(damaged_in_turn([folder / "card.json", *damageable(folder)], 360)):

        def contents_now(info: CheckpointInfo, case: int = case) -> Any:
            return contents(info.name, case if info.name == DAMAGED else 0)

        good, broken = checkpoints.list_all(tmp_path)
        assert {info.name for info in good} | {each.name for each in broken} == {DAMAGED, *BESIDE}
        for info in (info for info in good if info.name == DAMAGED):
            files, damaged, _ = contents_now(info)
            broken += damaged
            assert results_stamp(info)
            assert all(len(each.right()) in (0, each.n) for file in files for each in file.results)
            assert [read_results(info, file).about for file in files[:1]] == [
                file.about for file in files[:1]
            ]
        refused += len(broken)
        assert all(str(each.path) in each.reason for each in broken)
        again = reproduce(good, lambda info: contents_now(info)[0])
        shown = {each.info.name for table in again.tables for each in table.trained if each.results}
        shown_curves = {each.info.name for figure in again.figures for each in figure.curves}
        assert set(BESIDE) <= shown and set(BESIDE) <= shown_curves
    assert refused > 180


def damageable(folder: Path) -> list[Path]:
    return [folder / "history.jsonl", *sorted((folder / "evaluations").iterdir())]


# --- runs ---


def test_damaged_runs(tmp_path: Path) -> None:
    """Each is shown or listed as broken, and the runs beside it are shown."""
    training = RunFolder.create(tmp_path, "training", "vanilla", CONFIG.to_dict())
    evaluation = RunFolder.create(tmp_path, "evaluation", EVALUATION, CONFIG_OF_TWO.to_dict())
    for folder in (training, evaluation):
        folder.write_status(Status(RunState.PAUSED, "a remark", 0.5, seconds_left=4))
    training.append_metrics({"kind": "step", "epoch": 0.5, "loss": [2.3, 2.2]})
    training.append_metrics({"kind": "epoch", **epoch_row(1, terms={"clean": [1, 2]}, layer=3)})
    result = Result("mixture", "clean", Split.TEST, 8, 50.0, 20.0, 80.0, {"seed": 1}, held="AA==")
    evaluation.append_metrics({"kind": "result", "epoch": 1.0, **result.to_dict()})
    manager, refused = RunManager(tmp_path), 0
    files = [f.path / name for f in (training, evaluation) for name in ("run.json", "status.json")]
    metrics = [folder.path / "metrics.jsonl" for folder in (training, evaluation)]
    for _ in damaged_in_turn([*files, *metrics], 420):
        views, broken = manager.views(), manager.broken()
        assert len(views) + len(broken) == 2 and len(broken) <= 1
        for view in views:
            rows, damaged = manager.read_metrics(view.id)
            broken += damaged
            assert all({"kind", "epoch"} <= row.keys() for row in rows)
            refused_only(view.spec.settings)
        refused += len(broken)
    assert refused > 200


# --- files that are shipped with the library ---


def refused_only(read: Callable[[], Any]) -> bool:
    """Read; whether it is refused by an error of the project's own."""
    try:
        read()
    except DvergeError:
        return True
    return False


READERS: dict[Path, Callable[[Path], Any]] = {
    tour.FILE: tour.read_tour,
    ablation.FILE: ablation.read_ablation,
    FACTS: lambda path: read_sample(PICTURE, path),
}


@pytest.mark.parametrize("file", READERS, ids=lambda path: path.name)
def test_damaged_files_of_the_library(file: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(file, tmp_path))
    refused = [refused_only(lambda: READERS[file](path)) for _ in damaged_in_turn([path], 40)]
    assert refused.count(True) > 15
    assert not refused_only(lambda: READERS[file](path))
