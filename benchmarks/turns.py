"""Time contenders that take turns, each in a process of its own.

Two numerical runtimes in one process spoil each other (idle threads spin), and a machine's speed
drifts: so every contender runs in its own process, is *stopped* while another is timed, and the
turns go A B C A B C ... Report medians with the 10-90% range, and ratios turn by turn. Run a
contender against itself first: the spread of that ratio is the smallest difference that may be
claimed.

Where time is limited, a contender that does not answer in time is left out, and so is what it has
started: the others go on.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from minigraph.interrupts import interrupts_delayed

# The last is what XLA takes for the number of processors.
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NPROC")

_BUILDING = 0.8  # of the time there is
_LEAST_PATIENCE = 10.0  # seconds to end a turn that was begun in time


@dataclass(frozen=True)
class Contender:
    """A name, and the command whose process serves steps (``benchmarks.serve``)."""

    name: str
    command: Sequence[str]


@dataclass
class Record:
    """What one contender did."""

    parameters: int
    """Numbers that training changes."""
    seconds: list[float] = field(default_factory=list)
    """The median seconds of a step, turn by turn."""
    peak_bytes: int | None = None
    """The process's peak resident memory above its imports; None where that is not known."""
    device_bytes: int | None = None
    """What it takes of a device's memory when it is built and warm."""


@dataclass
class Comparison:
    """Records by contender, and for those without one the reason."""

    records: dict[str, Record] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


class ContenderError(Exception):
    """A contender's process said what went wrong, or ended."""


@contextlib.contextmanager
def _ending_when_asked() -> Iterator[None]:
    """SIGTERM (of ``timeout``, say) ends as Ctrl-C does: no contender stays behind, stopped."""
    before = signal.getsignal(signal.SIGTERM)
    is_main = threading.current_thread() is threading.main_thread()
    if before in (signal.SIG_IGN, None) or not is_main:
        yield
        return

    def end(number: int, frame: object) -> None:
        signal.signal(number, signal.SIG_IGN)  # a second one would end the ending
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        # One that was asked to end goes on ignoring a second signal, until it has ended.
        if signal.getsignal(signal.SIGTERM) is end:
            signal.signal(signal.SIGTERM, before)


@_ending_when_asked()
def take_turns(
    contenders: Sequence[Contender],
    *,
    turns: int,
    steps: int,
    threads: int,
    patience: float | None = None,
    end: float | None = None,
    device_bytes: Callable[[], int | None] = lambda: None,
) -> Comparison:
    """Time all contenders; those that fail are left out, with the reason.

    So are those that take longer than ``patience`` (seconds) to be built, or for a turn. At ``end``
    (of ``time.monotonic``) no further turn begins, and all but a fifth of the time until then is
    there for building. ``device_bytes`` says what all processes take of a device now.

    Raises ValueError where they do not have the same number of parameters.
    """
    result = Comparison()
    processes: dict[str, _Process] = {}
    now = time.monotonic()
    built = None if end is None else now + _BUILDING * (end - now)

    def leave_out(name: str, reason: ContenderError) -> None:
        result.left_out[name] = str(reason)
        result.records.pop(name, None)
        processes[name].kill()
        processes.pop(name).wait()

    try:
        before = device_bytes()
        for contender in contenders:
            if built is not None and time.monotonic() > built:
                result.left_out[contender.name] = "no time left"
                continue
            with interrupts_delayed():  # or nobody would know the process
                processes[contender.name] = _Process(contender, threads, patience)
            try:
                record = Record(processes[contender.name].start(built))
            except ContenderError as error:
                leave_out(contender.name, error)
                continue
            after = device_bytes()
            if before is not None and after is not None:
                record.device_bytes = after - before
            before, result.records[contender.name] = after, record
        _check_sizes(result.records)
        for turn in range(turns):
            if turn > 0 and end is not None and time.monotonic() > end:
                break
            for name, process in list(processes.items()):
                try:
                    # The first step of a turn finds cold caches: it is made and not counted.
                    seconds = process.turn(steps + 1, end)[1:]
                    result.records[name].seconds.append(statistics.median(seconds))
                except ContenderError as error:
                    leave_out(name, error)
        for name, process in list(processes.items()):
            try:
                result.records[name].peak_bytes = process.end()
            except ContenderError as error:
                leave_out(name, error)
    finally:
        with interrupts_delayed():
            for process in processes.values():
                process.kill()
        for process in processes.values():
            process.wait()
    return result


def _check_sizes(records: Mapping[str, Record]) -> None:
    sizes = {name: record.parameters for name, record in records.items()}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"Expected contenders of one network, got these parameters: {sizes}")


class _Process:
    """A contender's process: running only while it has its turn. It leads a group of its own, so
    that what it starts ends with it."""

    def __init__(self, contender: Contender, threads: int, patience: float | None) -> None:
        environment = os.environ | dict.fromkeys(_THREAD_VARIABLES, str(threads))
        self.name = contender.name
        self._patience = patience
        self._late = ""  # what it did not do in time
        self.process = subprocess.Popen(
            contender.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=environment, start_new_session=True,
        )  # fmt: skip

    def start(self, end: float | None) -> int:
        """Wait until it is built and warm; its number of parameters."""
        parameters = self._answer("ready", "not built", end)
        self.process.send_signal(signal.SIGSTOP)
        return parameters

    def turn(self, steps: int, end: float | None) -> list[float]:
        """Seconds of each of some steps."""
        seconds = self._ask(f"{steps}", "seconds", end)
        self.process.send_signal(signal.SIGSTOP)
        return seconds

    def end(self) -> int | None:
        """Its peak memory, after which it is done."""
        return self._ask("end", "peak", None)

    def kill(self) -> None:
        """End it, and what it has started, without waiting."""
        with contextlib.suppress(ProcessLookupError, PermissionError):  # it has ended
            os.killpg(self.process.pid, signal.SIGKILL)

    def wait(self) -> None:
        """Until all that held its pipes has ended."""
        self.process.communicate()

    def _ask(self, question: str, word: str, end: float | None) -> Any:
        assert self.process.stdin is not None
        self.process.send_signal(signal.SIGCONT)
        # One that has ended takes no question; its status is then the answer.
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(f"{question}\n")
            self.process.stdin.flush()
        return self._answer(word, "a turn was not done", end)

    def _answer(self, word: str, late: str, end: float | None) -> Any:
        """What follows ``word``; other lines are a framework's own."""
        left = threading.TIMEOUT_MAX if end is None else end - time.monotonic()
        limit = min(self._patience or threading.TIMEOUT_MAX, max(left, _LEAST_PATIENCE))
        timer = threading.Timer(limit, self._give_up, [f"{late} in {limit:.0f} s"])
        timer.daemon = True
        timer.start()
        try:
            return self._read(word)
        except ContenderError:
            if self._late:
                raise ContenderError(self._late) from None
            raise
        finally:
            timer.cancel()

    def _give_up(self, late: str) -> None:
        self._late = late
        self.kill()

    def _read(self, word: str) -> Any:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            said, _, rest = line.partition(" ")
            if said == word:
                return json.loads(rest)
            if said == "failed":
                raise ContenderError(json.loads(rest))
        raise ContenderError(f"its process ended (status {self.process.wait()})")
