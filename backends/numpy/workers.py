"""A pool of Python threads for kernels that are lists of prepared NumPy calls.

NumPy's ufuncs, copies and matrix products release the interpreter lock, so plain threads run them
in parallel. A kernel splits its work into tasks *by shape* (never by the number of threads), each
task gets the index of the worker that runs it, and uses that worker's private part of the
workspace. Which worker runs which task is left to chance and cannot change a bit of the result.
"""

from __future__ import annotations

import itertools
import os
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from queue import SimpleQueue
from types import TracebackType
from typing import Self

import numpy as np

UFUNC_BUFFER_ELEMENTS = 256
"""For `numpy.setbufsize` in every thread that runs kernels.

NumPy (2.4) sends a ufunc over arrays that are not one contiguous run through buffers of this many
elements, allocated anew for each call: 100 KB and half the speed by default. Rows longer than the
buffer are not buffered. The setting belongs to a thread; helpers make it for themselves.
"""

Task = Callable[[int], None]
"""One piece of work; its argument is the index of the worker that runs it."""


class _Job:
    """The tasks of one `Workers.run`: workers draw numbers until they run out."""

    __slots__ = ("_drawn", "_finished", "all_finished", "error", "tasks")

    def __init__(self, tasks: Sequence[Task]) -> None:
        self.tasks = tasks
        self.error: BaseException | None = None
        self.all_finished = threading.Lock()
        self.all_finished.acquire()
        self._drawn = itertools.count()  # next() on a count is atomic under the interpreter lock
        self._finished = itertools.count(1)

    def work(self, worker: int) -> None:
        """Run tasks until none is left; after an error the rest are drawn but not run."""
        total = len(self.tasks)
        while (index := next(self._drawn)) < total:
            if self.error is None:
                try:
                    self.tasks[index](worker)
                except BaseException as error:  # handed over to the thread that called run()
                    self.error = error
            if next(self._finished) == total:
                self.all_finished.release()

    def wait(self) -> None:
        """Until every task has finished: Ctrl-C must not leave helpers at work on the arena."""
        while True:
            try:
                self.all_finished.acquire()
                return
            except KeyboardInterrupt as interrupt:
                self.error = interrupt


@contextmanager
def numpy_for_kernels() -> Iterator[None]:
    """NumPy's settings of this thread while it runs kernels: small buffers, and no warnings.

    What is not finite shows in the results; a warning would name a line of ours.
    """
    with np.errstate(all="ignore"):  # restores the buffer size, too
        np.setbufsize(UFUNC_BUFFER_ELEMENTS)
        yield


def _serve(jobs: SimpleQueue[_Job | None], worker: int) -> None:
    """Life of a helper thread: sleep until a job comes, help with it; None ends it."""
    with numpy_for_kernels():
        while (job := jobs.get()) is not None:
            job.work(worker)
            del job  # let go of the tasks while asleep


def _stop(jobs: SimpleQueue[_Job | None], helpers: int) -> None:
    for _ in range(helpers):
        jobs.put(None)


class Workers:
    """Runs the tasks of a kernel on `threads` threads, of which the caller is number 0.

    Helper threads start with the first `run` that can use them, sleep between runs, and are
    started anew in a forked child. Several threads may `run` at once if their tasks use different
    workspaces (a helper keeps its index in all of them); a task must not call `run` itself.
    """

    def __init__(self, threads: int) -> None:
        if threads < 1:
            raise ValueError(f"Expected at least one thread, got {threads}")
        self.threads = threads
        self._starting = threading.Lock()
        self._process = 0  # the process whose helpers are alive; 0: none yet
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._helpers: list[threading.Thread] = []
        self._finalizer: weakref.finalize | None = None

    def run(self, tasks: Sequence[Task]) -> None:
        """Run every task once, in any order; returns when all have finished.

        The first exception of a task is raised here; tasks not yet begun are then skipped.
        """
        if self.threads == 1 or len(tasks) < 2:
            for task in tasks:
                task(0)
            return
        with self._starting:
            if self._process != os.getpid():
                self._start()
        job = _Job(tasks)
        for _ in range(min(len(tasks), self.threads) - 1):
            self._jobs.put(job)
        job.work(0)
        job.wait()  # a helper that wakes up later finds nothing left, and sleeps on
        if job.error is not None:
            raise job.error

    def close(self) -> None:
        """Ends the helper threads. A later `run` starts new ones."""
        if self._process == os.getpid():
            if self._finalizer is not None:
                self._finalizer()
            for helper in self._helpers:
                helper.join()
        self._process = 0
        self._helpers = []

    def _start(self) -> None:
        self._jobs = SimpleQueue()  # in a forked child the old queue may be locked for ever
        self._helpers = [
            threading.Thread(
                target=_serve, args=(self._jobs, worker), name=f"minigraph-{worker}", daemon=True
            )
            for worker in range(1, self.threads)
        ]
        for helper in self._helpers:
            helper.start()
        if self._finalizer is not None:
            self._finalizer.detach()
        self._finalizer = weakref.finalize(self, _stop, self._jobs, len(self._helpers))
        self._process = os.getpid()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
