"""Make the next batches in the background while the current one is worked on."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator, Iterable
from typing import Generic, TypeVar

T = TypeVar("T")


def prefetch(iterable: Iterable[T], buffer: int = 2) -> Generator[T, None, None]:
    """The same items in the same order, made by one thread, up to `buffer` of them ahead.

    The thread starts when the first item is asked for. It ends with the last item, with an error,
    or when the iterator is closed or dropped (a ``break`` out of a loop over it does): it then
    finishes the item that it is at, closes `iterable` if that is a generator, and is waited for.

    Args:
        iterable: gone over in the thread, such as ``batches(...)``; nobody else may use it.
        buffer: how many items may wait, made and not yet taken; they are held in memory.

    Yields:
        The items of `iterable`.

    Raises:
        ValueError: at the call, if `buffer` is below 1.
        Exception: whatever `iterable` raised, the same object, after the items before it.
    """
    if buffer < 1:
        raise ValueError(f"Expected a buffer of at least 1, got {buffer}")
    return _consume(_Queue(iterable, buffer))


class _Queue(Generic[T]):
    """What the two threads share, and the thread's work.

    Attributes:
        changed: held to touch what follows; notified after every change.
        items: made and not yet taken, the oldest first.
        error: what `source` raised.
        finished: no item will follow.
        stopped: nobody wants further items.
    """

    def __init__(self, source: Iterable[T], buffer: int) -> None:
        self.source = source
        self.buffer = buffer
        self.changed = threading.Condition()
        self.items: deque[T] = deque()
        self.error: BaseException | None = None
        self.finished = False
        self.stopped = False

    def work(self) -> None:
        """Fill the queue until the source ends or nobody wants more."""
        try:
            iterator = iter(self.source)
            try:
                while self.wait_for_room():
                    try:
                        item = next(iterator)
                    except StopIteration:
                        break
                    with self.changed:
                        self.items.append(item)
                        self.changed.notify_all()
            finally:
                # In this thread: a generator cannot be closed by another while it runs.
                close = getattr(iterator, "close", None)
                if close is not None:
                    close()
        except BaseException as error:  # the consumer raises it
            self.error = error
        finally:
            with self.changed:
                self.finished = True
                self.changed.notify_all()

    def wait_for_room(self) -> bool:
        """Wait until one more item may be made; False if none is wanted."""
        with self.changed:
            self.changed.wait_for(lambda: self.stopped or len(self.items) < self.buffer)
            return not self.stopped

    def take(self) -> list[T]:
        """The next item in a list of one; an empty list if there is none."""
        with self.changed:
            self.changed.wait_for(lambda: self.items or self.finished)
            taken = [self.items.popleft()] if self.items else []
            self.changed.notify_all()
        return taken

    def stop(self) -> None:
        """Have the thread end."""
        with self.changed:
            self.stopped = True
            self.items.clear()
            self.changed.notify_all()


def _consume(queue: _Queue[T]) -> Generator[T, None, None]:
    thread = threading.Thread(target=queue.work, name="minigraph-prefetch", daemon=True)
    thread.start()
    try:
        while taken := queue.take():
            yield taken.pop()
        if queue.error is not None:
            raise queue.error
    finally:
        queue.stop()
        # The garbage collector may close a dropped iterator in any thread, this one included.
        if threading.current_thread() is not thread:
            thread.join()
