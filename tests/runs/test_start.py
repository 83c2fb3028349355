"""Runs that go on from a checkpoint: it is needed when they begin, and not any more after that."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dverge import checkpoints
from dverge.checkpoints import CheckpointInfo
from dverge.data import Split
from dverge.errors import CheckpointError, ConfigError
from dverge.models import Ensemble, seeded_conv
from dverge.runs import RunFolder, RunManager, RunState
from tests.runs.small import (
    ALL,
    DVERGE,
    LONG,
    PER_EPOCH,
    Gate,
    Result,
    finished,
    load_images,
    same,
    untimed,
    weights_of,
)

FROM = replace(DVERGE, start="start")
ReadCheckpoint = Callable[[str], CheckpointInfo]


def save_start(root: Path, seed: int = 0) -> CheckpointInfo:
    """A checkpoint of three members, one more than the runs have."""
    members = [seeded_conv(seed + i) for i in range(3)]
    return checkpoints.save("start", Ensemble(members), method="vanilla", root=root / "checkpoints")


@pytest.fixture
def start(tmp_path: Path) -> CheckpointInfo:
    return save_start(tmp_path)


@pytest.fixture(scope="module")
def due(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """What the run from that checkpoint comes to, uninterrupted."""
    root = tmp_path_factory.mktemp("due")
    save_start(root)
    return finished(FROM, root)


def test_the_start_makes_a_difference_and_is_in_the_card(
    start: CheckpointInfo, manager: RunManager, checkpoint: ReadCheckpoint, due: Result
) -> None:
    run = manager.submit(FROM, "from")
    fresh = manager.submit(DVERGE, "fresh")
    assert manager.wait(run, LONG).state is RunState.FINISHED
    assert manager.wait(fresh, LONG).state is RunState.FINISHED
    assert same(weights_of(checkpoint("from")), due.weights)
    assert not same(weights_of(checkpoint("fresh")), due.weights)
    config = checkpoint("from").card.config
    assert (config["start"], config["start_digest"]) == ("start", start.digest)
    assert checkpoint("start").digest == start.digest  # the start itself was not trained


def stopped_at(batch: int, manager: RunManager, gate: Gate) -> str:
    gate.close_at(batch)
    run = manager.submit(FROM, "again")
    gate.wait()
    manager.pause(run)
    gate.open()
    assert manager.wait(run, LONG).state is RunState.PAUSED
    return run


@pytest.mark.parametrize("gone", [False, True])
@pytest.mark.parametrize("batch", [1, PER_EPOCH, ALL - 1])
def test_resumed_also_when_the_start_is_gone(
    batch: int,
    gone: bool,
    start: CheckpointInfo,
    manager: RunManager,
    gate: Gate,
    checkpoint: ReadCheckpoint,
    due: Result,
) -> None:
    """The state has all that is needed."""
    run = stopped_at(batch, manager, gate)
    if gone:
        shutil.rmtree(start.folder)
    manager.resume(run)
    status = manager.wait(run, LONG)
    assert status.state is RunState.FINISHED, status.message
    assert same(weights_of(checkpoint("again")), due.weights)
    assert untimed(manager.metrics(run)) == due.epochs


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        (False, "there is no checkpoint 'start'; those there are: none."),
        (True, "checkpoint 'start' has other weights than when this training was set up."),
    ],
)
def test_a_start_that_goes_while_the_run_is_queued(
    replaced: bool,
    message: str,
    start: CheckpointInfo,
    make_manager: Callable[..., RunManager],
    gate: Gate,
    tmp_path: Path,
    checkpoint: ReadCheckpoint,
    due: Result,
) -> None:
    """The run fails and says why; once the checkpoint is back it can be resumed."""
    gate.close_at(0)

    def slow(split: Split) -> Any:
        gate.arrive(0)
        return load_images(split)

    manager = make_manager(load_images=slow)
    run = manager.submit(FROM, "waiting")
    gate.wait()
    shutil.rmtree(start.folder)
    if replaced:
        save_start(tmp_path, seed=7)
    gate.open()
    status = manager.wait(run, LONG)
    assert status.state is RunState.FAILED
    assert message in status.message
    assert manager.metrics(run) == []

    shutil.rmtree(start.folder, ignore_errors=True)
    save_start(tmp_path)
    manager.resume(run)
    assert manager.wait(run, LONG).state is RunState.FINISHED
    assert same(weights_of(checkpoint("waiting")), due.weights)


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"start": "nowhere"}, CheckpointError, "there is no checkpoint 'nowhere'; .*: start"),
        ({"members": 4}, ConfigError, "members is 4; checkpoint 'start' to start from has 3"),
        ({"start_digest": "ab" * 32}, CheckpointError, "has other weights"),
    ],
)
def test_a_start_that_will_not_do_leaves_nothing_behind(
    changes: dict[str, Any],
    kind: type[Exception],
    message: str,
    start: CheckpointInfo,
    manager: RunManager,
) -> None:
    with pytest.raises(kind, match=message):
        manager.submit(replace(FROM, **changes), "never")
    assert not manager.root.exists()


def test_what_is_submitted_is_kept_with_the_digest(
    start: CheckpointInfo, manager: RunManager
) -> None:
    """So that the run is of these weights, whatever the folder holds when its turn comes."""
    run = manager.submit(FROM, "kept")
    assert RunFolder(manager.root / run).spec().config["start_digest"] == start.digest
    assert manager.wait(run, LONG).state is RunState.FINISHED
