"""Time contenders that take turns, each in a process of its own.

Two numerical runtimes in one process spoil each other (idle threads spin), and a machine's speed
drifts: so every contender runs in its own process, is *stopped* while another is timed, and the
turns go A B C A B C ... Report medians with the 10-90% range, and ratios turn by turn. Run a
contender against itself first: the spread of that ratio is the smallest difference that may be
claimed.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Contender:
    """A name, and the command whose process serves steps (see ``serve``)."""

    name: str
    command: Sequence[str]


class _Process:
    """A contender's process: running only while it has its turn."""

    def __init__(self, contender: Contender, threads: int) -> None:
        environment = os.environ | dict.fromkeys(_THREAD_VARIABLES, str(threads))
        self.name = contender.name
        self.process = subprocess.Popen(
            contender.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=environment,
        )  # fmt: skip
        self._expect("ready")
        self.process.send_signal(signal.SIGSTOP)

    def turn(self, steps: int) -> list[float]:
        """Seconds of each of some steps."""
        assert self.process.stdin is not None
        self.process.send_signal(signal.SIGCONT)
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        seconds = json.loads(self._expect("["))
        self.process.send_signal(signal.SIGSTOP)
        return seconds

    def close(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()

    def _expect(self, start: str) -> str:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(start):
                return line
        raise RuntimeError(f"Expected '{start}...' from {self.name}, got the end of its output")


def serve(step: Callable[[], object], clock: Callable[[], float], warmup: int = 3) -> None:
    """A contender's side: warm up, then time as many steps as each line of input asks for."""
    for _ in range(warmup):
        step()
    print("ready", flush=True)
    for line in sys.stdin:
        seconds = []
        for _ in range(int(line)):
            start = clock()
            step()
            seconds.append(clock() - start)
        print(json.dumps(seconds), flush=True)


def take_turns(
    contenders: Sequence[Contender], *, turns: int, steps: int, threads: int
) -> dict[str, list[float]]:
    """Each contender's median seconds of a step, turn by turn."""
    processes = [_Process(contender, threads) for contender in contenders]
    medians: dict[str, list[float]] = {process.name: [] for process in processes}
    try:
        for _ in range(turns):
            for process in processes:
                # The first step of a turn finds cold caches: it is made and not counted.
                medians[process.name].append(statistics.median(process.turn(steps + 1)[1:]))
    finally:
        for process in processes:
            process.close()
    return medians


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    """10%, median and 90% of some values."""
    ordered = sorted(values)
    last = len(ordered) - 1
    return ordered[round(0.1 * last)], statistics.median(ordered), ordered[round(0.9 * last)]


def report(medians: dict[str, list[float]], reference: str, title: str) -> str:
    """A table: milliseconds, and the ratio to the reference in the same turn."""
    head = f"{'':24} {'ms':>8} {'10-90%':>17}   {'ratio':>6} {'10-90%':>13}"
    lines = [title, machine(), "", head]
    for name, seconds in medians.items():
        low, middle, high = (1e3 * value for value in spread(seconds))
        pairs = zip(seconds, medians[reference], strict=True)
        rlow, rmiddle, rhigh = spread([own / other for own, other in pairs])
        lines.append(
            f"{name:24} {middle:8.1f} {low:8.1f}-{high:8.1f}   "
            f"{rmiddle:6.2f} {rlow:6.2f}-{rhigh:6.2f}"
        )
    return "\n".join(lines)


def machine() -> str:
    """What the figures were taken on."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    return f"{model}, {os.cpu_count()} CPUs, Python {platform.python_version()}"
