"""Runs a program: a list of bound calls over views of one arena."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
from threadpoolctl import LibController, ThreadpoolController

from minigraph.backend import ALIGNMENT, Memory, Program, Slot, Step
from minigraph.backends.numpy.kernel import Binding, Call, Kernel
from minigraph.backends.numpy.workers import Workers, numpy_for_kernels
from minigraph.host_store import HostStore, aligned_empty
from minigraph.interrupts import interrupts_delayed
from minigraph.ir.errors import InputError
from minigraph.ir.location import describe


class _OneBlasThread:
    """BLAS on one thread while any runner runs: the workers share out every kernel instead.

    The limit is the process's, and runs of clones overlap: the first to start sets it, the last
    to finish restores what was before. (The libraries are set directly: threadpoolctl's own context
    manager leaves cyclic garbage behind in every call.)
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running = 0

    @cached_property
    def _libraries(self) -> list[LibController]:
        return ThreadpoolController().select(user_api="blas").lib_controllers

    def __enter__(self) -> None:
        with self._lock:
            if self._running == 0:
                self._before = [library.num_threads for library in self._libraries]
                self._set([1] * len(self._before))
            self._running += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._running -= 1
            if self._running == 0:
                self._set(self._before)

    def _set(self, threads: list[int]) -> None:
        for library, count in zip(self._libraries, threads, strict=True):
            library.set_num_threads(count)


ONE_BLAS_THREAD = _OneBlasThread()  # of the module, since BLAS's setting is the process's


class NumpyRunner:
    """A program bound to its memory. All decisions and views are made here, once."""

    def __init__(
        self,
        program: Program,
        store: HostStore,
        kernels: Mapping[type, Kernel],
        workers: Workers,
    ) -> None:
        self._program = program
        self._store = store
        self._workers = workers
        self._arenas = {
            Memory.WORK: aligned_empty(program.work_bytes - ALIGNMENT),
            Memory.CACHED: aligned_empty(program.cached_bytes - ALIGNMENT),
        }
        self.allocated_bytes = program.work_bytes + program.cached_bytes
        for slot, array in program.constants:
            np.copyto(self._view(slot), array)
        self._cached = [self._bind(step, kernels) for step in program.cached_steps]
        self._calls = [self._bind(step, kernels) for step in program.steps]
        self._inputs = {name: self._view(slot) for name, slot in program.inputs.items()}
        self._outputs = {name: self._view(slot) for name, slot in program.outputs.items()}
        self._commits = [
            (store.buffer(commit.state), self._view(commit.source)) for commit in program.commits
        ]
        self._cached_version = -1
        self._first_write = next(
            (i for i, step in enumerate(program.steps) if _writes_state(step)), len(self._calls)
        )
        self._before_writes = self._calls[: self._first_write]
        self._from_first_write = self._calls[self._first_write :]
        self._access = store.lock.writing if program.writes_state else store.lock.reading

    def run(self, inputs: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]) -> None:
        """One call."""
        with (
            interrupts_delayed() as interrupted,  # outermost: locks are never left taken
            self._access(),
            ONE_BLAS_THREAD,
            numpy_for_kernels(),
        ):
            self._start(inputs)
            self._run_calls(self._before_writes, 0, interrupted)
            if not interrupted:  # from the first write on, the step is finished first
                self._run_calls(self._from_first_write, self._first_write)
                self._finish(outputs)

    def prefetch(self, inputs: Mapping[str, np.ndarray]) -> None:
        """Arrays are read where they lie."""

    def forget_prefetched(self) -> None:
        """Nothing was fetched."""

    def timed_run(
        self, inputs: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]
    ) -> list[float]:
        """One call, with the seconds of each step."""
        seconds = []
        with interrupts_delayed(), self._access(), ONE_BLAS_THREAD, numpy_for_kernels():
            self._start(inputs)
            for index, call in enumerate(self._calls):
                start = time.perf_counter()
                self._run_calls([call], index)
                seconds.append(time.perf_counter() - start)
            self._finish(outputs)
        return seconds

    def _start(self, inputs: Mapping[str, np.ndarray]) -> None:
        for name, view in self._inputs.items():
            np.copyto(view, inputs[name])
        version = self._store.version if self._program.cached_reads_state else 0
        if self._cached_version != version:
            for call in self._cached:
                call()
            self._cached_version = version
        if self._program.writes_state:  # before: whatever ends this call, nothing stale is used
            self._store.version += 1

    def _run_calls(
        self, calls: Sequence[Call], first: int, interrupted: Sequence[object] = ()
    ) -> None:
        """Run some steps, the first of which has this number; stop where Ctrl-C was pressed."""
        index = first
        try:
            for index, call in enumerate(calls, start=first):  # noqa: B007 (named when refused)
                if interrupted:
                    return
                call()
        except InputError as error:
            raise type(error)(_in_step(error, self._program.steps[index])) from None

    def _finish(self, outputs: Mapping[str, np.ndarray]) -> None:
        for name, array in outputs.items():
            np.copyto(array, self._outputs[name])
        for target, source in self._commits:
            np.copyto(target, source)

    def _view(self, slot: Slot) -> np.ndarray:
        spec = slot.spec
        if slot.memory is Memory.STATE:
            return self._store.buffer(slot.state).reshape(spec.shape)
        memory = self._arenas[slot.memory][slot.offset : slot.offset + spec.nbytes]
        return memory.view(spec.dtype.numpy).reshape(spec.shape)

    def _bind(self, step: Step, kernels: Mapping[type, Kernel]) -> Call:
        empty = self._arenas[Memory.WORK][:0]
        return kernels[type(step.op)].bind(
            Binding(
                op=step.op,
                algorithm=step.algorithm.name,
                inputs=tuple(self._view(slot) for slot in step.inputs),
                outputs=tuple(None if s is None else self._view(s) for s in step.outputs),
                workspace=empty if step.workspace is None else self._view(step.workspace),
                workers=self._workers,
            )
        )


def _writes_state(step: Step) -> bool:
    return any(slot is not None and slot.memory is Memory.STATE for slot in step.outputs)


def _in_step(error: Exception, step: Step) -> str:
    where = describe(step.locations)
    text = f"{error}\n  in {step.op.name} '{step.name}'; no state was changed"
    return f"{text}\n{where}" if where else text
