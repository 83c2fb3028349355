"""Runs that start from a checkpoint: it is needed when they begin, and not after that."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dverge import checkpoints
from dverge.checkpoints import CheckpointInfo
from dverge.errors import CheckpointError, ConfigError
from dverge.models import Ensemble, seeded_conv
from dverge.runs import RunFolder, RunManager, RunState
from tests.runs.small import (
    ALL,
    DVERGE,
    PER_EPOCH,
    Gate,
    Outcome,
    ended,
    ended_at,
    held_at,
    same,
    uninterrupted,
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
def expected(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """The outcome of the run from that checkpoint, uninterrupted."""
    root = tmp_path_factory.mktemp("expected")
    save_start(root)
    return uninterrupted(FROM, root)


def test_the_start_makes_a_difference_and_is_in_the_card(
    start: CheckpointInfo, manager: RunManager, checkpoint: ReadCheckpoint, expected: Outcome
) -> None:
    run = manager.submit(FROM, "from")
    fresh = manager.submit(DVERGE, "fresh")
    ended(manager, run)
    ended(manager, fresh)
    assert same(weights_of(checkpoint("from")), expected.weights)
    assert not same(weights_of(checkpoint("fresh")), expected.weights)
    config = checkpoint("from").card.config
    assert (config["start"], config["start_digest"]) == ("start", start.digest)
    assert checkpoint("start").digest == start.digest  # the start itself was not trained


@pytest.mark.parametrize(("batch", "gone"), [(1, True), (PER_EPOCH, False), (ALL - 1, True)])
def test_resumed_also_when_the_start_is_gone(
    batch: int,
    gone: bool,
    start: CheckpointInfo,
    manager: RunManager,
    gate: Gate,
    checkpoint: ReadCheckpoint,
    expected: Outcome,
) -> None:
    """The state has everything that is needed."""
    run = ended_at(batch, manager, gate, FROM)
    if gone:
        shutil.rmtree(start.folder)
    manager.resume(run)
    ended(manager, run)
    assert same(weights_of(checkpoint("run")), expected.weights)
    assert untimed(manager.metrics(run)) == expected.epochs


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        (False, "there is no checkpoint 'start'; those there are: none."),
        (True, "checkpoint 'start' has other weights than when this training was set up."),
    ],
)
def test_a_start_that_vanishes_before_the_run_begins(
    replaced: bool,
    message: str,
    start: CheckpointInfo,
    make_manager: Callable[..., RunManager],
    gate: Gate,
    tmp_path: Path,
    checkpoint: ReadCheckpoint,
    expected: Outcome,
) -> None:
    """The run fails and says why; when the checkpoint is restored it can be resumed."""
    manager = make_manager(load_images=gate.loader())
    run = held_at(0, manager, gate, FROM)
    shutil.rmtree(start.folder)
    if replaced:
        save_start(tmp_path, seed=7)
    gate.open()
    assert message in ended(manager, run, RunState.FAILED).message
    assert manager.metrics(run) == []

    shutil.rmtree(start.folder, ignore_errors=True)
    save_start(tmp_path)
    manager.resume(run)
    ended(manager, run)
    assert same(weights_of(checkpoint("run")), expected.weights)


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"start": "nowhere"}, CheckpointError, "there is no checkpoint 'nowhere'; .*: start"),
        ({"members": 4}, ConfigError, "members is 4; checkpoint 'start' to start from has 3"),
        ({"start_digest": "ab" * 32}, CheckpointError, "has other weights"),
    ],
)
def test_a_start_that_cannot_be_used_leaves_nothing_behind(
    changes: dict[str, Any],
    kind: type[Exception],
    message: str,
    start: CheckpointInfo,
    manager: RunManager,
) -> None:
    with pytest.raises(kind, match=message):
        manager.submit(replace(FROM, **changes), "never")
    assert not manager.root.exists()


def test_the_digest_of_the_start_is_kept_with_the_settings(
    start: CheckpointInfo, manager: RunManager
) -> None:
    """The run starts from these weights, or not at all if the folder holds others by then."""
    run = manager.submit(FROM, "kept")
    assert RunFolder(manager.root / run).spec().config["start_digest"] == start.digest
    ended(manager, run)
