"""Runs a program: a table of calls that every thread goes through."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from itertools import chain

import numpy as np

from minigraph.backend import (
    ALIGNMENT,
    Memory,
    Program,
    Slot,
    Step,
)
from minigraph.backends.llvm.call import Binding, Call, Lowering
from minigraph.backends.llvm.kernels.copy import copy_calls
from minigraph.backends.llvm.library import Library
from minigraph.backends.llvm.native import ROW, THEN_STOP_IF_REFUSED, THEN_WAIT
from minigraph.backends.llvm.workers import WORKERS
from minigraph.host_store import HostStore, aligned_empty, as_strided_array
from minigraph.interrupts import interrupts_delayed
from minigraph.lowering.transfers import commit_state, fetch_inputs, give_outputs
from minigraph.places import External, Place, Table, byte_range

_NOWHERE = np.iinfo(np.int64).max  # the refused position while nothing is refused


class LlvmRunner:
    """A program bound to its memory. All that Python does in a call is to fill in addresses."""

    def __init__(
        self,
        program: Program,
        store: HostStore,
        lowerings: Mapping[type, Lowering],
        library: Library,
        threads: int,
    ) -> None:
        self._program = program
        self._store = store
        self._library = library
        self._tables: list[Table] = []  # alive as long as the addresses that kernels are given
        self._threads = threads
        self._lowerings = lowerings
        self._arenas = {
            Memory.WORK: aligned_empty(program.work_bytes - ALIGNMENT),
            Memory.CACHED: aligned_empty(program.cached_bytes - ALIGNMENT),
        }
        self.allocated_bytes = program.work_bytes + program.cached_bytes
        for slot, array in program.constants:
            np.copyto(self._array(slot), array)
        lowered = [self._lower(step) for step in program.steps]
        cached = [self._lower(step) for step in program.cached_steps]
        for index, step in enumerate(program.steps):
            if step.prepared is not None and step.prepared.memory is Memory.CACHED:
                cached.append([call for call in lowered[index] if call.prepares])
                lowered[index] = [call for call in lowered[index] if not call.prepares]
        fetched = fetch_inputs(program, copy_calls)
        given = give_outputs(program, copy_calls)
        committed = commit_state(program, copy_calls)
        groups = [*fetched, *lowered, *given, *committed]
        library.load(call.code for group in chain(groups, cached) for call in group)
        self._refused = np.zeros(1 + len(program.steps), np.int64)  # the flag, then positions
        self._table = _Table(self, groups, first_step=len(fetched), steps=len(lowered))
        self._cached_table = _Table(self, cached)
        self._cached_version = -1
        self._access = store.lock.writing if program.writes_state else store.lock.reading

    # ---- running

    def run(self, inputs: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]) -> None:
        """One call."""
        self._run(inputs, outputs, None)

    def prefetch(self, inputs: Mapping[str, np.ndarray]) -> None:
        """Arrays are read where they lie."""

    def forget_prefetched(self) -> None:
        """Nothing was fetched."""

    def timed_run(
        self, inputs: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]
    ) -> list[float]:
        """One call, with the seconds of each step."""
        cycles = np.zeros(len(self._table.rows) + 1, np.int64)
        seconds = self._run(inputs, outputs, cycles)
        spent = np.diff(cycles).clip(0).astype(float)
        scale = seconds / max(float(spent.sum()), 1.0)
        return [float(spent[rows].sum() * scale) for rows in self._table.rows_of_steps]

    def _run(
        self,
        inputs: Mapping[str, np.ndarray],
        outputs: Mapping[str, np.ndarray],
        times: np.ndarray | None,
    ) -> float:
        kept = self._table.bring(inputs, outputs)
        with interrupts_delayed(), self._access():
            self._refresh_cached()
            self._refused[0] = 0
            self._refused[1:] = _NOWHERE
            if self._program.writes_state:  # before: whatever ends this call, nothing stale is used
                self._store.version += 1
            start = time.perf_counter()
            address = None if times is None else times.ctypes.data
            WORKERS.run(self._table.rows, self._threads, self._refused.ctypes.data, address)
            seconds = time.perf_counter() - start
            if self._refused[0]:
                raise self._refusal()
        for array, result in kept:
            np.copyto(array, result)
        return seconds

    def _refresh_cached(self) -> None:
        version = self._store.version if self._program.cached_reads_state else 0
        if self._cached_version != version:
            if len(self._cached_table.rows):
                rows, flag = self._cached_table.rows, self._refused.ctypes.data
                WORKERS.run(rows, self._threads, flag)
            self._cached_version = version

    def _refusal(self) -> Exception:
        index = int(np.argmax(self._refused[1:] != _NOWHERE))
        step, position = self._program.steps[index], int(self._refused[1 + index])
        lowering = self._lowerings[type(step.op)]
        operand = step.inputs[lowering.refused_input]
        value = self._array(operand).reshape(-1)[position]
        return lowering.error(step, position, int(value))

    # ---- binding

    def _lower(self, step: Step) -> Sequence[Call]:
        return self._lowerings[type(step.op)].calls(
            Binding(
                op=step.op,
                algorithm=step.algorithm.name,
                inputs=step.inputs,
                outputs=step.outputs,
                workspace=step.workspace,
                prepared=step.prepared,
                threads=self._threads,
                target=self._library.target,
            )
        )

    def _array(self, slot: Slot) -> np.ndarray:
        if slot.memory is Memory.STATE:
            array = self._store.buffer(slot.state)
            return array if array.shape == slot.spec.shape else array.reshape(slot.spec.shape)
        memory = self._arenas[slot.memory][slot.offset :]
        return as_strided_array(memory, slot.spec, slot.strides)

    def address_of(self, place: Place) -> int:
        """Where a place of memory lies; 0 for what a call brings."""
        if isinstance(place, External):
            return 0
        if isinstance(place, Table):
            self._tables.append(place)
            return place.array.ctypes.data
        if place.memory is Memory.STATE:
            return self._store.buffer(place.state).ctypes.data + place.offset
        return self._arenas[place.memory].ctypes.data + place.offset

    def refusal_words(self, step: int | None) -> tuple[int, int]:
        """Addresses of the refusal flag, and of a step's refused position."""
        base = self._refused.ctypes.data
        return base, base + 8 * (0 if step is None else 1 + step)

    def function(self, call: Call) -> int:
        return self._library.address(call.code)

    def may_refuse(self, step: int) -> bool:
        return self._program.steps[step].op.may_refuse


