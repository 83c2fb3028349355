"""Several managers of one folder, as the app, a second app and the command line are."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from dverge.checkpoints import CheckpointInfo
from dverge.data import ImageSet, Split
from dverge.errors import RunError
from dverge.runs import RunFolder, RunManager, RunState, Status
from tests.runs.small import (
    ALL,
    CONFIG,
    LONG,
    PER_EPOCH,
    SHORT,
    Gate,
    Outcome,
    ended,
    ended_at,
    held_at,
    same,
    untimed,
    weights_of,
)

MakeManager = Callable[..., RunManager]
ReadCheckpoint = Callable[[str], CheckpointInfo]


def test_a_run_of_another_process_can_only_be_watched(
    make_manager: MakeManager, gate: Gate
) -> None:
    owner, other = make_manager(), make_manager()
    run = held_at(PER_EPOCH + 1, owner, gate)
    queued = owner.submit(CONFIG, "next")
    seen = other.get(run)
    assert seen.elsewhere and seen.status.state is RunState.RUNNING
    assert seen.status.progress == pytest.approx(PER_EPOCH / ALL)
    assert other.get(queued).elsewhere
    assert not owner.get(run).elsewhere
    assert len(other.metrics(run)) == len(owner.metrics(run)) > 0
    for ask in (other.pause, other.stop):
        with pytest.raises(RunError, match="is worked on by another process; it cannot be"):
            ask(run)
    with pytest.raises(RunError, match="is running; it cannot be resumed"):
        other.resume(run)
    with pytest.raises(RunError, match="is running; stop it first"):
        other.delete(run)
    gate.open()
    ended(owner, run)
    assert not other.get(run).elsewhere


def test_a_run_is_resumed_in_another_process(
    make_manager: MakeManager, gate: Gate, checkpoint: ReadCheckpoint, reference: Outcome
) -> None:
    first, second = make_manager(), make_manager()
    run = ended_at(PER_EPOCH + 2, first, gate, end="stop")
    gate.close_at(PER_EPOCH + 4)
    second.resume(run)
    gate.wait()
    assert first.get(run).elsewhere
    gate.open()
    ended(first, run)
    assert same(weights_of(checkpoint("run")), reference.weights)
    assert untimed(first.metrics(run)) == reference.epochs


def test_of_several_that_resume_at_once_one_succeeds(make_manager: MakeManager, gate: Gate) -> None:
    managers = [make_manager() for _ in range(4)]
    run = ended_at(2, managers[0], gate, end="stop")
    gate.close_at(4)
    errors: list[str] = []
    start = threading.Barrier(len(managers) * 2)

    def resume(manager: RunManager) -> None:
        start.wait()
        try:
            manager.resume(run)
        except RunError as error:
            errors.append(str(error))

    threads = [threading.Thread(target=resume, args=(each,)) for each in managers * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    assert len(errors) == len(threads) - 1
    gate.wait()
    assert sum(not manager.get(run).elsewhere for manager in managers) == 1
    gate.open()
    ended(managers[0], run)


def abandoned(manager: RunManager, state: RunState, age: float) -> RunFolder:
    """A run whose process has ended."""
    folder = RunFolder.create(manager.root, "abandoned", "vanilla", CONFIG.to_dict())
    folder.write_status(Status(state, progress=0.25, updated=time.time() - age))
    return folder


@pytest.mark.parametrize(
    "state", [RunState.QUEUED, RunState.RUNNING, RunState.PAUSING, RunState.STOPPING]
)
def test_a_run_whose_process_has_ended_is_interrupted(state: RunState, manager: RunManager) -> None:
    folder = abandoned(manager, state, age=10)
    view = manager.get(folder.id)
    assert (view.status.state, view.elsewhere) == (RunState.INTERRUPTED, False)
    assert view.status.progress == 0.25
    assert "The process that worked on it ended" in view.status.message
    assert folder.status() == view.status  # written, so that the lock need not be tried again
    manager.resume(folder.id)
    ended(manager, folder.id)


def test_an_abandoned_run_can_be_deleted(manager: RunManager) -> None:
    folder = abandoned(manager, RunState.RUNNING, age=10)
    manager.delete(folder.id)
    assert manager.views() == []


def test_a_new_run_is_not_taken_for_an_abandoned_one(manager: RunManager) -> None:
    """Its process takes the lock a moment after the folder exists."""
    folder = abandoned(manager, RunState.QUEUED, age=0)
    view = manager.get(folder.id)
    assert (view.status.state, view.elsewhere) == (RunState.QUEUED, True)


def test_others_that_watch_do_not_prevent_a_resume(make_manager: MakeManager, gate: Gate) -> None:
    """They try the lock of an abandoned run while it is resumed again and again."""
    manager, other = make_manager(), make_manager()
    over = threading.Event()

    def watch() -> None:
        while not over.is_set():
            other.views()

    watchers = [threading.Thread(target=watch) for _ in range(3)]
    for watcher in watchers:
        watcher.start()
    try:
        for _ in range(8):
            folder = abandoned(manager, RunState.RUNNING, age=10)
            manager.resume(folder.id)
            manager.pause(folder.id)
            ended(manager, folder.id, RunState.PAUSED)
    finally:
        over.set()
        for watcher in watchers:
            watcher.join(LONG)


def test_closing_saves_running_and_queued_runs(
    make_manager: MakeManager, gate: Gate, checkpoint: ReadCheckpoint, reference: Outcome
) -> None:
    """This is what Ctrl-C does to the app."""
    manager = make_manager()
    run = held_at(PER_EPOCH + 2, manager, gate)
    queued = manager.submit(SHORT, "waiting")
    threading.Timer(0.1, gate.open).start()
    manager.close(LONG)
    next_day = make_manager()
    for each in (run, queued):
        status = next_day.get(each).status
        assert status.state is RunState.INTERRUPTED
        assert "The app was closed" in status.message
        next_day.resume(each)
    ended(next_day, run)
    assert same(weights_of(checkpoint("run")), reference.weights)
    assert untimed(next_day.metrics(run)) == reference.epochs
    ended(next_day, queued)


def test_views_are_cheap_and_never_raise(make_manager: MakeManager) -> None:
    """Fifty runs, some of them new or deleted, watched in many tabs."""
    manager, other = make_manager(), make_manager()
    for i in range(50):
        abandoned(manager, RunState.PAUSED if i % 2 else RunState.RUNNING, age=10)
    manager.views()
    began = time.perf_counter()
    for _ in range(10):
        assert len(manager.views()) == 50
    assert (time.perf_counter() - began) / 10 < 0.25  # 0.003 on a quiet machine
    failures: list[BaseException] = []
    over = threading.Event()

    def watch(manager: RunManager) -> None:
        try:
            while not over.is_set():
                for view in manager.views():
                    assert view.status.state in RunState
                manager.broken()
                time.sleep(0.002)  # a page takes a second
        except BaseException as error:
            failures.append(error)
            raise

    watchers = [threading.Thread(target=watch, args=(each,)) for each in (manager, other) * 3]
    for watcher in watchers:
        watcher.start()
    try:
        short = replace(SHORT, members=1)
        for round_ in range(4):
            run = manager.submit(short, f"run-{round_}")
            for view in other.views()[-5:]:
                other.delete(view.id)
            ended(manager, run)
            manager.delete(run)
    finally:
        over.set()
        for watcher in watchers:
            watcher.join(LONG)
    assert not failures
    assert len(manager.views()) == 50 - 20
    assert manager.broken() == []


def test_the_images_are_loaded_by_the_worker(make_manager: MakeManager, gate: Gate) -> None:
    """A page does not wait for them when it submits a run."""
    names: list[str] = []

    def load(split: Split) -> ImageSet:
        names.append(threading.current_thread().name)
        return gate.loader()(split)

    manager = make_manager(load_images=load)
    run = held_at(0, manager, gate, SHORT)
    assert manager.get(run).status.state is RunState.RUNNING
    gate.open()
    ended(manager, run)
    assert set(names) == {"runs-cpu"}
