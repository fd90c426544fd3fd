"""Run tests for a GPU so that a fault costs one test, and what was found before it is kept.

An illegal address spoils a process for all that comes after, and a kernel may hang. So tests are
shared out among processes, each of which writes down what it begins and what came of it; one that
crashes, hangs or has lost its device ends, and another goes on after the test that did it. This
module is both sides: ``run_tests``, and the plugin of pytest that the processes load.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_SETTINGS = "MINIGRAPH_GPU_TESTS"  # a process's share, as JSON
_GIVEN_UP = 70  # exit status of a process that is no good any more
_DONE = (0, 1, 5)  # pytest's: all passed, some failed, none left to run


def run_tests(
    tests: Path, selected: str, *, seconds: float, workers: int, test_seconds: float = 60
) -> dict[str, Any]:
    """How many tests passed, failed, were skipped or not reached, and why any failed.

    ``selected`` is an expression of names, as for ``pytest -k``.
    """
    end = time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as folder:
        shares = [
            _Share(tests, selected, Path(folder), (number, workers), test_seconds)
            for number in range(workers)
        ]
        try:
            while time.monotonic() < end:
                if not [share for share in shares if not share.is_done()]:
                    break
                time.sleep(0.2)
        finally:
            for share in shares:
                share.kill()
        return summary([share.lines() for share in shares], [share.trouble for share in shares])


def summary(shares: list[list[dict[str, Any]]], troubles: list[str]) -> dict[str, Any]:
    """Of what the processes wrote down."""
    outcomes: dict[str, str] = {}
    reasons: dict[str, str] = {}
    collected = 0
    for lines in shares:
        collected += max((line["collected"] for line in lines if "collected" in line), default=0)
        for line in (line for line in lines if "test" in line):
            name, outcome = line["test"], line["outcome"]
            if outcome == "failed" or outcomes.get(name, "begun") == "begun":
                outcomes[name] = outcome
            if outcome == "failed":
                reasons[name] = line["why"]
    begun = [name for name, outcome in outcomes.items() if outcome == "begun"]
    failed = {**reasons, **dict.fromkeys(begun, "its process crashed, or time was up")}
    kinds = list(outcomes.values())
    found: dict[str, Any] = {
        "passed": kinds.count("passed"), "skipped": kinds.count("skipped"), "failed": failed,
        "not_reached": collected - len(outcomes),
    }  # fmt: skip
    trouble = "\n".join(dict.fromkeys(text for text in troubles if text))
    return {**found, "error": trouble} if trouble else found


class _Share:
    """Every so-manieth test, run by one process after the other until all were begun."""

    def __init__(
        self, tests: Path, selected: str, folder: Path, share: tuple[int, int], test_seconds: float
    ) -> None:
        number, workers = share
        self.trouble = ""
        self._log = folder / f"{number}.jsonl"
        self._output = folder / f"{number}.txt"
        self._begun = -1
        self._command = [
            sys.executable, "-m", "pytest", str(tests), "-q", "-k", selected, "-m", "",
            "-p", "benchmarks.gpu_tests", "-p", "no:cacheprovider", "-p", "no:xdist",
        ]  # fmt: skip
        self._settings = {
            "log": str(self._log), "number": number, "workers": workers, "seconds": test_seconds,
        }  # fmt: skip
        self._cache = folder / "cache"
        self._start()

    def _start(self) -> None:
        environment = os.environ | {
            _SETTINGS: json.dumps(self._settings),
            "MINIGRAPH_CACHE": str(self._cache),  # times taken beside others are not to be kept
        }
        root = Path(__file__).resolve().parents[1]
        with self._output.open("w") as output:
            self._process = subprocess.Popen(
                self._command, cwd=root, env=environment, stdout=output, stderr=output,
                stdin=subprocess.DEVNULL,
            )  # fmt: skip

    def is_done(self) -> bool:
        """Whether nothing is left to do; a process that has ended early is replaced."""
        status = self._process.poll()
        if status is None:
            return False
        if status in _DONE or self.trouble:
            return True
        begun = sum(line.get("outcome") == "begun" for line in self.lines())
        if begun <= self._begun or begun == 0:
            self.trouble = self._output.read_text(errors="replace").strip()[-2000:] or (
                f"pytest ended with status {status}"
            )
            return True
        self._begun = begun
        self._start()
        return False

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def lines(self) -> list[dict[str, Any]]:
        if not self._log.is_file():
            return []
        found = []
        for line in self._log.read_text(errors="replace").splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:  # cut off
                continue
        return found


# ---- in the processes: a plugin of pytest


def _settings() -> dict[str, Any]:
    return json.loads(os.environ[_SETTINGS])


def _write(**line: object) -> None:
    with Path(_settings()["log"]).open("a") as log:
        log.write(f"{json.dumps(line)}\n")


def _give_up(test: str, seconds: float) -> None:
    _write(test=test, outcome="failed", why=f"not done in {seconds:g} s")
    os._exit(_GIVEN_UP)


def _device_is_lost() -> bool:
    cupy = sys.modules.get("cupy")
    if cupy is None:
        return False
    try:
        cupy.cuda.runtime.deviceSynchronize()
    except Exception:  # whatever it says: nothing runs after it
        return True
    return False


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep this process's share, without what one before it has begun."""
    settings, log = _settings(), Path(_settings()["log"])
    lines = log.read_text().splitlines() if log.is_file() else []
    begun = {found.get("test") for found in map(json.loads, lines)}
    mine = items[settings["number"] :: settings["workers"]]
    _write(collected=len(mine))
    items[:] = [item for item in mine if item.nodeid not in begun]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    seconds = _settings()["seconds"]
    _write(test=item.nodeid, outcome="begun")
    timer = threading.Timer(seconds, _give_up, [item.nodeid, seconds])
    timer.daemon = True
    timer.start()
    try:
        return (yield)
    finally:
        timer.cancel()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.failed:
        crash = getattr(report.longrepr, "reprcrash", None)
        why = crash.message if crash else str(report.longrepr)
        _write(test=report.nodeid, outcome="failed", why=" ".join(why.split())[:300])
    elif report.when == "call" or report.skipped:
        _write(test=report.nodeid, outcome=report.outcome)
    if report.when == "teardown" and _device_is_lost():
        os._exit(_GIVEN_UP)
