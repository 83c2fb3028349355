"""Several managers of one folder, as the app, a second app and the command line are."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from dverge.checkpoints import CheckpointInfo
from dverge.errors import RunError
from dverge.runs import RunFolder, RunManager, RunState, Status
from tests.runs.small import (
    ALL,
    CONFIG,
    LONG,
    PER_EPOCH,
    Gate,
    Result,
    load_images,
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
    gate.close_at(PER_EPOCH + 1)
    run = owner.submit(CONFIG, "mine")
    queued = owner.submit(CONFIG, "next")
    gate.wait()
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
    assert owner.wait(run, LONG).state is RunState.FINISHED
    assert not other.get(run).elsewhere


def test_a_run_goes_on_in_another_process(
    make_manager: MakeManager, gate: Gate, checkpoint: ReadCheckpoint, reference: Result
) -> None:
    first, second = make_manager(), make_manager()
    gate.close_at(PER_EPOCH + 2)
    run = first.submit(CONFIG, "moved")
    gate.wait()
    first.stop(run)
    gate.open()
    first.wait(run, LONG)
    gate.close_at(PER_EPOCH + 4)
    second.resume(run)
    gate.wait()
    assert first.get(run).elsewhere
    gate.open()
    assert first.wait(run, LONG).state is RunState.FINISHED
    assert same(weights_of(checkpoint("moved")), reference.weights)
    assert untimed(first.metrics(run)) == reference.epochs


def test_of_those_who_resume_at_once_one_wins(make_manager: MakeManager, gate: Gate) -> None:
    managers = [make_manager() for _ in range(4)]
    gate.close_at(2)
    run = managers[0].submit(CONFIG, "wanted")
    gate.wait()
    managers[0].stop(run)
    gate.open()
    managers[0].wait(run, LONG)
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
    assert managers[0].wait(run, LONG).state is RunState.FINISHED


def left_behind(manager: RunManager, state: RunState, age: float) -> RunFolder:
    """A run whose process is gone."""
    folder = RunFolder.create(manager.root, "left", "vanilla", CONFIG.to_dict())
    folder.write_status(Status(state, progress=0.25, updated=time.time() - age))
    return folder


@pytest.mark.parametrize(
    "state", [RunState.QUEUED, RunState.RUNNING, RunState.PAUSING, RunState.STOPPING]
)
def test_a_run_whose_process_is_gone_is_interrupted(state: RunState, manager: RunManager) -> None:
    folder = left_behind(manager, state, age=10)
    view = manager.get(folder.id)
    assert (view.status.state, view.elsewhere) == (RunState.INTERRUPTED, False)
    assert view.status.progress == 0.25
    assert "The process that worked on it ended" in view.status.message
    assert folder.status() == view.status  # written, so that it need not be found out again
    manager.resume(folder.id)
    assert manager.wait(folder.id, LONG).state is RunState.FINISHED


def test_a_run_left_can_be_deleted(manager: RunManager) -> None:
    folder = left_behind(manager, RunState.RUNNING, age=10)
    manager.delete(folder.id)
    assert manager.views() == []


def test_a_run_just_made_is_not_taken_for_one_left(manager: RunManager) -> None:
    """Its process takes the lock a moment after the folder is there."""
    folder = left_behind(manager, RunState.QUEUED, age=0)
    view = manager.get(folder.id)
    assert (view.status.state, view.elsewhere) == (RunState.QUEUED, True)


def test_looking_is_not_in_the_way_of_resuming(make_manager: MakeManager, gate: Gate) -> None:
    """Many look at a run that was left, so trying its lock, while it is resumed again and again."""
    manager, other = make_manager(), make_manager()
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            other.views()

    lookers = [threading.Thread(target=look) for _ in range(3)]
    for looker in lookers:
        looker.start()
    try:
        for _ in range(8):
            folder = left_behind(manager, RunState.RUNNING, age=10)
            manager.resume(folder.id)
            manager.pause(folder.id)
            assert manager.wait(folder.id, LONG).state is RunState.PAUSED
    finally:
        over.set()
        for looker in lookers:
            looker.join(LONG)


def test_closing_saves_what_runs_and_what_waits(
    make_manager: MakeManager, gate: Gate, checkpoint: ReadCheckpoint, reference: Result
) -> None:
    """As when the app is ended with Ctrl-C."""
    manager = make_manager()
    gate.close_at(PER_EPOCH + 2)
    run = manager.submit(CONFIG, "closed")
    queued = manager.submit(replace(CONFIG, epochs=1), "waiting")
    gate.wait()
    threading.Timer(0.1, gate.open).start()
    manager.close(LONG)
    next_day = make_manager()
    for each in (run, queued):
        status = next_day.get(each).status
        assert status.state is RunState.INTERRUPTED
        assert "The app was closed" in status.message
        next_day.resume(each)
    assert next_day.wait(run, LONG).state is RunState.FINISHED
    assert same(weights_of(checkpoint("closed")), reference.weights)
    assert untimed(next_day.metrics(run)) == reference.epochs
    assert next_day.wait(queued, LONG).state is RunState.FINISHED


def test_views_are_cheap_and_never_raise(
    make_manager: MakeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fifty runs, some of them coming and going, looked at by many tabs."""
    manager, other = make_manager(), make_manager()
    for i in range(50):
        left_behind(manager, RunState.PAUSED if i % 2 else RunState.RUNNING, age=10)
    manager.views()
    began = time.perf_counter()
    for _ in range(10):
        assert len(manager.views()) == 50
    assert (time.perf_counter() - began) / 10 < 0.25  # 0.003 on a quiet machine
    failures: list[BaseException] = []
    over = threading.Event()

    def look(manager: RunManager) -> None:
        try:
            while not over.is_set():
                for view in manager.views():
                    assert view.status.state in RunState
                manager.broken()
                time.sleep(0.002)  # a page takes a second
        except BaseException as error:
            failures.append(error)
            raise

    lookers = [threading.Thread(target=look, args=(each,)) for each in (manager, other) * 3]
    for looker in lookers:
        looker.start()
    try:
        short = replace(CONFIG, epochs=1, members=1)
        for round_ in range(4):
            run = manager.submit(short, f"run-{round_}")
            for view in other.views()[-5:]:
                other.delete(view.id)
            assert manager.wait(run, LONG).state is RunState.FINISHED
            manager.delete(run)
    finally:
        over.set()
        for looker in lookers:
            looker.join(LONG)
    assert not failures
    assert len(manager.views()) == 50 - 20
    assert manager.broken() == []


def test_the_images_are_loaded_by_the_worker(make_manager: MakeManager, gate: Gate) -> None:
    """Submitting does not keep a page waiting."""
    gate.close_at(0)
    names: list[str] = []

    def slow(split: object) -> object:
        names.append(threading.current_thread().name)
        gate.arrive(0)
        return load_images(split)  # type: ignore[arg-type]

    manager = make_manager(load_images=slow)
    run = manager.submit(replace(CONFIG, epochs=1), "slow")
    gate.wait()
    assert manager.get(run).status.state is RunState.RUNNING
    gate.open()
    manager.wait(run, LONG)
    assert set(names) == {"runs-cpu"}
