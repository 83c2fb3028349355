"""Threads that share work, and the kernels' layout of images."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from dverge.models.kernels import LANES, WorkerPool, from_lanes, to_lanes

LONG = 30.0  # seconds; no test waits for it


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 3, 50])
def test_results_come_in_order(threads: int, count: int) -> None:
    results = WorkerPool(threads).map(lambda a, b: 100 * a + b, ((i, i % 7) for i in range(count)))
    assert results == [100 * i + i % 7 for i in range(count)]


def test_all_threads_work_at_once() -> None:
    all_working = threading.Barrier(3, timeout=LONG)

    def task(_: int) -> int:
        all_working.wait()
        return threading.get_ident()

    threads = WorkerPool(3).map(task, [(0,), (1,), (2,)])
    assert len(set(threads)) == 3
    assert threading.get_ident() in threads


@pytest.mark.parametrize("bad", range(3))
def test_an_error_is_raised_in_the_calling_thread(bad: int) -> None:
    all_working = threading.Barrier(3, timeout=LONG)  # each task in another thread

    def task(i: int) -> None:
        all_working.wait()
        if i == bad:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        WorkerPool(3).map(task, [(0,), (1,), (2,)])


def test_each_thread_and_type_has_its_own_workspace() -> None:
    pool = WorkerPool(1)
    first = pool.workspace(torch.float64)
    assert pool.workspace(torch.float64) is first
    assert pool.workspace(torch.float32) is not first
    assert (first.fc3.dtype, pool.workspace(torch.float32).fc3.dtype) == ("float64", "float32")
    with ThreadPoolExecutor(1) as other:
        assert other.submit(pool.workspace, torch.float64).result() is not first
    assert WorkerPool(1).workspace(torch.float64) is not first
    lengths = {name: array.size for name, array in first._asdict().items() if name != "zero"}
    assert all(length % LANES == 0 for length in lengths.values())
    assert lengths["d_image"] == 3 * 32 * 32 * LANES


@pytest.mark.parametrize("count", [1, LANES - 1, LANES, LANES + 1, 3 * LANES])
def test_lanes(count: int) -> None:
    """Number f of image b·LANES + n is at f·LANES + n of block b; empty lanes are zero."""
    values = torch.arange(1.0, count * 6 + 1).view(count, 3, 2)
    blocks = to_lanes(values)
    expected = torch.zeros(-(-count // LANES), 6 * LANES)
    for image in range(count):
        for f in range(6):
            expected[image // LANES, f * LANES + image % LANES] = image * 6 + f + 1
    assert blocks.equal(expected) and blocks.is_contiguous()
    assert from_lanes(blocks, count).view_as(values).equal(values)
