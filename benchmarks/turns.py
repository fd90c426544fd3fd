"""Time contenders that take turns, each in a process of its own.

Two numerical runtimes in one process spoil each other (idle threads spin), and a machine's speed
drifts: so every contender runs in its own process, is *stopped* while another is timed, and the
turns go A B C A B C ... Report medians with the 10-90% range, and ratios turn by turn. Run a
contender against itself first: the spread of that ratio is the smallest difference that may be
claimed.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import statistics
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# The last is what XLA takes for the number of processors.
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NPROC")


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


@dataclass
class Comparison:
    """Records by contender, and for those without one the reason."""

    records: dict[str, Record] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


class ContenderError(Exception):
    """A contender's process said what went wrong, or ended."""


def take_turns(
    contenders: Sequence[Contender],
    *,
    turns: int,
    steps: int,
    threads: int,
    patience: float | None = None,
) -> Comparison:
    """Time all contenders; those that fail are left out, with the reason.

    So are those that take longer than ``patience`` (seconds) to be built.

    Raises ValueError where they do not have the same number of parameters.
    """
    result = Comparison()
    processes: dict[str, _Process] = {}

    def leave_out(name: str, reason: ContenderError) -> None:
        result.left_out[name] = str(reason)
        result.records.pop(name, None)
        processes.pop(name).kill()

    try:
        for contender in contenders:
            processes[contender.name] = _Process(contender, threads)
            try:
                result.records[contender.name] = Record(processes[contender.name].start(patience))
            except ContenderError as error:
                leave_out(contender.name, error)
        _check_sizes(result.records)
        for turn in range(turns):
            for name, process in list(processes.items()):
                try:
                    # The first step of a turn finds cold caches: it is made and not counted.
                    seconds = process.turn(steps + 1)[1:]
                    result.records[name].seconds.append(statistics.median(seconds))
                    if turn == turns - 1:
                        result.records[name].peak_bytes = process.end()
                except ContenderError as error:
                    leave_out(name, error)
    finally:
        for process in processes.values():
            process.kill()
    return result


def _check_sizes(records: Mapping[str, Record]) -> None:
    sizes = {name: record.parameters for name, record in records.items()}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"Expected contenders of one network, got these parameters: {sizes}")


class _Process:
    """A contender's process: running only while it has its turn."""

    def __init__(self, contender: Contender, threads: int) -> None:
        environment = os.environ | dict.fromkeys(_THREAD_VARIABLES, str(threads))
        self.name = contender.name
        self._is_late = False
        self.process = subprocess.Popen(
            contender.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=environment,
        )  # fmt: skip

    def start(self, patience: float | None) -> int:
        """Wait until it is built and warm; its number of parameters."""
        timer = threading.Timer(threading.TIMEOUT_MAX if patience is None else patience, self._end)
        timer.daemon = True
        timer.start()
        try:
            parameters = self._answer("ready")
        except ContenderError:
            if self._is_late:
                raise ContenderError(f"not built in {patience:g} s") from None
            raise
        finally:
            timer.cancel()
        self.process.send_signal(signal.SIGSTOP)
        return parameters

    def _end(self) -> None:
        self._is_late = True
        self.process.kill()

    def turn(self, steps: int) -> list[float]:
        """Seconds of each of some steps."""
        seconds = self._ask(f"{steps}", "seconds")
        self.process.send_signal(signal.SIGSTOP)
        return seconds

    def end(self) -> int | None:
        """Its peak memory, after which it is done."""
        return self._ask("end", "peak")

    def kill(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.communicate()

    def _ask(self, question: str, word: str) -> Any:
        assert self.process.stdin is not None
        self.process.send_signal(signal.SIGCONT)
        # One that has ended takes no question; its status is then the answer.
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(f"{question}\n")
            self.process.stdin.flush()
        return self._answer(word)

    def _answer(self, word: str) -> Any:
        """What follows ``word``; other lines are a framework's own."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            said, _, rest = line.partition(" ")
            if said == word:
                return json.loads(rest)
            if said == "failed":
                raise ContenderError(json.loads(rest))
        raise ContenderError(f"its process ended (status {self.process.wait()})")
