"""Ctrl-C and SIGTERM as a question that a loop asks between its steps."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(Exception):
    """Raised by `StopRequest.check` where the user wants the run to end."""


class StopRequest:
    """Whether somebody asked for the end."""

    def __init__(self) -> None:
        self._asked = False

    @property
    def was_made(self) -> bool:
        return self._asked

    def ask(self, number: int, _frame: object) -> None:
        """Remember it. A second Ctrl-C ends at once, as it does elsewhere; not a second SIGTERM,
        as the command ``timeout`` sends two."""
        if self._asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._asked = True

    def check(self) -> None:
        """Raise Interrupted if the end was asked for."""
        if self._asked:
            raise Interrupted


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Turn Ctrl-C and SIGTERM into a request while the block runs, unless they are ignored.

    Python gives signals to the main thread alone; in others the request is never made.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    heeded = [n for n in SIGNALS if signal.getsignal(n) not in (signal.SIG_IGN, None)]
    before = {number: signal.signal(number, request.ask) for number in heeded}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
