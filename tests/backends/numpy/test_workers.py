"""The pool: every task once, exceptions, forks, idle threads."""

from __future__ import annotations

import gc
import multiprocessing
import re
import threading
import time
from collections.abc import Callable
from functools import partial

import pytest

from minigraph.backends.numpy.workers import Workers


def every_helper() -> set[threading.Thread]:
    return {
        thread for thread in threading.enumerate() if re.fullmatch("minigraph-[0-9]+", thread.name)
    }


@pytest.fixture
def helpers() -> Callable[[], set[threading.Thread]]:
    """The helper threads there are, but those of executables that other tests keep."""
    before = every_helper()
    return lambda: every_helper() - before


def record(seen, index, worker):
    seen.append((index, worker))


@pytest.mark.parametrize("threads", [1, 2, 3, 5])
@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_runs_every_task_once(threads, count):
    with Workers(threads) as workers:
        for _ in range(50):
            seen = []
            workers.run([partial(record, seen, index) for index in range(count)])
            assert sorted(index for index, _ in seen) == list(range(count))
            assert all(0 <= worker < threads for _, worker in seen)


def test_no_worker_runs_two_tasks_at_once():
    busy = [0] * 3
    overlaps = []

    def task(worker):
        busy[worker] += 1
        overlaps.append(busy[worker] > 1)
        time.sleep(0.001)
        busy[worker] -= 1

    with Workers(3) as workers:
        workers.run([task] * 20)
    assert not any(overlaps)


def test_tasks_run_at_the_same_time():
    barrier = threading.Barrier(3, timeout=10)
    with Workers(3) as workers:
        workers.run([lambda worker: barrier.wait()] * 3)


@pytest.mark.parametrize("threads", [1, 3])
def test_raises_the_exception_of_a_task_and_stays_usable(threads):
    def fail(worker):
        raise ZeroDivisionError("from a task")

    with Workers(threads) as workers:
        for _ in range(10):
            with pytest.raises(ZeroDivisionError, match="from a task"):
                workers.run([fail] * 4)
        done = []
        workers.run([lambda worker: done.append(worker)] * 4)
        assert len(done) == 4


def test_one_thread_needs_no_pool():
    before = threading.active_count()
    with Workers(1) as workers:
        workers.run([lambda worker: None] * 4)
        assert threading.active_count() == before


def test_close_ends_the_threads_and_run_starts_them_again(helpers):
    workers = Workers(3)
    for _ in range(2):
        workers.run([lambda worker: None] * 3)
        assert len(helpers()) == 2
        workers.close()
        assert not helpers()


def test_garbage_collection_ends_the_threads(helpers):
    workers = Workers(2)
    workers.run([lambda worker: None] * 2)
    del workers
    gc.collect()
    deadline = time.monotonic() + 5
    while helpers() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not helpers()


def _run_in_child(workers, pipe):
    done = []
    workers.run([lambda worker: done.append(worker)] * 5)
    workers.close()
    pipe.send(len(done))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # fork with threads: the point of it
def test_survives_a_fork():
    with Workers(2) as workers:
        workers.run([lambda worker: None] * 5)
        fork = multiprocessing.get_context("fork")
        receiver, sender = fork.Pipe(duplex=False)
        child = fork.Process(target=_run_in_child, args=(workers, sender))
        child.start()
        assert receiver.poll(20)
        assert receiver.recv() == 5
        child.join(20)
        workers.run([lambda worker: None] * 5)


def test_rejects_less_than_one_thread():
    with pytest.raises(ValueError, match="Expected at least one thread, got 0"):
        Workers(0)
