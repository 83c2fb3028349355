"""Checkpoints that a run saves before its end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from dverge import checkpoints
from dverge.checkpoints import CheckpointInfo
from dverge.models import Ensemble, seeded_conv
from dverge.runs import RunFolder, RunManager, RunState
from dverge.runs.jobs import snapshot_name
from tests.runs.small import (
    CONFIG,
    PER_EPOCH,
    Gate,
    Outcome,
    ended,
    ended_at,
    same,
    untimed,
    weights_of,
)

ReadCheckpoint = Callable[[str], CheckpointInfo]
EACH = replace(CONFIG, snapshot_every=1)


def names(manager_root: Path) -> list[str]:
    return sorted(path.name for path in (manager_root.parent / "checkpoints").iterdir())


def test_the_ensemble_after_an_epoch(
    manager: RunManager, gate: Gate, checkpoint: ReadCheckpoint, reference: Outcome
) -> None:
    """Its weights are those in the state of a run that is paused there; its history ends there."""
    run = ended_at(2 * PER_EPOCH, manager, gate, replace(CONFIG, snapshot_every=2))
    state = RunFolder(manager.root / run).load_state()
    assert state is not None
    assert names(manager.root) == ["run-e2"]
    snapshot = checkpoint("run-e2")
    flat = checkpoints.load(snapshot).members
    for member, row in zip(flat, state["training"]["engine"]["weights"], strict=True):
        parts = row.split([parameter.numel() for parameter in member.parameters()])
        for parameter, part in zip(member.parameters(), parts, strict=True):
            assert parameter.flatten().equal(part)
    assert untimed(checkpoints.read_history(snapshot)) == reference.epochs[:2]
    assert snapshot.card.config["snapshot_every"] == 2
    assert {row.model for row in snapshot.card.results} == {"member-1", "member-2", "mixture"}

    manager.resume(run)
    assert ended(manager, run).checkpoint == "run"
    assert names(manager.root) == ["run", "run-e2"]
    assert same(weights_of(checkpoint("run")), reference.weights)  # snapshots change nothing


@pytest.mark.parametrize(
    ("every", "snapshots"),
    [(0, []), (1, ["run-e1", "run-e2"]), (2, ["run-e2"]), (3, []), (1000, [])],
)
def test_every_so_many_epochs_but_not_the_last(
    every: int, snapshots: list[str], manager: RunManager, checkpoint: ReadCheckpoint
) -> None:
    run = manager.submit(replace(CONFIG, snapshot_every=every), "run")
    ended(manager, run)
    assert names(manager.root) == ["run", *snapshots]
    digests = {checkpoint(name).digest for name in ["run", *snapshots]}
    assert len(digests) == 1 + len(snapshots)


def test_killed_between_the_snapshot_and_the_state(
    manager: RunManager, monkeypatch: pytest.MonkeyPatch, reference: Outcome
) -> None:
    """The epoch is trained again, and its snapshot is not saved twice."""
    save, failures = RunFolder.save_state, iter([True])

    def killed(folder: RunFolder, state: dict[str, object]) -> None:
        if next(failures, False):
            raise OSError("as if the process had been killed")
        save(folder, state)

    monkeypatch.setattr(RunFolder, "save_state", killed)
    run = manager.submit(EACH, "run")
    ended(manager, run, RunState.FAILED)
    assert names(manager.root) == ["run-e1"]
    manager.resume(run)
    ended(manager, run)
    assert names(manager.root) == ["run", "run-e1", "run-e2"]
    assert untimed(manager.metrics(run)) == reference.epochs


def test_a_taken_name_of_a_snapshot_is_numbered(
    manager: RunManager, tmp_path: Path, checkpoint: ReadCheckpoint
) -> None:
    """Neither another ensemble nor an empty folder is overwritten."""
    root = tmp_path / "checkpoints"
    other = checkpoints.save("run-e1", Ensemble([seeded_conv(0)]), method="vanilla", root=root)
    (root / "run-e2").mkdir()
    run = manager.submit(EACH, "run")
    ended(manager, run)
    assert names(manager.root) == ["run", "run-e1", "run-e1-2", "run-e2", "run-e2-2"]
    assert checkpoint("run-e1").digest == other.digest
    assert list((root / "run-e2").iterdir()) == []


@pytest.mark.parametrize(
    ("run", "epoch", "name"),
    [
        ("run", 2, "run-e2"),
        ("a" * 61, 5, "a" * 61 + "-e5"),
        ("a" * 62, 5, "a" * 61 + "-e5"),
        ("a" * 64, 5, "a" * 61 + "-e5"),
        ("a" * 64, 100, "a" * 59 + "-e100"),
    ],
)
def test_names_are_cut_to_what_a_folder_may_have(run: str, epoch: int, name: str) -> None:
    assert snapshot_name(run, epoch) == name
    assert len(name) <= 64


def test_a_run_whose_name_has_64_characters(manager: RunManager) -> None:
    run = manager.submit(EACH, "a" * 64)
    ended(manager, run)
    assert names(manager.root) == ["a" * 61 + "-e1", "a" * 61 + "-e2", "a" * 64]
