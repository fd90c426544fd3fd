"""Threads: shared, asleep when idle, remade in a forked child, indifferent to each other."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("llvmlite")

import minigraph as mg
from minigraph.backends.llvm.workers import Workers, usable_cpus


def model(x):
    for _ in range(4):
        x = mg.tanh(x * 1.5 + 0.1)
    return {"y": x}


TASKS = Path("/proc/self/task")  # one entry a thread
SPEC = {"x": "float32[64,1000]"}
X = np.random.default_rng(0).standard_normal((64, 1000)).astype(np.float32)


def compiled(threads):
    return mg.compile(model, SPEC, backend="llvm", threads=threads)


def test_the_same_bits_whatever_the_number_of_threads():
    expected = compiled(1)(x=X)["y"]
    for threads in (2, 3, 8):
        np.testing.assert_array_equal(compiled(threads)(x=X)["y"], expected)


def test_executables_in_several_python_threads_do_not_disturb_each_other():
    executables = [compiled(2) for _ in range(4)]
    expected = executables[0](x=X)["y"]
    wrong = []

    def work(executable):
        for _ in range(100):
            if not np.array_equal(executable(x=X)["y"], expected):
                wrong.append(executable)

    threads = [threading.Thread(target=work, args=(e,)) for e in executables]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong and not any(thread.is_alive() for thread in threads)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_has_workers_of_its_own():
    executable = compiled(2)
    expected = executable(x=X)["y"]
    child = os.fork()
    if child == 0:
        same = np.array_equal(executable(x=X)["y"], expected)
        os._exit(0 if same else 1)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            assert os.waitstatus_to_exitcode(status) == 0
            break
        time.sleep(0.01)
    else:
        os.kill(child, 9)
        pytest.fail("the child hangs")
    np.testing.assert_array_equal(executable(x=X)["y"], expected)


def test_workers_wake_after_they_have_slept():
    executable = compiled(3)
    expected = executable(x=X)["y"]
    for _ in range(5):
        time.sleep(0.02)  # spinning ends after some milliseconds
        np.testing.assert_array_equal(executable(x=X)["y"], expected)


@pytest.mark.skipif(not TASKS.is_dir(), reason="needs /proc")
def test_idle_workers_use_no_processor():
    compiled(2)(x=X)
    time.sleep(0.2)
    start = time.process_time()
    time.sleep(0.5)
    assert time.process_time() - start < 0.1


@pytest.mark.skipif(not TASKS.is_dir(), reason="needs /proc")
def test_executables_share_the_worker_threads():
    compiled(4)(x=X)
    before = len(list(TASKS.iterdir()))
    for _ in range(5):
        compiled(4)(x=X)
        compiled(2)(x=X)
    assert len(list(TASKS.iterdir())) == before


def test_a_larger_team_takes_the_smaller_ones_place():
    workers = Workers()
    rows = np.zeros((0, 3), np.int64)
    flag = np.zeros(1, np.int64)
    for threads in (2, 5, 3):
        workers.run(rows, threads, flag.ctypes.data)
    assert workers._team is not None and workers._team.threads == 5


def test_usable_processors():
    assert 1 <= usable_cpus() <= (os.cpu_count() or 1)
