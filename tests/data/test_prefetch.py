"""Prefetching: the same items, ahead of time, and a thread that ends whatever happens."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from minigraph.data import batches, generate_shapes, prefetch, random_horizontal_flip

PATIENCE = 20  # seconds until a thing that should happen is said not to


def workers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "minigraph-prefetch"]


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    gc.collect()
    assert workers() == []


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.002)


@pytest.mark.parametrize("buffer", [1, 2, 7, 100])
def test_the_items_and_their_order_stay(buffer):
    assert list(prefetch(range(50), buffer)) == list(range(50))
    assert list(prefetch([], buffer)) == []
    assert list(prefetch([None, 0, False], buffer)) == [None, 0, False]


def test_batches_are_the_same_as_without():
    dataset = generate_shapes(7, (32, 32))
    options = {"shuffle": True, "seed": 3, "epoch": 2, "augment": random_horizontal_flip}
    plain = list(batches(dataset, 2, **options))
    ahead = list(prefetch(batches(dataset, 2, **options)))
    assert len(plain) == len(ahead) == 4
    for a, b in zip(plain, ahead, strict=True):
        for key in ("image", "label"):
            np.testing.assert_array_equal(a[key], b[key])
            assert a[key].dtype == b[key].dtype


@pytest.mark.parametrize("buffer", [1, 3])
def test_no_more_than_the_buffer_is_made_ahead(buffer):
    made = []

    def source():
        for number in range(20):
            made.append(number)
            yield number

    items = prefetch(source(), buffer)
    for taken in range(1, 6):
        next(items)
        wait_until(lambda taken=taken: len(made) == taken + buffer)
        time.sleep(0.02)  # time enough to make one too many
        assert len(made) == taken + buffer
    items.close()


def test_items_are_made_by_another_thread_while_the_consumer_works():
    second_began = threading.Event()
    threads = set()

    def source():
        threads.add(threading.current_thread())
        yield 1
        second_began.set()
        yield 2

    items = prefetch(source(), 1)
    assert not threads  # nothing before the first item is asked for
    assert next(items) == 1
    assert second_began.wait(PATIENCE)  # with nobody asking for the second
    assert list(items) == [2]
    assert threads.isdisjoint({threading.current_thread()})


def test_an_error_is_raised_as_it_was_after_the_items_before_it():
    error = ValueError("Expected a picture, got 'truncated': masks/0016E5.png")

    def source():
        yield 1
        yield 2
        raise error

    items = prefetch(source(), 5)
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(ValueError, match=r"masks/0016E5\.png") as caught:
        next(items)
    assert caught.value is error
    assert any(entry.name == "source" for entry in caught.traceback)
    assert list(items) == []


def test_errors_before_the_first_item_are_raised_too():
    with pytest.raises(TypeError, match="not iterable"):
        next(prefetch(3))  # type: ignore[arg-type]


def test_closing_stops_the_thread_and_the_source():
    closed = []

    def source():
        try:
            while True:
                yield 0
        finally:
            closed.append(threading.current_thread())

    items = prefetch(source())
    next(items)
    (worker,) = workers()
    items.close()
    assert not worker.is_alive()
    assert closed == [worker]
    assert list(items) == []


def test_a_break_or_an_error_in_the_loop_stops_the_thread():
    for _ in prefetch(iter(int, 1)):
        break
    gc.collect()
    assert workers() == []
    with pytest.raises(KeyError):
        for _ in (items := prefetch(iter(int, 1))):
            raise KeyError
    items.close()
    assert workers() == []


def test_closing_waits_for_the_item_in_the_making():
    began, finished = threading.Event(), threading.Event()

    def source():
        yield 0
        began.set()
        time.sleep(0.05)
        finished.set()
        yield 1

    items = prefetch(source())
    next(items)
    assert began.wait(PATIENCE)
    items.close()
    assert finished.is_set()


def test_an_iterator_that_was_never_used_starts_nothing():
    items = prefetch(range(3))
    assert workers() == []
    del items


@pytest.mark.parametrize("buffer", [0, -1])
def test_a_buffer_of_nothing_is_refused_at_the_call(buffer):
    with pytest.raises(ValueError, match=f"at least 1, got {buffer}"):
        prefetch(range(3), buffer)
