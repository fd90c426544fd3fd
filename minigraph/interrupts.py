"""Ctrl-C, put off while something must be finished."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interrupts_delayed() -> Iterator[Sequence[object]]:
    """Let Ctrl-C wait until the block has ended, and only then raise KeyboardInterrupt.

    The block gets a sequence that is empty until Ctrl-C is pressed, so that it can end early where
    that does no harm. Python interrupts the main thread alone: elsewhere nothing is to be done.
    """
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield ()
        return
    pending: list[tuple[int, FrameType | None]] = []
    try:
        signal.signal(signal.SIGINT, lambda number, frame: pending.append((number, frame)))
        yield pending
    finally:
        signal.signal(signal.SIGINT, handler)
        if pending:
            handler(*pending[0])