class _Table:
    """Rows as the native loop reads them, and the places of addresses that each call fills in."""

    def __init__(
        self,
        runner: LlvmRunner,
        groups: Sequence[Sequence[Call]],
        first_step: int = 0,
        steps: int = 0,
    ) -> None:
        calls = [(g - first_step, call) for g, group in enumerate(groups) for call in group]
        self.rows = np.zeros((len(calls), ROW), np.int64)
        self.rows_of_steps: list[list[int]] = [[] for _ in range(steps)]
        words = [2 + len(call.reads) + len(call.writes) + len(call.sizes) for _, call in calls]
        starts = np.cumsum([0, *words])
        self._arguments = np.zeros(int(starts[-1]), np.int64)
        self._external: dict[tuple[str, bool], list[int]] = {}
        self._specs: dict[tuple[str, bool], External] = {}
        base = self._arguments.ctypes.data
        waits = waits_after([call for _, call in calls])
        for row, (step, call) in enumerate(calls):
            start, is_step = int(starts[row]), 0 <= step < steps
            places = (*call.reads, *call.writes)
            flag, position = runner.refusal_words(step if is_step else None)
            addresses = [runner.address_of(place) for place in places]
            self._arguments[start : int(starts[row + 1])] = [
                flag, position, *addresses, *call.sizes
            ]  # fmt: skip
            for number, place in enumerate(places):
                if isinstance(place, External):
                    key = (place.name, place.is_output)
                    self._external.setdefault(key, []).append(start + 2 + number)
                    self._specs[key] = place
            flags = THEN_WAIT if waits[row] else 0
            if is_step:
                self.rows_of_steps[step].append(row)
                if runner.may_refuse(step) and row + 1 < len(calls) and calls[row + 1][0] != step:
                    flags = THEN_WAIT | THEN_STOP_IF_REFUSED
            self.rows[row] = (runner.function(call), base + 8 * start, flags)

    def bring(
        self, inputs: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Fill in where the caller's arrays lie. Returns (array, result) of outputs to copy after.

        The arrays must stay alive until the call has ended; the caller holds them.
        """
        later = []
        self._held = []  # copies that only we hold
        for (name, is_output), positions in self._external.items():
            array = (outputs if is_output else inputs)[name]
            if not (array.flags.c_contiguous and array.flags.aligned):
                plain = np.ascontiguousarray(array)
                if is_output:
                    later.append((array, plain))
                self._held.append(plain)
                array = plain
            for position in positions:
                self._arguments[position] = array.ctypes.data
        return later


def waits_after(calls: Sequence[Call]) -> list[bool]:
    """Which calls must be finished by all threads before the next one starts.

    A barrier is set where the next call touches what a call since the last barrier writes, or
    writes what one reads.
    """
    waits = [False] * len(calls)
    read: list[Place] = []
    written: list[Place] = []
    for index, call in enumerate(calls):
        clash = _overlap(call.writes, written) or _overlap(call.writes, read)
        if clash or _overlap(call.reads, written):
            waits[index - 1] = True
            read, written = [], []
        read.extend(call.reads)
        written.extend(call.writes)
    return waits


def _overlap(some: Sequence[Place], others: Sequence[Place]) -> bool:
    return any(_share(a, b) for a in some for b in others)


def _share(a: Place, b: Place) -> bool:
    if not (isinstance(a, Slot) and isinstance(b, Slot)):
        return a == b
    if a.memory is not b.memory:
        return False
    if a.memory is Memory.STATE:
        return a.state == b.state
    (a_start, a_end), (b_start, b_end) = byte_range(a), byte_range(b)
    return a_start < b_end and b_start < a_end
