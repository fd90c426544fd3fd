"""Signals that wait for the end of a block."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator

import pytest

from minigraph.interrupts import interrupts_delayed

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGALRM)


@pytest.fixture
def handle() -> Iterator[Callable[..., None]]:
    """Sets a handler; afterwards all is as before."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield signal.signal
    for number, handler in before.items():
        signal.signal(number, handler)


def test_ctrl_c_is_raised_after_the_block_which_may_end_early():
    reached = []
    with pytest.raises(KeyboardInterrupt), interrupts_delayed() as interrupted:
        assert not interrupted
        signal.raise_signal(signal.SIGINT)
        assert interrupted
        reached.append("the end")
    assert reached == ["the end"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("number", SIGNALS)
def test_a_handler_that_need_not_raise_is_called_after_a_block_that_goes_on(number, handle):
    heard = []
    handle(number, lambda number, frame: heard.append((number, frame is not None)))
    with interrupts_delayed() as interrupted:
        for _ in range(3):
            signal.raise_signal(number)
        assert not interrupted and not heard
    assert heard == [(number, True)]


def test_each_handler_is_called_even_where_another_raises(handle):
    heard = []

    def end(number, frame):
        heard.append(number)
        raise SystemExit(128 + number)

    for number in SIGNALS:
        handle(number, end)
    with pytest.raises(SystemExit), interrupts_delayed():
        for number in SIGNALS:
            signal.raise_signal(number)
    assert sorted(heard) == sorted(SIGNALS)


def test_an_error_of_the_block_is_raised_where_no_signal_came(handle):
    with pytest.raises(ZeroDivisionError), interrupts_delayed():
        1 / 0  # noqa: B018
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("number", SIGNALS)
def test_what_is_ignored_stays_ignored(number, handle):
    handle(number, signal.SIG_IGN)
    with interrupts_delayed() as interrupted:
        signal.raise_signal(number)
        assert not interrupted and signal.getsignal(number) is signal.SIG_IGN


def test_other_threads_get_no_signals():
    seen = []

    def work():
        with interrupts_delayed() as interrupted:
            seen.append(interrupted)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [()]
