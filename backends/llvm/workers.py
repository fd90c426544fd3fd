"""The process's worker threads: asleep when idle, in native code while a program runs.

A program runs on all threads at once (SPMD): each enters the same loop over the program's calls and
takes its share of each. The caller is thread 0. After a program a worker waits for the next one,
spinning for about two milliseconds, then sleeps until it is woken.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np

from minigraph.backends.llvm.native import JOB, LINE, MAILBOXES, native
from minigraph.host_store import aligned_empty

_WORD = 8


class _Team:
    """Some worker threads and the memory through which they are called."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.native = native()  # before the threads are there: it is made once
        self.control = aligned_empty((MAILBOXES + threads * LINE) * _WORD).view(np.int64)
        self.control[:] = 0
        self.closed = False
        self._wake = [threading.Lock() for _ in range(threads)]
        for worker in range(1, threads):
            self._wake[worker].acquire()
        try:
            for worker in range(1, threads):
                name = f"minigraph-llvm-{worker}"
                threading.Thread(target=self._serve, args=(worker,), name=name, daemon=True).start()
        except RuntimeError:
            self.close()
            raise

    def run(self, rows: np.ndarray, threads: int, refused: int, times: int | None) -> None:
        functions, control = self.native, self.control.ctypes.data
        self.control[JOB : JOB + 4] = (rows.ctypes.data, len(rows), threads, refused)
        if functions.call_workers(control, threads):
            for worker in range(1, threads):
                if self.control[MAILBOXES + worker * LINE + 1]:  # was asleep
                    self._wake[worker].release()
        functions.run(rows.ctypes.data, len(rows), threads, refused, times, control, 0)

    def close(self) -> None:
        """Let the threads end, now or when they next go to sleep."""
        self.closed = True
        for wake in self._wake[1:]:
            if wake.locked():
                wake.release()

    def _serve(self, worker: int) -> None:
        """Life of a worker thread."""
        while not self.closed:
            self.native.serve(self.control.ctypes.data, worker)
            self._wake[worker].acquire()


class Workers:
    """Runs programs. One at a time has the workers; another at the same time runs alone.

    Results do not depend on the number of threads, so running alone changes none.
    """

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        """No workers yet: at the start, and in a forked child, whose parent kept them."""
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._team: _Team | None = None
        self._alone = np.zeros(MAILBOXES, np.int64)

    def run(self, rows: np.ndarray, threads: int, refused: int, times: int | None = None) -> None:
        """Run all rows of a program; ``refused`` and ``times`` are addresses of words."""
        if self._process != os.getpid():
            self._forget()
        if threads == 1 or not self._lock.acquire(blocking=False):
            alone = self._alone.ctypes.data  # never written: the barrier lets one thread pass
            native().run(rows.ctypes.data, len(rows), 1, refused, times, alone, 0)
            return
        try:
            if self._team is None or self._team.threads < threads:
                smaller, self._team = self._team, None
                if smaller is not None:
                    smaller.close()
                self._team = _Team(threads)
            self._team.run(rows, threads, refused, times)
        finally:
            self._lock.release()


WORKERS = Workers()  # of the process: threads of several backends would take turns anyway


def usable_cpus() -> int:
    """Processors that this process may keep busy: its affinity, within its control group's part."""
    if hasattr(os, "sched_getaffinity"):
        present = len(os.sched_getaffinity(0))
    else:
        present = os.cpu_count() or 1
    quota = _cgroup_quota()
    return present if quota is None else max(1, min(present, round(quota)))


def _cgroup_quota() -> float | None:
    """Processors' worth of time that the control group (version 2, or 1) grants."""
    try:
        granted, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()[:2]
        return None if granted == "max" else int(granted) / int(period)
    except (OSError, ValueError):
        pass
    try:
        microseconds, of_each = (
            int(Path(f"/sys/fs/cgroup/cpu/cpu.cfs_{name}_us").read_text())
            for name in ("quota", "period")
        )
        return None if microseconds < 0 else microseconds / of_each
    except (OSError, ValueError):
        return None
