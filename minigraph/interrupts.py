"""Signals, put off while something must be finished."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import FrameType

_NAMES = ("INT", "TERM", "BREAK", "HUP", "USR1", "USR2", "ALRM", "VTALRM", "PROF")
_SIGNALS: tuple[int, ...] = tuple(  # that programs have handlers for
    getattr(signal, f"SIG{name}") for name in _NAMES if hasattr(signal, f"SIG{name}")
)


@contextmanager
def interrupts_delayed() -> Iterator[Sequence[object]]:
    """Let Ctrl-C and other signals wait until the block has ended: their handlers are called then.

    A handler may raise, or use what the block has taken: neither may happen in its midst. The block
    gets a sequence that is empty until it may end early, where that does no harm, as
    KeyboardInterrupt will follow. It stays empty where the program has a handler of its own, which
    need not raise anything: what follows the block then counts on what the block has done.
    Python gives signals to the main thread alone: elsewhere nothing is to be done.
    """
    if threading.current_thread() is not threading.main_thread():
        yield ()
        return
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    held = [number for number in _SIGNALS if callable(handlers[number])]
    pending: dict[int, FrameType | None] = {}
    raising: list[int] = []

    def hold(number: int, frame: FrameType | None) -> None:
        pending.setdefault(number, frame)
        if handlers[number] is signal.default_int_handler:
            raising.append(number)

    def release(number: int) -> None:
        try:
            signal.signal(number, handlers[number])
        except BaseException:  # of a handler that is in its place again
            signal.signal(number, handlers[number])
            raise

    def call_handlers() -> None:
        with ExitStack() as calls:  # all of them, whichever raises
            for number, frame in pending.items():
                handler = handlers[number]
                assert callable(handler)
                calls.callback(handler, number, frame)

    with ExitStack() as ending:
        ending.callback(call_handlers)
        for number in held:
            ending.callback(release, number)
            signal.signal(number, hold)
        yield raising
