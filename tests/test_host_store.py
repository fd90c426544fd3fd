"""Variables in host memory, and the lock that readers and writers of a state share."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from minigraph.backend import channels_last
from minigraph.host_store import HostStore, SharedLock
from minigraph.ir.spec import DType, TensorSpec

IMAGES = TensorSpec((2, 3, 4, 5), DType.FLOAT32)


def test_what_cannot_be_filled_is_not_made():
    store = HostStore(channels_last)
    with pytest.raises(ValueError, match="broadcast"):
        store.create("w", IMAGES, np.zeros((7, 7)))
    assert not store.specs() and store.version == 0


def test_several_variables_are_read_and_written_as_they_are_meant():
    rng = np.random.default_rng(0)
    values = {name: rng.standard_normal(IMAGES.shape, np.float32) for name in "abc"}
    store = HostStore(channels_last)
    for name in values:
        store.create(name, IMAGES, np.zeros(IMAGES.shape, np.float32))
    store.write({name: values[name] for name in "ac"})
    read = store.read("cba")
    assert list(read) == ["c", "b", "a"] and not read["b"].any()
    for name in "ac":
        np.testing.assert_array_equal(read[name], values[name])


def waits(lock: SharedLock, threads: int) -> None:
    """Until so many threads have asked for it in all."""
    deadline = time.monotonic() + 30
    while lock._tickets < threads:
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_first_come_first_served():
    lock, order = SharedLock(), []

    def enter(kind: str) -> None:
        with lock.writing() if kind == "writer" else lock.reading():
            order.append(kind)

    threads = []
    with lock.reading():
        for number, kind in enumerate(["writer", "reader", "writer"], start=2):
            threads.append(threading.Thread(target=enter, args=(kind,), daemon=True))
            threads[-1].start()
            waits(lock, number)
        assert not order
    for thread in threads:
        thread.join(30)
    assert order == ["writer", "reader", "writer"]


def test_readers_overlap():
    lock = SharedLock()
    both = threading.Barrier(2, timeout=30)

    def read() -> None:
        with lock.reading():
            both.wait()

    other = threading.Thread(target=read, daemon=True)
    other.start()
    read()
    other.join(30)


def test_readers_without_a_pause_keep_no_writer_out():
    lock, done = SharedLock(), threading.Event()
    inside = threading.Semaphore(0)

    def read() -> None:
        while not done.is_set():
            with lock.reading():
                inside.release()
                time.sleep(0.002)

    readers = [threading.Thread(target=read, daemon=True) for _ in range(3)]
    for reader in readers:
        reader.start()
    for _ in range(10):
        inside.acquire(timeout=30)

    def write() -> None:
        for _ in range(20):
            with lock.writing():
                pass

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    writer.join(60)
    done.set()
    assert not writer.is_alive()
    for reader in readers:
        reader.join(30)
