"""A contender's side: build its steps, then answer lines of input with times."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.contenders.steps import Steps

_STATUS = Path("/proc/self/status")
_WARM_UP = 3
_LONGEST = 200


def serve(build: Callable[[], Steps]) -> None:
    """Say ``ready`` and the number of parameters, or ``failed`` and why.

    Then a line with a number runs so many steps and says their ``seconds``; ``end`` says the
    ``peak`` of resident bytes since before ``build`` and ends. What is said is JSON. Steps that can
    be queued are, after the first one: each then took the same share of the time until the last
    was done.
    """
    before = _resident("VmRSS")
    try:
        steps = build()
        for _ in range(_WARM_UP):
            _check_finite(steps.step())
    except Exception as error:  # of any framework: it is left out, and the others go on
        _say("failed", _in_short(error))
        return
    _say("ready", steps.parameters)
    for line in sys.stdin:
        if line.strip() == "end":
            break
        _say("seconds", _times(steps, int(line)))
    _check_finite(steps.step())
    peak = _resident("VmHWM")
    _say("peak", None if before is None or peak is None else peak - before)


def _times(steps: Steps, count: int) -> list[float]:
    if steps.queue is None or count < 2:
        return [_time(steps.step) for _ in range(count)]
    first = _time(steps.step)
    start = time.perf_counter()
    for _ in range(count - 2):
        steps.queue()
    steps.step()
    return [first, *[(time.perf_counter() - start) / (count - 1)] * (count - 1)]


def _time(step: Callable[[], object]) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def _check_finite(result: float | np.ndarray) -> None:
    if not np.isfinite(result).all():
        raise ValueError("Expected a finite loss or finite logits, got others")


def _say(word: str, value: object) -> None:
    print(word, json.dumps(value), flush=True)


def _in_short(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:_LONGEST]


def _resident(name: str) -> int | None:
    """Bytes of resident memory, now (VmRSS) or at most (VmHWM); Linux alone says.

    ``getrusage`` would know the peak elsewhere, but it counts the parent's memory before exec too.
    """
    if not _STATUS.is_file():
        return None
    lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
    return 1024 * int(lines[name].split()[0])
